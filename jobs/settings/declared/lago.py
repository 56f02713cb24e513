"""Where Lago is, and how its events are read."""

from __future__ import annotations

from jobs.core.durations import parse_duration
from jobs.core.lago.store import parse_organization_id
from jobs.settings.setting import Setting
from jobs.settings.texts import (
    parse_charge_by,
    parse_count,
    parse_events_from,
    parse_path,
    parse_rate,
    parse_text,
)

API_BASE = Setting("lago.api_base", "LAGO_API_BASE", parse_text, None, "Lago's address, with or without `/api/v1`.")
API_KEY = Setting("lago.api_key", "LAGO_API_KEY", parse_text, None, "Lago's API key.", secret=True)
EVENT_CODE = Setting(
    "lago.event_code", "LAGO_API_EVENT_CODE", parse_text, None, "Code of the billable metric that events name."
)
CHARGE_BY = Setting(
    "lago.charge_by",
    "LAGO_API_CHARGE_BY",
    parse_charge_by,
    "end_user_id",
    "Which value of a spend log is the subscription.",
)
REQUESTS_PER_SECOND = Setting(
    "lago.requests_per_second",
    "RECONCILE_LAGO_RATE",
    parse_rate,
    "20",
    "Most requests to Lago per second.",
)
CONCURRENCY = Setting(
    "lago.concurrency", "RECONCILE_LAGO_CONCURRENCY", parse_count, "4", "Most requests to Lago at the same time."
)
ATTEMPTS = Setting(
    "lago.attempts", "RECONCILE_LAGO_ATTEMPTS", parse_count, "8", "How often one request to Lago is tried."
)
ATTEMPTS = Setting(
    "lago.attempts", "RECONCILE_LAGO_ATTEMPTS", parse_count, "8", "How often one request to Lago is tried."
)
PAGE_SIZE = Setting(
    "lago.page_size", "RECONCILE_LAGO_PAGE_SIZE", parse_count, "5000", "Most rows per page asked of Lago."
)
TIMEOUT = Setting("lago.timeout", "RECONCILE_LAGO_TIMEOUT", parse_duration, "30s", "How long to wait for one answer.")
CA_FILE = Setting(
    "lago.ca_file", "RECONCILE_LAGO_CA_FILE", parse_path, None, "Certificates to trust besides the public ones."
)
EVENTS_FROM = Setting(
    "lago.events_from",
    "RECONCILE_EVENTS_FROM",
    parse_events_from,
    "api",
    "Where recorded events are read: `api`, or Lago's own store: `postgres` or `clickhouse`.",
)
STORE_URL = Setting(
    "lago.store_url",
    "RECONCILE_LAGO_STORE_URL",
    parse_text,
    None,
    "Address of that store, preferably of a replica.",
    secret=True,
)
ORGANIZATION_ID = Setting(
    "lago.organization_id",
    "RECONCILE_LAGO_ORGANIZATION_ID",
    parse_organization_id,
    None,
    "Organization in that store whose events are read; if not set, Lago is asked.",
)

ALL = tuple(value for value in tuple(globals().values()) if isinstance(value, Setting))
