"""A gateway and its callback over some simulated days, with everything that goes wrong, and what is true of each call.

A world is drawn from a seed: the event store, LiteLLM's era and time zone, days around a border of the calendar,
subscriptions in every state, with the invoices that Lago makes of them (`month_bills.py`), and calls with a fate each.
`month_drive.py` lets the real job loose on it; `month_judge.py` compares what Lago then has with what is true.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Literal
from zoneinfo import ZoneInfo

from tests.truth.month_bills import Bill, Customer, Term, bills_of

CODE = "llm_tokens"
FLAT = "flat"
"""The plan that has no charge."""
DYNAMIC = "dynamic"
"""The plan that bills what an event says it costs; the callback's events say nothing."""
DAY, HOUR, MINUTE, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
# Plain days; the end of daylight saving in New York, at a month's border; its begin; a leap day; a year's end.
FIRST_DAYS = ((2026, 11, 10), (2026, 10, 30), (2026, 3, 6), (2028, 2, 27), (2026, 12, 30))
MODELS = ("gpt-4o", "starcoder")
ERAS = ("1.53", "1.60", "1.80", "1.90", "1.109", "1.109-partitioned")
LOCAL_TIME_ERAS = ("1.53", "1.60")
PINNING_ERAS = ("1.60", "1.80", "1.90")
ERAS_WITH_PREFIX = ("1.90", "1.109", "1.109-partitioned")
ERAS_WITH_FAILURES = ("1.80", "1.90", "1.109", "1.109-partitioned")


class Fate(StrEnum):
    """What happened to a call; docs/facts/litellm.md says why."""

    DELIVERED = "delivered"
    SLOW = "event 20 to 50 s late"
    CACHE_HIT = "cache hit"
    OUTAGE = "lost: Lago was down"
    TIMEOUT = "lost: callback timed out"
    HEADER = "lost: user in a header or in metadata"
    LONG = "lost: a long call"
    LATE_ROW = "lost: spend log written late"
    BARE = "event without tokens"
    SPEECH = "speech: nothing to bill"
    FAILED = "failed call"
    HEALTH = "health check"
    NO_USER = "nobody to charge"
    RESTART = "spend log lost in a restart"
    TWICE = "event sent twice"
    REPEATED_ID = "request id repeated"
    LATE = "event 10 to 80 minutes late"
    ELSEWHERE = "event under another subscription"
    NULL = "event under no subscription"
    QUEUED = "event held up around an invoice"
    STRAY = "event held up for longer, spend log lost"
    PINNED = "spend log under the key's first user"
    PINNED_LOST = "the same, and no event"


LOST = (Fate.OUTAGE, Fate.TIMEOUT, Fate.HEADER, Fate.LONG, Fate.LATE_ROW)
"""Billable, attributed, and without an event: what a backfill is for."""
_WEIGHTS = {
    Fate.DELIVERED: 45,
    Fate.SLOW: 5,
    Fate.CACHE_HIT: 3,
    Fate.TIMEOUT: 9,
    Fate.HEADER: 6,
    Fate.LONG: 2,
    Fate.LATE_ROW: 3,
    Fate.BARE: 5,
    Fate.SPEECH: 2,
    Fate.FAILED: 3,
    Fate.HEALTH: 1,
    Fate.NO_USER: 2,
    Fate.RESTART: 2,
    Fate.TWICE: 2,
    Fate.REPEATED_ID: 2,
    Fate.LATE: 2,
    Fate.ELSEWHERE: 1,
    Fate.NULL: 1,
}


@dataclass(frozen=True, slots=True)
class Arrival:
    """One event as it reaches Lago."""

    identity: str
    at: datetime
    """Its time: that of its arrival, as the callback sends none, or the call's, where a sender tells it."""
    received_at: datetime
    subscription: str | None
    tokens: bool


@dataclass(frozen=True, slots=True)
class Call:
    """One call, its spend log if there is one, and its events."""

    request_id: str
    payer: str
    """Who used it."""
    logged: str
    """The spend log's end user."""
    model: str
    tokens: tuple[int, int]
    end: datetime
    lasted: timedelta
    fate: Fate
    api_key: str
    row_at: datetime | None
    """When its spend log is in the table; None for never."""
    arrivals: tuple[Arrival, ...]

    @property
    def total(self) -> int:
        """Return what it should bill."""
        return sum(self.tokens)

    @property
    def content(self) -> tuple[str, str, tuple[int, int]]:
        """Return what tells it apart from others, as far as anything does."""
        return self.logged, self.model, self.tokens


@dataclass(frozen=True, slots=True)
class World:
    """Everything a seed decides."""

    seed: int
    store: Literal["postgres", "clickhouse"]
    era: str
    zone: str
    utc_since: datetime | None
    start: datetime
    days: int
    top_up: bool
    terms: tuple[Term, ...]
    calls: tuple[Call, ...]
    bills: tuple[Bill, ...] = ()
    """Lago's invoices, in the order in which they become final."""
    ends: datetime = field(default=datetime(1970, 1, 1, tzinfo=UTC))

    @property
    def may_pin(self) -> bool:
        """Tell whether this LiteLLM logs wrong end users for shared keys."""
        return self.era in PINNING_ERAS

    def unbilled(self, arrival: Arrival, now: datetime) -> str:
        """Return why Lago does not bill an event, in its words and as things stand; empty where it does."""
        terms = [term for term in self.terms if term.external_id == arrival.subscription and term.is_there(now)]
        if not terms:
            return "no_subscription"
        never_ran = {"incomplete": "incomplete", "canceled": "canceled", "pending": "not_started"}
        if terms[0].state:
            return f"subscription_{never_ran[terms[0].state]}"
        at = arrival.at.replace(microsecond=arrival.at.microsecond // 1000 * 1000)
        active = [term for term in terms if term.is_active(at)]
        if not active:
            has_ended = any(term.terminated_at is not None and term.terminated_at < at for term in terms)
            return "subscription_terminated" if has_ended else "subscription_not_started"
        return self._unbilled_of(active[-1], arrival, at)

    def _unbilled_of(self, term: Term, arrival: Arrival, at: datetime) -> str:
        if term.plan == FLAT:
            return "no_charge"
        if not arrival.tokens:
            return "property_missing"
        if term.plan == DYNAMIC:
            return "amount_missing"
        bill = self.bill_of(term, at)
        if bill is None:
            return "period_not_invoiced"
        return "period_invoiced" if arrival.received_at > bill.final_at else ""

    def bill_of(self, term: Term, at: datetime) -> Bill | None:
        """Return a row's invoice that an event of this time belongs to, now or one day; None where it is in none."""
        return next((bill for bill in self.bills if bill.term is term and bill.holds(at)), None)

    def stored(self, instant: datetime) -> datetime:
        """Return the time that LiteLLM writes for this instant."""
        local = self.zone != "UTC" and (self.utc_since is None or instant < self.utc_since)
        return instant.astimezone(ZoneInfo(self.zone) if local else UTC).replace(tzinfo=None)

    def is_ambiguous(self, instant: datetime) -> bool:
        """Tell whether the written time could mean another instant too, or lies near one that could."""
        if self.zone == "UTC":
            return False
        zone = ZoneInfo(self.zone)
        if self.utc_since is not None and abs(instant - self.utc_since) <= 10 * HOUR:
            return True
        return zone.utcoffset(instant.astimezone(zone) - 2 * HOUR) != zone.utcoffset(
            instant.astimezone(zone) + 2 * HOUR
        )


def draw(seed: int) -> World:
    """Return the world of this seed."""
    rng = random.Random(seed)
    era = rng.choice(ERAS)
    start = datetime(*rng.choice(FIRST_DAYS), tzinfo=UTC)
    days = rng.randint(2, 4)
    zone, utc_since = "UTC", None
    if era in LOCAL_TIME_ERAS:
        zone = rng.choice(("UTC", "Asia/Seoul", "America/New_York"))
    elif era == "1.80" and rng.random() < 0.4:
        zone, utc_since = "Asia/Seoul", start + rng.uniform(0.4, 0.7) * days * DAY
    terms = tuple(_terms(rng, start, days))
    bills = bills_of(terms, (start - DAY).date(), (start + 70 * DAY).date())
    world = World(
        seed=seed,
        store=rng.choice(("postgres", "clickhouse")),
        era=era,
        zone=zone,
        utc_since=utc_since,
        start=start,
        days=days,
        top_up=rng.random() < 0.3,
        terms=terms,
        calls=(),
        bills=tuple(sorted(bills, key=lambda bill: bill.final_at)),
        ends=start + days * DAY,
    )
    return replace(world, calls=tuple(_Traffic(world, rng).calls()))


def _terms(rng: random.Random, start: datetime, days: int) -> Iterator[Term]:
    long_ago, middle = start - 90 * DAY, start + rng.uniform(0.3, 0.8) * days * DAY
    # Not in the minutes between a month's border and its bill: who ends a row then gets one invoice for both.
    middle = middle.replace(microsecond=0) + (HOUR if middle.hour == 0 else timedelta(0))
    slow = Customer("slow", rng.choice(("UTC", "Asia/Seoul", "America/New_York")), rng.choice((0, 1, 1)))
    yield Term("alice", "standard", long_ago)
    kind = rng.choice(("steady", "starts", "ends", "upgraded"))
    if kind == "upgraded":
        yield Term("bob", "standard", long_ago, middle)
        yield Term("bob", "premium", middle)
    else:
        yield Term("bob", "standard", middle if kind == "starts" else long_ago, middle if kind == "ends" else None)
    yield Term('=carol\u202e,"x"', "standard", long_ago)
    yield Term("dora", FLAT, long_ago)
    yield Term("erin", "standard", long_ago, state=rng.choice(("incomplete", "incomplete", "pending", "canceled")))
    yield Term("gina", "standard", long_ago, customer=slow)
    yield Term("hugo", "standard", long_ago, middle, ends_with_invoice=False)
    yield Term("ida", "standard", long_ago, made_at=start + (days - 0.5) * DAY)
    yield Term("otto", DYNAMIC, long_ago)


class _Traffic:
    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.rng = rng
        self.names = [*dict.fromkeys(term.external_id for term in world.terms), "nobody-lago-knows"]
        self.outage = world.start + rng.uniform(0.1, 0.9) * world.days * DAY
        self.outage_ends = self.outage + rng.uniform(10, 90) * MINUTE
        self.made = 0
        self.final_at = world.start

    def calls(self) -> Iterator[Call]:
        sessions = [self.world.start + self.rng.random() * self.world.days * DAY for _ in range(self.world.days * 3)]
        sessions += [self.outage + self.rng.random() * (self.outage_ends - self.outage) for _ in range(2)]
        for bill in self.world.bills:
            if self.world.start < bill.end < self.world.ends and bill.term.plan not in (FLAT, DYNAMIC):
                yield from self._around(bill)
        midnights = [self.world.start + number * DAY for number in range(1, self.world.days)]
        sessions += [midnight + self.rng.uniform(-40, 40) * SECOND for midnight in midnights]
        for begin in sessions:
            yield from self._session(begin)
        if self.world.may_pin and self.rng.random() < 0.7:
            yield from self._shared_key(self.world.start + self.rng.random() * self.world.days * DAY)

    def _session(self, begin: datetime) -> Iterator[Call]:
        rng = self.rng
        name = rng.choices(self.names, (4, 4, 2, 1, 1, 2, 1, 1, 1, 1))[0]
        model = rng.choice(MODELS)
        same = (rng.choice((100, 200)), 40)
        at = begin
        for _ in range(rng.choice((1, 1, 2, 3, 5))):
            tokens = same if rng.random() < 0.4 else (rng.randint(1, 3000), rng.randint(1, 500))
            fate = rng.choices(tuple(_WEIGHTS), tuple(_WEIGHTS.values()))[0]
            if self.outage <= at < self.outage_ends and fate in (Fate.DELIVERED, Fate.SLOW, Fate.CACHE_HIT):
                fate = Fate.OUTAGE
            yield from self._call(name, model, tokens, at, fate)
            at += rng.choice((0.001, 0.5, 3, 20, 45)) * SECOND

    def _around(self, bill: Bill) -> Iterator[Call]:
        """Calls of the last two hours before a period ends, whose events come before and after its invoice is final."""
        rng = self.rng
        for _ in range(rng.randint(2, 4)):
            tokens = (rng.randint(1, 3000), rng.randint(1, 500))
            at = bill.end - rng.uniform(1, 110) * MINUTE
            fate = rng.choice((Fate.QUEUED, Fate.QUEUED, Fate.STRAY, Fate.DELIVERED, Fate.TIMEOUT))
            self.final_at = bill.final_at
            yield from self._call(bill.term.external_id, rng.choice(MODELS), tokens, at, fate)

    def _shared_key(self, begin: datetime) -> Iterator[Call]:
        """Two customers behind one key: LiteLLM logs all as the first one's."""
        for number, fate in enumerate((Fate.PINNED, Fate.PINNED, Fate.PINNED_LOST)):
            tokens = (self.rng.randint(1, 3000), self.rng.randint(1, 500))
            yield from self._call('=carol\u202e,"x"', MODELS[0], tokens, begin + number * 3 * MINUTE, fate)

    def _call(self, name: str, model: str, tokens: tuple[int, int], at: datetime, fate: Fate) -> Iterator[Call]:
        rng, world = self.rng, self.world
        if fate in (Fate.FAILED,) and world.era not in ERAS_WITH_FAILURES:
            return
        self.made += 1
        end = at.replace(microsecond=at.microsecond // 1000 * 1000)
        lasted = rng.uniform(0.1, 40) * SECOND if fate is not Fate.LONG else rng.uniform(50, 110) * MINUTE
        written = end + rng.uniform(1, 30) * SECOND
        if fate is Fate.LATE_ROW:
            written = end + rng.uniform(10, 115) * MINUTE
        if fate is Fate.SPEECH:
            tokens = (0, 0)
        logged = "alice" if fate in (Fate.PINNED, Fate.PINNED_LOST) else "" if fate is Fate.NO_USER else name
        request_id = f"chatcmpl-{world.seed}-{self.made}" + "x" * (380 if rng.random() < 0.05 else 0)
        yield Call(
            request_id=request_id,
            payer=name,
            logged=logged,
            model=model,
            tokens=tokens,
            end=end,
            lasted=lasted,
            fate=fate,
            api_key="key-shared" if fate in (Fate.PINNED, Fate.PINNED_LOST) else f"key-of-{name}",
            row_at=None if fate in (Fate.RESTART, Fate.STRAY) else written,
            arrivals=tuple(self._arrivals(name, end, fate, request_id)),
        )

    def _arrivals(self, name: str, end: datetime, fate: Fate, request_id: str) -> Iterator[Arrival]:
        rng = self.rng
        silent = (*LOST, Fate.SPEECH, Fate.FAILED, Fate.HEALTH, Fate.NO_USER, Fate.PINNED_LOST)
        if fate in silent:
            return
        delay = rng.uniform(0.02, 0.8) * SECOND
        if fate is Fate.SLOW:
            delay = rng.uniform(20, 50) * SECOND
        if fate is Fate.LATE:
            delay = rng.uniform(10, 80) * MINUTE
        other: str | None = name
        if fate is Fate.ELSEWHERE:
            other = rng.choice([each for each in self.names if each != name])
        if fate is Fate.NULL:
            other = None
        received_at = end + delay
        if fate is Fate.QUEUED:
            # Before the job takes the call for lost; Lago tells whole seconds.
            received_at = (end + rng.uniform(1, 115) * MINUTE).replace(microsecond=0)
        if fate is Fate.STRAY:  # nobody can take it for lost, so that it may come as late as it likes
            received_at = max(self.final_at + rng.uniform(-6, 12) * HOUR, end + MINUTE).replace(microsecond=0)
        yield Arrival(f"uuid-of-{request_id}", end + delay, received_at, other, fate is not Fate.BARE)
        if fate in (Fate.TWICE, Fate.REPEATED_ID):
            later = delay + rng.uniform(0.1, 20) * SECOND
            yield Arrival(f"second-uuid-of-{request_id}", end + later, end + later, other, True)


def spend_log(world: World, call: Call) -> dict[str, Any]:
    """Return the call's row, with the columns of every era; the caller leaves out those that the table lacks."""
    failed, health = call.fate is Fate.FAILED, call.fate is Fate.HEALTH
    internal = "litellm-internal-health-check"
    prompt, completion = call.tokens
    return {
        "request_id": call.request_id,
        "call_type": "atext_completion" if call.fate is Fate.BARE else "acompletion",
        "api_key": internal if health else call.api_key,
        "spend": 0.0 if call.fate is Fate.CACHE_HIT else 0.001,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": call.total,
        "startTime": world.stored(call.end - call.lasted),
        "endTime": world.stored(call.end),
        "model": f"openai/{call.model}" if world.era in ERAS_WITH_PREFIX else call.model,
        "model_group": call.model,
        "custom_llm_provider": "openai",
        "user": "user-1",
        "team_id": internal if health else "",
        "end_user": call.logged,
        "cache_hit": "True" if call.fate is Fate.CACHE_HIT else "None",
        "metadata": '{"status": "failure"}' if failed else "{}",
        "status": "failure" if failed else "success",
    }


def usage_event(call: Call, arrival: Arrival) -> dict[str, Any]:
    """Return the event as it is sent and Lago stamps it."""
    prompt, completion = call.tokens
    properties: dict[str, Any] = {"model": call.model, "response_cost": 0.001}
    if arrival.tokens:
        properties |= {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": call.total}
    return {
        "transaction_id": arrival.identity,
        "external_subscription_id": arrival.subscription,
        "code": CODE,
        "timestamp": arrival.at,
        "created_at": arrival.received_at,
        "properties": properties,
    }
