"""Law 11: what the rules say is billed is what the stand-in's billing query bills, of both event stores, one and all.

A world is drawn from a seed: plans, charges, filters, metrics, customers' time zones, rows in every status, events at
any time that arrive at any time. The stand-in's own calendar closes its periods; its own query says what each bucket of
each row and period bills. The rules, asked of one event and as spans in the workspace, must say the same.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from jobs.adapters.lago.catalogue import read_catalogue
from jobs.adapters.lago.http import LagoClient
from jobs.core.lago.billing_rules import BillingRules, Unbilled, Usage
from jobs.core.lago.values import Catalogue, Charge, LagoConnection, Subscription
from jobs.core.meters import MeterPart
from jobs.core.window import Window
from jobs.drivers.queries import query
from jobs.playground.lago_standin import LagoStandIn, Organization
from jobs.playground.lago_standin.periods import current_period
from tests.support.judging import DAY, RULES, Event, judged_workspace

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
FIRST = datetime(2026, 8, 25, tzinfo=UTC)
CODES = ("tokens", "calls", "kept")
ZONES = ("UTC", "Asia/Seoul", "America/New_York", "Asia/Kolkata")
STATUSES = ("steady", "starts", "ends", "upgraded", "incomplete", "pending", "canceled", "unknown")
QUANTITIES = ("10", "3", "0.5", "1e-05", "abc", None)
# What looks back on all events is of no one period.
ALWAYS = datetime(1, 1, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
Key = tuple[str, str, datetime, int | None, tuple[tuple[str, str | None], ...]]


@dataclass
class World:
    """What a seed decides, and Lago's side of it."""

    rng: random.Random
    organization: Organization
    events: list[Usage] = field(default_factory=list)

    def fill(self) -> None:
        rng, lago = self.rng, self.organization
        lago.configure(now=NOW)
        models = [{"key": "model", "values": ["a", "b"]}, {"key": "kind", "values": ["in", "out"]}]
        lago.add_metric("tokens", field_name="q", filters=models)
        lago.add_metric("calls", aggregation_type="count_agg", field_name=None, filters=models)
        lago.add_metric("kept", field_name="q", recurring=True, filters=models)
        for number in range(3):
            charges = [(code, self._charge()) for code in CODES if rng.random() < 0.75]
            lago.add_plan(f"plan{number}", charges=charges, interval=rng.choice(("monthly", "monthly", "weekly")))
        for zone in ZONES:
            lago.add_customer(zone, timezone=zone)
        for status in STATUSES:
            for name in (f"{status}-{number}" for number in range(2)):
                self._subscribe(name, status)
                self.events.extend(self._events(name))
        lago.insert_events(self._rows())

    def _charge(self) -> dict[str, Any]:
        rng = self.rng
        properties: dict[str, Any] = {"amount": "1"}
        if rng.random() < 0.4:
            properties["pricing_group_keys"] = ["team"]
        chosen = [{"model": ["a"]}, {"model": ["a", "b"]}, {"kind": ["in"]}, {"model": ["b"], "kind": ["in", "out"]}]
        filters = [{"values": one, "properties": {"amount": "2"}} for one in chosen if rng.random() < 0.4]
        dynamic = rng.random() < 0.25
        return {"charge_model": "dynamic" if dynamic else "standard", "properties": properties, "filters": filters}

    def _subscribe(self, name: str, status: str) -> None:
        rng = self.rng
        middle = self._time().replace(microsecond=0)
        given: dict[str, Any] = {
            "customer": rng.choice(ZONES),
            "plan": self._plan(),
            "started_at": FIRST - 30 * 24 * HOUR,
        }
        given["billing_time"] = rng.choice(("calendar", "anniversary"))
        add = self.organization.add_subscription
        if status == "steady":
            add(name, **given)
        elif status == "starts":
            add(name, **given | {"started_at": middle})
        elif status in ("ends", "upgraded"):
            add(name, **given, terminated_at=middle, status="terminated")
            if status == "upgraded":
                add(name, **given | {"plan": self._plan(), "started_at": middle + SECOND})
        elif status != "unknown":
            add(name, **given, status=status)

    def _plan(self) -> str:
        return f"plan{self.rng.randrange(3)}"

    def _time(self) -> datetime:
        return FIRST + self.rng.random() * (NOW - FIRST)

    def _events(self, name: str) -> Iterator[Usage]:
        rng = self.rng
        midnights = [datetime(2026, month, 1, tzinfo=UTC) for month in (9, 10, 11)]
        for _ in range(40):
            time = self._time() if rng.random() < 0.6 else rng.choice(midnights) + rng.uniform(-15, 15) * HOUR
            time = time.replace(microsecond=time.microsecond // 1000 * 1000)
            delay = rng.choice((SECOND, 5 * MINUTE, 20 * MINUTE, 3 * HOUR, 9 * 24 * HOUR, 40 * 24 * HOUR))
            properties = {"model": rng.choice(("a", "b", "c", None)), "kind": rng.choice(("in", "out", "other", None))}
            quantity = rng.choice(QUANTITIES)
            if self.organization.event_store == "clickhouse" and quantity == "1e-05":
                quantity = "abc"  # it is not known what a real ClickHouse makes of an exponent
            properties |= {"team": rng.choice(("x", "", None)), "q": quantity}
            amount = rng.choice((None, None, Decimal("1.5"), Decimal(0)))
            received = min(time + delay, NOW).replace(microsecond=0)
            yield Usage(name, rng.choice((*CODES, "unknown")), time, received, properties, amount)

    def _rows(self) -> Iterator[Any]:
        for number, event in enumerate(self.events):
            assert event.received_at is not None
            yield {
                "transaction_id": f"event-{number}",
                "external_subscription_id": event.subscription,
                "code": event.code,
                "timestamp": event.time,
                "created_at": event.received_at,
                "precise_total_amount_cents": event.amount,
                "properties": {name: text for name, text in event.properties.items() if text is not None},
            }


class Judge:
    """The stand-in's own calendar and billing query, asked for every row, charge and period."""

    def __init__(self, connection: psycopg.Connection[Any], world: World, catalogue: Catalogue) -> None:
        self.connection = connection
        self.world = world
        self.catalogue = catalogue
        self.plans = {plan.code: plan for plan in catalogue.plans}
        self.rows = [row for row in catalogue.subscriptions if row.status in ("active", "terminated")]

    def periods(self, row: Subscription) -> Iterator[tuple[datetime, datetime, datetime]]:
        """Yield the first and last instant of the row's periods by the stand-in's calendar, and when each is billed."""
        assert row.started_at is not None
        given = {
            "terminated_at": row.terminated_at and naive(row.terminated_at),
            "current_period_started_at": None,
            "current_period_ending_at": None,
            "timezone": row.time_zone,
            "plan_interval": self.plans[row.plan_code or ""].interval,
            "bill_charges_monthly": None,
            "billing_time": row.billing_time,
            "subscription_at": row.subscription_at and naive(row.subscription_at),
            "started_at": naive(row.started_at),
        }
        at = max(row.started_at, FIRST)
        end_of_row = row.terminated_at or NOW
        while at <= end_of_row:
            whole = current_period(given | {"terminated_at": None}, at)
            last = min(whole.end, naive(end_of_row)) if row.terminated_at else whole.end
            billed = next_billing(whole.end) if last == whole.end else last
            yield max(whole.start, naive(row.started_at)), last, billed
            at = (whole.end + timedelta(microseconds=1)).replace(tzinfo=UTC)

    def close(self) -> None:
        """Bill every period that is over."""
        insert = (
            "INSERT INTO finalized_periods"
            " (organization_id, external_subscription_id, charges_from, charges_to, finalized_at, usage)"
            " VALUES (%s, %s, %s, %s, %s, '{}')"
        )
        for row in self.rows:
            for start, end, billed in self.periods(row):
                if end < naive(NOW) and billed <= naive(NOW):
                    parameters = (self.world.organization.id, row.external_id, start, end, billed)
                    self.connection.execute(insert, parameters)

    def billed(self) -> dict[Key, tuple[Decimal, int, Decimal]]:
        """Return units, events and amount of every bucket of every row and period that has an event."""
        found = {}
        for row in self.rows:
            periods = list(self.periods(row))
            for charge in self.plans[row.plan_code or ""].charges:
                recurring = charge.metric_code == "kept"
                # What looks back on everything is all in the open period of the running row; an ended row's last
                # invoice cannot be made again, since the query would find what came after it too.
                for start, end, _ in () if recurring and row.terminated_at else periods[-1:] if recurring else periods:
                    for one in self._buckets(row, charge, start, end):
                        groups = tuple(sorted(one["grouped_by"].items()))
                        key = (
                            row.lago_id,
                            charge.lago_id,
                            ALWAYS if recurring else start,
                            one["filter_position"],
                            groups,
                        )
                        found[key] = (one["units"], one["events_count"], one["precise_amount"])
        return found

    def _buckets(self, row: Subscription, charge: Charge, start: datetime, end: datetime) -> list[dict[str, Any]]:
        metric = next(one for one in self.catalogue.metrics if one.code == charge.metric_code)
        keys = charge.properties.get("pricing_group_keys") or []
        filters = [
            {"values": {key: list(values) for key, values in one.values.items()}, "group_keys": keys}
            for one in charge.filters
        ]
        parameters = {
            "events_store": self.world.organization.event_store,
            "deduplication": True,
            "organization_id": self.world.organization.id,
            "external_subscription_id": row.external_id,
            "code": metric.code,
            "field_name": metric.field_name,
            "aggregation_type": metric.aggregation_type,
            "recurring": metric.recurring,
            "prorated": False,
            "rounding_function": None,
            "rounding_precision": 0,
            "each_quantity": False,
            "from": start,
            "to": end,
            "zone": row.time_zone,
            "period_days": 30,
            "filters": json.dumps(filters),
            "group_keys": json.dumps(keys),
        }
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query("playground", "standin_usage").encode(), parameters).fetchall()


def naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def next_billing(end: datetime) -> datetime:
    """Return the next tenth minute of an hour after a period's last instant."""
    following = end + timedelta(microseconds=1)
    minutes = (10 - following.minute) % 60
    return following + minutes * MINUTE


def by_the_rules(rules: BillingRules, world: World) -> dict[Key, tuple[Decimal, int, Decimal]]:
    """Return units, events and amount of every bucket, event by event."""
    found: dict[Key, tuple[Decimal, int, Decimal]] = defaultdict(lambda: (Decimal(0), 0, Decimal(0)))
    for event in world.events:
        billing = rules.judge(event)
        # An event of a dynamic charge without an amount is counted, and bills nothing: its units are no money.
        counted = replace(event, amount=Decimal(1)) if billing.unbilled is Unbilled.AMOUNT_MISSING else event
        billing = rules.judge(counted)
        if billing.unbilled is not None:
            continue
        assert billing.row is not None
        assert billing.period is not None
        metric = rules.metrics[event.code]
        if metric.recurring and billing.row.terminated_at is not None:
            continue
        start = ALWAYS if metric.recurring else naive(billing.period.start)
        quantity = Decimal(1) if metric.field_name is None else Decimal(event.properties["q"] or "0")
        for bucket in billing.buckets:
            key = (
                billing.row.lago_id,
                bucket.charge.lago_id,
                start,
                bucket.filter_position,
                tuple(sorted(bucket.groups)),
            )
            units, count, amount = found[key]
            found[key] = (units + quantity, count + 1, amount + (event.amount or Decimal(0)))
    return found


def in_the_workspace(catalogue: Catalogue, world: World) -> dict[str, str]:
    """Return why each event is not billed by the workspace's query, by transaction id."""
    parts = tuple(
        MeterPart(code, "total", (("model", "model"),), (("q", "total_tokens"),)) for code in (*CODES, "unknown")
    )
    events = [
        Event(
            f"event-{number}",
            (event.time - DAY) // timedelta(milliseconds=1),
            event.subscription,
            dict(event.properties),
            event.code,
            created_at=f"{naive(event.received_at or NOW):%Y-%m-%dT%H:%M:%SZ}",
            amount="" if event.amount is None else f"{event.amount:f}",
        )
        for number, event in enumerate(world.events)
    ]
    asked: dict[str, Any] = {"rules": replace(RULES, parts=parts), "knows": catalogue}
    with judged_workspace([], events, **asked, window=Window(FIRST - 24 * HOUR, NOW), now=NOW + 24 * HOUR) as workspace:
        found = workspace._database.execute(
            "SELECT recorded.transaction_id, unbilled.reason FROM unbilled_event AS unbilled"
            " JOIN recorded_event AS recorded ON recorded.id = unbilled.id"
        ).fetchall()
    return dict(found)


@pytest.mark.parametrize("store", ["postgres", "clickhouse"])
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.deep) for seed in range(2, 6))])
def test_the_rules_say_what_the_billing_query_bills(standin: LagoStandIn, seed: int, store: Any) -> None:
    world = World(random.Random(seed), standin.create_organization(f"billing {seed}", event_store=store))
    world.fill()
    with LagoClient(
        LagoConnection(world.organization.api_base, world.organization.api_key, requests_per_second=10_000.0)
    ) as client:
        catalogue = read_catalogue(client)
    rules = BillingRules(catalogue)
    with psycopg.connect(standin.database_url, autocommit=True) as connection:
        judge = Judge(connection, world, catalogue)
        judge.close()
        billed = judge.billed()
    expected = by_the_rules(rules, world)
    # ClickHouse counts an event without a number as one of zero.
    counts = slice(0, 3) if store == "postgres" else slice(0, 1)
    assert {key: told[counts] for key, told in billed.items() if any(told[:1]) or key in expected} == {
        key: told[counts] for key, told in expected.items()
    }
    reasons = {
        f"event-{number}": unbilled.value
        for number, event in enumerate(world.events)
        if (unbilled := rules.judge(event).unbilled) is not None
    }
    assert in_the_workspace(catalogue, world) == reasons
    assert len(set(reasons.values())) >= 8
