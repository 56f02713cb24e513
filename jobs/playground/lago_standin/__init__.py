"""A stand-in for Lago: a small HTTP server over PostgreSQL tables shaped like Lago's own.

The unique index, the NULL rules, the order of lists, number text and the numeric gate of billing are PostgreSQL's, not
an imitation of it. Both event stores are there: in a ClickHouse organisation PostgreSQL plays ClickHouse by its rules.
`LagoStandIn` starts it as a process of its own; tests share one and take an `Organization` each.

It is proven by a real Lago: `test_lago_replay.py` and `test_lago_standin_vectors.py` under `tests/playground/` hold it
to recordings.

What it does not imitate:

- Anything but the endpoints in `server.ENDPOINTS`: no wallets, coupons, taxes, webhooks, estimates, projected usage,
  analytics. Of Lago's refusals of what would be written to the catalogue only a few; an upgrade to a cheaper plan
  waits for ever.
- Billing days: a period is invoiced by `Organization.finalize_period`, and at once when a subscription ends. There
  are no drafts, no grace period, no credit, no fees of the subscription itself; an invoice's documents hold the
  fields that were recorded, and a few more. The true-up fee of a minimum is that of a whole period. A pay-in-advance
  charge is only marked as one: no fee follows its events.
- `custom_agg` and what needs a licence (refused), `unique_count_agg` with `operation_type`, presentation breakdowns,
  `full_usage`.
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

from jobs.playground.lago_standin.bulk import EventRow
from jobs.playground.lago_standin.faults import FAULT_NAMES, Fault
from jobs.playground.lago_standin.handle import (
    Billed,
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
