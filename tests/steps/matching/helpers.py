"""The stages of the matching, one small case each."""

HOUR = 3_600_000
