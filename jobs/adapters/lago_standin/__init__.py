"""A stand-in for Lago: a small HTTP server over PostgreSQL tables shaped like Lago's own.

The unique index, the NULL rules, the order of lists, number text and the numeric gate of billing are PostgreSQL's, not
an imitation of it. Both event stores are there: in a ClickHouse organisation PostgreSQL plays ClickHouse by its rules.
`LagoStandIn` starts it as a process of its own; tests share one and take an `Organization` each.

What it does not imitate:

- Anything but the endpoints in `server.ENDPOINTS`: no customers, invoices, fees, wallets, coupons, webhooks, estimates,
  projected usage, analytics; nothing of the catalogue can be written through the API (the control interface does that).
- Invoicing. `Organization.finalize_period` freezes a period; there are no drafts, no grace period, no taxes, no credit.
  A pay-in-advance charge is only marked as one: no fee or invoice follows its events.
- Prices beyond the `standard` charge model: other models have the right units and an amount of 0.
- `custom_agg` (refused), `unique_count_agg` with `operation_type`, recurring `weighted_sum_agg` over earlier periods,
  `__ALL_FILTER_VALUES__` in charge filters, presentation breakdowns, `full_usage`.
- Billing periods other than the calendar's (weekly, monthly, quarterly, yearly) unless the subscription is given one.
- The API key cache of create and batch (one hour in Lago): changes are seen at once.
- Sidekiq, Kafka and ClickHouse as such. The events-processor enriches at once, behind one visibility delay; the
  ReplacingMergeTree never merges by itself (the knob `deduplication` says how billing treats physical duplicates);
  exponents in ClickHouse decimals are taken to be read, and JSON null in a property to become an empty string.
- Expressions beyond + - * / round ceil floor over `event.properties`.
- Rails' JSON spelling where it carries no meaning: escapes of < > &, float notation, key order inside `properties`.
- Request parsing besides JSON bodies; filters unvalidated below 1.36; releases below 1.32.
- The body of a 429, which Lago does not document.

The control interface lives under /standin/ on the same port; see `control`.
"""

from jobs.adapters.lago_standin.faults import FAULT_NAMES, Fault
from jobs.adapters.lago_standin.handle import (
    Billed,
    EventRow,
    LagoStandIn,
    Organization,
    SeenRequest,
    StoredEvent,
)

__all__ = [
    "FAULT_NAMES",
    "Billed",
    "EventRow",
    "Fault",
    "LagoStandIn",
    "Organization",
    "SeenRequest",
    "StoredEvent",
]
