"""Sending planned events to the stand-in over HTTP: every branch, every fault, and each event billed exactly once."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count

import orjson

from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago.sending import SentBatch, send_events
from jobs.core.lago.values import LagoConnection
from jobs.core.plan import EventOutcome, PlannedEvent, PlannedLine
from jobs.core.transaction_ids import transaction_id
from jobs.playground.lago_standin import LagoStandIn, Organization

MONTH = datetime(2026, 8, 1, tzinfo=UTC), datetime(2026, 9, 1, tzinfo=UTC)


FIRST_SECOND = int(MONTH[0].timestamp()) + 3600


SUBSCRIPTIONS = ("acme", "beta/ü ?#")


CODE = "llm_tokens"


# 1.38 keeps a part of a refused batch, has no stable order of pages, and reads timestamps as floats.
SERVERS = [("postgres", "1.38.0"), ("postgres", "1.51.0"), ("clickhouse", "1.51.0")]


POSTGRES = [server for server in SERVERS if server[0] == "postgres"]

_names = count()


def new_organization(standin: LagoStandIn, server: tuple[str, str] = ("postgres", "1.51.0")) -> Organization:
    store, version = server
    organization = standin.create_organization(f"sending {next(_names)}", event_store=store, version=version)  # type: ignore[arg-type]
    organization.add_metric(CODE, filters=[{"key": "model", "values": ["gpt-4o"]}])
    organization.add_plan("standard", charges=[(CODE, {})])
    for number, subscription in enumerate(SUBSCRIPTIONS):
        organization.add_customer(f"customer-{number}")
        organization.add_subscription(
            subscription, customer=f"customer-{number}", plan="standard", started_at=MONTH[0] - timedelta(days=30)
        )
    return organization


def planned(number: int, *, subscription: str | None = None, code: str = CODE, seed: int = 0) -> list[PlannedEvent]:
    """Return a plan with awkward milliseconds, two subscriptions and ids of our own making."""
    rng = random.Random(seed)
    events = []
    for position in range(number):
        payer = subscription or SUBSCRIPTIONS[position % len(SUBSCRIPTIONS)]
        tokens = str(rng.randrange(1, 10_000))
        events.append(
            PlannedEvent(
                transaction_id=transaction_id(payer, code, "all", f"request-{seed}-{position}"),
                subscription=payer,
                code=code,
                part="all",
                request_id=f"request-{seed}-{position}",
                timestamp=f"{FIRST_SECOND + position}.{rng.randrange(1000):03d}",
                properties=(("model", "gpt-4o"), ("total_tokens", tokens), ("response_cost", "0.00001")),
                quantity=tokens,
                model="gpt-4o",
                spend="0.00001",
            )
        )
    return events


def lines(number: int) -> list[PlannedLine]:
    return [event.line for event in planned(number)]


def connection(organization: Organization, **changes: object) -> LagoConnection:
    usual: dict[str, object] = {
        "api_base": organization.api_base,
        "api_key": organization.api_key,
        "requests_per_second": 5000.0,
        "timeout_seconds": 5.0,
        "attempts": 4,
    }
    return LagoConnection(**(usual | changes))  # type: ignore[arg-type]


def impatient(seconds: float) -> None:
    """Sleep, but never long: faults here end by themselves at once."""
    time.sleep(min(seconds, 0.002))


@dataclass
class Sent:
    """What `send_events` told."""

    batches: list[SentBatch] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)

    @property
    def outcomes(self) -> dict[tuple[str, str], EventOutcome]:
        told = [outcome for batch in self.batches for outcome in batch.outcomes]
        payloads = [orjson.loads(outcome.planned.payload) for outcome in told]
        keys = ((payload["external_subscription_id"], payload["transaction_id"]) for payload in payloads)
        by_event = dict(zip(keys, told, strict=True))
        assert len(by_event) == len(told), "an event has two outcomes"
        return by_event

    def counts(self) -> dict[str, int]:
        return dict(Counter(outcome.outcome.value for outcome in self.outcomes.values()))

    def of(self, event: PlannedEvent) -> EventOutcome:
        return self.outcomes[event.subscription, event.transaction_id]


def send(
    organization: Organization,
    events: Iterable[PlannedEvent],
    *,
    stop: threading.Event | None = None,
    on_batch: Callable[[SentBatch], None] = lambda batch: None,
    into: Sent | None = None,
    batch_size: int = 100,
    computed: dict[str, str] | None = None,
    **changes: object,
) -> Sent:
    sent = into if into is not None else Sent()
    caller = threading.get_ident()

    def take(batch: SentBatch) -> None:
        assert threading.get_ident() == caller
        sent.batches.append(batch)
        on_batch(batch)

    with LagoClient(connection(organization, **changes), sleep=impatient) as client:
        send_events(
            client,
            (event.line for event in events),
            on_batch=take,
            stop=stop or threading.Event(),
            step=sent.steps.append,
            batch_size=batch_size,
            computed=computed or {},
        )
    return sent


def assert_billed_once(organization: Organization, events: Sequence[PlannedEvent]) -> None:
    """Lago holds every planned event with its content under one billing key, and bills their sum and no more."""
    stored = [event for event in organization.events() if not event.deleted]
    keys = {(event.external_subscription_id, event.transaction_id, event.code, event.timestamp) for event in stored}
    held = Counter((subscription, id_) for subscription, id_, _, _ in keys)
    assert held == Counter((event.subscription, event.transaction_id) for event in events)
    if organization.event_store == "postgres":
        assert len(stored) == len(events)
    for subscription in SUBSCRIPTIONS:
        own = [event for event in events if event.subscription == subscription]
        billed = organization.billed(subscription, CODE, *MONTH)
        assert billed.events_count == len(own)
        assert billed.units == sum(Decimal(event.quantity) for event in own)


def as_row(event: PlannedEvent, **changes: object) -> dict[str, object]:
    return {
        "transaction_id": event.transaction_id,
        "external_subscription_id": event.subscription,
        "code": event.code,
        "timestamp": Decimal(event.timestamp),
        "properties": dict(event.properties),
    } | changes


UNCLEAR = [
    "server_error",
    "server_error_after",
    "bad_gateway",
    "bad_gateway_after",
    "cut_before",
    "cut_after",
    "cut_during",
    "slow",
    "slow_after",
    "truncated",
]
