"""Law 11: what the rules say is billed is what the stand-in's billing query bills, of both event stores, one and all.

A world is drawn from a seed: plans, charges, filters, metrics, customers' time zones and grace periods, rows in every
state, events at any time that arrive at any time (`billing_world.py`). The stand-in's own calendar closes its periods;
its own query says what each bucket of each row and period bills. The rules, asked of one event and as spans in the
workspace, must say the same.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from psycopg.rows import dict_row

from jobs.adapters.lago.catalogue import read_catalogue
from jobs.adapters.lago.http import LagoClient
from jobs.core.lago.billing_rules import BillingRules, Unbilled
from jobs.core.lago.values import Catalogue, Charge, LagoConnection, Subscription
from jobs.core.meters import MeterPart
from jobs.core.window import Window
from jobs.drivers.queries import query
from jobs.playground.lago_standin import LagoStandIn
from jobs.playground.lago_standin.periods import current_period
from tests.laws.billing_world import CODES, DAY, FIRST, HOUR, NOW, SECOND, World
from tests.support.judging import DAY as EPOCH
from tests.support.judging import RULES, Event, judged_workspace

# What looks back on all events is of no one period.
ALWAYS = datetime(1, 1, 1, tzinfo=UTC)
Key = tuple[str, str, datetime, int | None, tuple[tuple[str, str | None], ...]]


class Judge:
    """The stand-in's own calendar and billing query, asked for every row, charge and period."""

    def __init__(self, connection: psycopg.Connection[Any], world: World, catalogue: Catalogue) -> None:
        self.connection = connection
        self.world = world
        self.catalogue = catalogue
        self.plans = {plan.code: plan for plan in catalogue.plans}
        self.rows = [row for row in catalogue.subscriptions if row.status in ("active", "terminated")]

    def periods(self, row: Subscription) -> list[tuple[datetime, datetime, datetime | None]]:
        """Return the row's periods by the stand-in's calendar: first and last instant, and when each is billed."""
        assert row.started_at is not None
        given = {
            "terminated_at": None,
            "current_period_started_at": None,
            "current_period_ending_at": None,
            "timezone": row.time_zone,
            "plan_interval": self.plans[row.plan_code or ""].interval,
            "bill_charges_monthly": None,
            "billing_time": row.billing_time,
            "subscription_at": row.subscription_at and naive(row.subscription_at),
            "started_at": naive(row.started_at),
        }
        found: list[tuple[datetime, datetime, datetime | None]] = []
        at, end = row.started_at, self.exact_end(row)
        while at <= (end or NOW):
            whole = current_period(given, at)
            last = whole.end if end is None else min(whole.end, naive(end))
            billed = next_billing(whole.end, row)
            if end is not None and last == naive(end) < whole.end:
                billed = self._last_bill(row, end, found)
            found.append((max(whole.start, naive(row.started_at)), last, billed))
            at = (whole.end + timedelta(microseconds=1)).replace(tzinfo=UTC)
        return found

    def _last_bill(
        self, row: Subscription, end: datetime, before: list[tuple[datetime, datetime, datetime | None]]
    ) -> datetime | None:
        """Return when an ended row's last period is billed; if the one before was not yet, that is in its stead."""
        waits = bool(before) and before[-1][2] is not None and before[-1][2] > naive(end)
        if not row.ends_with_invoice:
            if waits:
                before[-1] = (*before[-1][:2], None)
            return None
        if waits:
            before[-1] = (*before[-1][:2], naive(end))
            if not self._is_followed(row) and end - DAY >= (row.started_at or end):
                return None
        return naive(end)

    def _is_followed(self, row: Subscription) -> bool:
        end = row.terminated_at or NOW
        return any(
            other.external_id == row.external_id and other.started_at and abs(other.started_at - end) <= SECOND
            for other in self.rows
        )

    def exact_end(self, row: Subscription) -> datetime | None:
        """Return a row's end: to the second as Lago tells it, and to the next row's start where it was upgraded."""
        end = row.terminated_at
        if end is None:
            return None
        begins = (other.started_at for other in self.rows if other.external_id == row.external_id and other is not row)
        within = [began for began in begins if began is not None and end < began < end + SECOND]
        return min(within) - timedelta(microseconds=1) if within else end

    def close(self) -> None:
        """Bill every period that is over, and make final what is no draft any more."""
        insert = (
            "INSERT INTO finalized_periods"
            " (organization_id, external_subscription_id, charges_from, charges_to, finalized_at, usage)"
            " VALUES (%s, %s, %s, %s, %s, '{}')"
        )
        for row in self.rows:
            for start, end, billed in self.periods(row):
                if end >= naive(NOW) or billed is None:
                    continue
                final = when_final(billed, row.time_zone, self.world.grace_days[row.external_customer_id or ""])
                if final <= naive(NOW):
                    parameters = (self.world.organization.id, row.external_id, start, end, final)
                    self.connection.execute(insert, parameters)

    def billed(self) -> dict[Key, tuple[Decimal, int, Decimal]]:
        """Return units, events and amount of every bucket of every row and period that has an event."""
        found = {}
        for row in self.rows:
            periods = list(self.periods(row))
            for charge in self.plans[row.plan_code or ""].charges:
                if is_open_to_doubt(row, charge):
                    continue
                recurring = charge.metric_code == "kept"
                # What looks back on everything is all in the open period of the running row; an ended row's last
                # invoice cannot be made again, since the query would find what came after it too.
                for start, end, bill in (
                    () if recurring and row.terminated_at else periods[-1:] if recurring else periods
                ):
                    if end < naive(FIRST) or (bill is None and not charge.pay_in_advance and not recurring):
                        continue
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
            "pay_in_advance": charge.pay_in_advance,
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


def next_billing(end: datetime, row: Subscription) -> datetime | None:
    """Return the first tenth minute of an hour of the customer's next day at which the row is there; None for none."""
    following = (end + timedelta(microseconds=1)).replace(tzinfo=UTC)
    zone = ZoneInfo(row.time_zone)
    at = following.replace(minute=10)
    while at.astimezone(zone).date() <= following.astimezone(zone).date():
        if at >= following and at >= (row.created_at or at):
            return naive(at)
        at += HOUR
    return None


def when_final(billed: datetime, zone: str, grace_days: int) -> datetime:
    """Return the first twentieth minute of an hour whose day in UTC is the invoice's day and the grace period later."""
    if not grace_days:
        return billed
    due = billed.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).date() + grace_days * DAY
    at = billed.replace(minute=20)
    while at < billed or at.date() < due:
        at += HOUR
    return at


def is_open_to_doubt(row: Subscription, charge: Charge) -> bool:
    """Tell whether the query cannot say what was billed as it arrived: it does not know when a row was made."""
    return charge.pay_in_advance and row.created_at is not None and row.created_at > (row.started_at or row.created_at)


def by_the_rules(rules: BillingRules, world: World) -> dict[Key, tuple[Decimal, int, Decimal]]:
    """Return units, events and amount of every bucket, event by event; what is billed in part is in some of them."""
    found: dict[Key, tuple[Decimal, int, Decimal]] = defaultdict(lambda: (Decimal(0), 0, Decimal(0)))
    for event in world.events:
        billing = rules.judge(event)
        row, metric = billing.row, rules.metrics.get(event.code)
        if row is None or metric is None or (metric.recurring and row.terminated_at is not None):
            continue
        for bucket in billing.buckets:
            if is_open_to_doubt(row, bucket.charge):
                continue
            assert billing.period is not None
            start = ALWAYS if metric.recurring else naive(billing.period.start)
            quantity = Decimal(1) if metric.field_name is None else Decimal(event.properties["q"] or "0")
            key = (row.lago_id, bucket.charge.lago_id, start, bucket.filter_position, tuple(sorted(bucket.groups)))
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
            (event.time - EPOCH) // timedelta(milliseconds=1),
            event.subscription,
            dict(event.properties),
            event.code,
            created_at=f"{naive(received_at):%Y-%m-%dT%H:%M:%SZ}",
            amount="" if event.amount is None else f"{event.amount:f}",
        )
        for number, event, received_at in world.listed()
    ]
    asked: dict[str, Any] = {"rules": replace(RULES, parts=parts), "knows": catalogue}
    with judged_workspace([], events, **asked, window=Window(FIRST - 24 * HOUR, NOW), now=NOW + 24 * HOUR) as workspace:
        found = workspace._database.execute(
            "SELECT recorded.transaction_id, unbilled.reason FROM unbilled_event AS unbilled"
            " JOIN recorded_event AS recorded ON recorded.id = unbilled.id"
        ).fetchall()
    return dict(found)


@pytest.mark.parametrize("store", ["postgres", "clickhouse"])
@pytest.mark.parametrize("seed", [pytest.param(seed, marks=[] if seed < 1 else pytest.mark.deep) for seed in range(12)])
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
    # A plan that is gone is none of the stand-in's; nothing else may be left out.
    assert set(reasons.values()) == {*Unbilled} - {Unbilled.UNKNOWN_PLAN}
