-- Fresh statistics after a bulk load, so that the first pages are planned as well as the later ones.
ANALYZE events, events_raw, events_enriched
