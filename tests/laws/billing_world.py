"""A world that a seed decides, with Lago's side of it: plans, customers, subscriptions in every state, their events."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from jobs.core.lago.billing_rules import Usage
from jobs.playground.lago_standin import Organization

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
FIRST = datetime(2026, 8, 25, tzinfo=UTC)
CODES = ("tokens", "calls", "kept")
ZONES = ("UTC", "Asia/Seoul", "America/New_York", "Asia/Kolkata", "Pacific/Auckland")
STATUSES = (
    "steady",
    "starts",
    "ends",
    "ends on a billing day",
    "ends without an invoice",
    "upgraded",
    "upgraded at once",
    "upgraded within a second",
    "begins again",
    "made later",
    "incomplete",
    "pending",
    "canceled",
    "unknown",
)
QUANTITIES = ("10", "7", "3", "0.5", "1", "1e-05", "abc", None)
MILLISECOND, SECOND, MINUTE = timedelta(milliseconds=1), timedelta(seconds=1), timedelta(minutes=1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# Borders of months of some zone or other, and how long after one an event may come: before Lago bills the period and
# after it, while its invoice is a draft, and when that is final.
EDGES = tuple(datetime(2026, month, 1, tzinfo=UTC) for month in (9, 10, 11))
AFTER_AN_EDGE = (
    2 * MINUTE,
    9 * MINUTE,
    12 * MINUTE,
    HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    2 * DAY + 3 * HOUR,
    4 * DAY,
    9 * DAY,
)


@dataclass
class World:
    """What a seed decides, and Lago's side of it."""

    rng: random.Random
    organization: Organization
    events: list[Usage] = field(default_factory=list)
    grace_days: dict[str, int] = field(default_factory=dict)
    """Of each customer."""
    copies: dict[int, datetime] = field(default_factory=dict)
    """When an event was sent once more, by its place; ClickHouse lists it twice then."""

    def fill(self) -> None:
        rng, lago = self.rng, self.organization
        lago.configure(now=NOW)
        models = [{"key": "model", "values": ["a", "b"]}, {"key": "kind", "values": ["in", "out"]}]
        lago.add_metric("tokens", field_name="q", filters=models)
        lago.add_metric("calls", aggregation_type="count_agg", field_name=None, filters=models)
        lago.add_metric("kept", field_name="q", recurring=True, filters=models)
        for number in range(3):
            charges = [(code, self._charge()) for code in CODES if rng.random() < 0.8]
            if number == 0:  # so that no world lacks these
                charges += [("calls", self._charge("dynamic")), ("tokens", self._charge("arrears"))]
            charges += [(code, self._charge()) for code in ("tokens", "calls") if rng.random() < 0.2]
            interval = rng.choice(("monthly", "monthly", "weekly", "quarterly"))
            lago.add_plan(f"plan{number}", charges=charges, interval=interval)
        lago.add_plan("flat")
        for zone in ZONES:
            self.grace_days[zone] = rng.choice((0, 0, 1, 3))
            lago.add_customer(zone, timezone=zone, grace_days=self.grace_days[zone])
        for status in STATUSES:
            for name in (f"{status}-{number}" for number in range(2)):
                self._subscribe(name, status)
                self.events.extend(self._events(name))
        lago.insert_events(self._rows())

    def _charge(self, how: str | None = None) -> dict[str, Any]:
        rng = self.rng
        properties: dict[str, Any] = {"amount": "1"}
        if rng.random() < 0.4:
            properties["pricing_group_keys"] = ["team"]
        chosen = [{"model": ["a"]}, {"model": ["a", "b"]}, {"kind": ["in"]}, {"model": ["b"], "kind": ["in", "out"]}]
        filters = [{"values": one, "properties": {"amount": "2"}} for one in chosen if rng.random() < 0.4]
        how = how or rng.choice(("arrears", "arrears", "arrears", "dynamic", "advance"))
        return {
            "charge_model": "dynamic" if how == "dynamic" else "standard",
            "pay_in_advance": how == "advance",
            "properties": properties,
            "filters": filters,
        }

    def _subscribe(self, name: str, status: str) -> None:
        rng = self.rng
        middle = self._time().replace(microsecond=0)
        given: dict[str, Any] = {
            "customer": rng.choice(ZONES),
            "plan": self._plan(),
            "started_at": FIRST - 30 * DAY,
            "billing_time": rng.choice(("calendar", "anniversary")),
        }
        add = self.organization.add_subscription
        ended: dict[str, Any] = {"terminated_at": middle, "status": "terminated"}
        other = given | {"plan": self._plan()}
        if status == "steady":
            add(name, **given | {"plan": "flat" if name.endswith("1") else given["plan"]})
        elif status == "starts":
            add(name, **given | {"started_at": middle})
        elif status == "made later":
            given |= {"plan": "plan0"}
            add(name, **given, created_at=rng.choice((middle, rng.choice(EDGES) + rng.uniform(-14, 30) * HOUR)))
        elif status == "ends":
            add(name, **given, **ended)
        elif status == "ends on a billing day":
            moment = rng.choice(EDGES) + rng.randrange(9) * MINUTE
            add(name, **given | ended | {"customer": "UTC", "billing_time": "calendar", "terminated_at": moment})
        elif status == "ends without an invoice":
            add(name, **given, **ended, on_termination_invoice="skip")
        elif status == "upgraded":
            add(name, **given, **ended)
            add(name, **other | {"started_at": middle + SECOND})
        elif status == "upgraded at once":
            add(name, **given, **ended)
            add(name, **other | {"started_at": middle})
        elif status == "upgraded within a second":
            add(name, **given | ended | {"terminated_at": middle + 842 * MILLISECOND})
            add(name, **other | {"started_at": middle + 833 * MILLISECOND})
        elif status == "begins again":
            add(name, **given, **ended | {"terminated_at": middle - 4 * DAY})
            add(name, **other | {"started_at": middle - DAY})
        elif status != "unknown":
            add(name, **given, status=status)

    def _plan(self) -> str:
        return f"plan{self.rng.randrange(3)}"

    def _time(self) -> datetime:
        return FIRST + self.rng.random() * (NOW - FIRST)

    def _events(self, name: str) -> Iterator[Usage]:
        rng, place = self.rng, len(self.events)
        for number in range(place, place + 40):
            edge = rng.choice(EDGES)
            time = self._time() if rng.random() < 0.6 else edge + rng.uniform(-15, 15) * HOUR
            if name.startswith("ends on a billing day") and number < place + 10:
                time = edge + rng.uniform(-10, 10) * MINUTE
            time = time.replace(microsecond=time.microsecond // 1000 * 1000)
            delay = rng.choice((SECOND, 5 * MINUTE, 20 * MINUTE, 3 * HOUR, 9 * DAY, 40 * DAY))
            received = edge + rng.choice(AFTER_AN_EDGE) if rng.random() < 0.4 else time + delay
            received = min(received if received > time else time + delay, NOW).replace(microsecond=0)
            properties = {"model": rng.choice(("a", "b", "c", None)), "kind": rng.choice(("in", "out", "other", None))}
            quantity = rng.choice(QUANTITIES)
            if self.organization.event_store == "clickhouse" and quantity == "1e-05":
                quantity = "abc"  # it is not known what a real ClickHouse makes of an exponent
            properties |= {"team": rng.choice(("x", "", None)), "q": quantity}
            amount = rng.choice((None, Decimal("1.5"), Decimal("1.5"), Decimal(0)))
            if self.organization.event_store == "clickhouse" and rng.random() < 0.1:
                self.copies[number] = min(received + rng.choice((HOUR, 20 * DAY)), NOW)
            yield Usage(name, rng.choice((*CODES, *CODES, *CODES, "unknown")), time, received, properties, amount)

    def listed(self) -> Iterator[tuple[int, Usage, datetime]]:
        """Yield what was sent: an event's place, the event, and when this sending of it came."""
        for number, event in enumerate(self.events):
            assert event.received_at is not None
            yield number, event, event.received_at
            if number in self.copies:
                yield number, event, self.copies[number]

    def _rows(self) -> Iterator[Any]:
        for number, event, received_at in self.listed():
            yield {
                "transaction_id": f"event-{number}",
                "external_subscription_id": event.subscription,
                "code": event.code,
                "timestamp": event.time,
                "created_at": received_at,
                "precise_total_amount_cents": event.amount,
                "properties": {name: text for name, text in event.properties.items() if text is not None},
            }
