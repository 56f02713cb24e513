"""Why events are missing, wrong or too many: the patterns that explain them, and what to change in LiteLLM.

A cause is a statement with its evidence. What fits no pattern is counted as unexplained, never guessed. The queries
`cause_*` under `sql/` gather the evidence and apply what is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import log

from jobs.core.kinds import Cause
from jobs.core.telling.cause_texts import CAUSE_TEXTS

# Fewer losses than these have no pattern.
FEWEST_IN_A_SILENCE = 5
FEWEST_IN_A_RUSH = 3
FEWEST_IN_A_BURST = 3
FEWEST_OF_A_KIND = 3
FEWEST_OF_A_SENDER = 5
FEWEST_OF_STRANGERS = 10
# A sender that counts otherwise has so many events beside those that match: one to so many of these.
FEWEST_COUNTED_OTHERWISE, COUNTED_ONE_IN = 5, 10
# A busy minute has at least so many calls, and so many times as many as a minute usually has.
BUSY_CALLS, BUSY_TIMES = 20, 4
# An overload loses a few calls in a hundred; where most are lost, something else happened.
_MOST_OF_A_RUSH = Fraction(1, 5)
# Where one of two loses so many times the share of the other, the difference is no chance.
_TIMES_THE_SHARE = 4
# Others with fewer calls in all say nothing about how often calls are lost.
_TELLING_CALLS = 20
# The natural logarithm of one in a million cases, without its sign.
_CHANCE = 6 * log(10)
# LiteLLM writes its spend logs at least every half minute; what a stop loses lies within that, and close together.
BURST_APART = timedelta(seconds=10)
_LONGEST_BURST = timedelta(seconds=40)
_WRITTEN_EVERY = timedelta(seconds=30)
# How often chance may put two events that close together.
_ONE_IN = 100


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time in which something went wrong."""

    began: datetime
    """Its first moment, UTC without a zone, as the workspace keeps times."""
    ended: datetime
    """The moment after it."""
    subscription: str | None = None
    """Whose events went wrong; None where it is about everybody's."""

    @property
    def length(self) -> timedelta:
        """Return how long it lasted."""
        return self.ended - self.began


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a part of a cause's evidence is about, such as one call type or one stretch of time."""

    text: str
    """The call type, column, model names or whatever tells it from the others."""
    events: int
    """Discrepancies with it."""
    first_time: datetime | None
    """The first of them, UTC without a zone."""
    last_time: datetime | None
    """The last of them."""
    example: str
    """The first one's request id, or transaction id where there is no spend log."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One cause with everything that speaks for it."""

    cause: Cause
    events: int
    """Discrepancies that it explains."""
    kinds: Mapping[str, int]
    """The same by kind."""
    missing: Mapping[str, str]
    """Quantity that was not billed, by code, as plain decimals."""
    surplus: Mapping[str, str]
    """Quantity billed too much, by code, as plain decimals."""
    tokens: int
    """Total tokens of the spend logs concerned."""
    spend: Decimal
    """What their requests cost in USD, where known."""
    subscriptions: Sequence[tuple[str, int]]
    """Those it touches most, with their discrepancies."""
    subscription_count: int
    """How many it touches; at least this where it has several kinds."""
    patterns: Sequence[Pattern]
    """The most frequent ones."""
    first_time: datetime | None
    """The first discrepancy, UTC without a zone."""
    last_time: datetime | None
    """The last one."""

    @property
    def title(self) -> str:
        """Return the cause in a few words."""
        return CAUSE_TEXTS[self.cause].title

    @property
    def next_step(self) -> str:
        """Return what to change so that it stops."""
        return CAUSE_TEXTS[self.cause].next_step

    @property
    def statement(self) -> str:
        """Return what was seen, in one sentence."""
        what = CAUSE_TEXTS[self.cause].seen
        details = "; ".join(_pattern_text(self.cause, pattern) for pattern in self.patterns if pattern.text)
        return f"{what}: {details}." if details else f"{what}."


def nothing_arrived(expected: int, arrivals: int) -> bool:
    """Tell whether Lago got nothing at all, although enough calls ended to say so."""
    return arrivals == 0 and expected >= FEWEST_OF_A_KIND


def have_nothing_in_common(lost: int, strangers: int, answered: int) -> bool:
    """Tell whether calls without events and events of the same subscriptions without calls are of two gateways.

    `lost` counts the calls, `strangers` the events, `answered` the expected events that have a recorded one.
    """
    fewest = min(lost, strangers)
    return fewest >= FEWEST_OF_STRANGERS and answered * 10 <= fewest


def silences(rows: Iterable[Mapping[str, object]], start: datetime, end: datetime) -> tuple[Stretch, ...]:
    """Return the silences of Lago: no event at all, while calls of subscriptions ended that usually have events.

    A stretch without an arrival before or after it begins or ends with the window.
    """
    return tuple(
        Stretch(_time(row["began"]) or start, _time(row["ended"]) or end)
        for row in rows
        if _count(row["usual"]) >= FEWEST_IN_A_SILENCE
    )


def rushes(rows: Sequence[Mapping[str, object]]) -> tuple[Stretch, ...]:
    """Return, by subscription, the busy stretches that lose more of its calls than chance explains, yet few.

    Rows without times count a subscription's quiet minutes.
    """
    quiet = {
        row["subscription"]: Fraction(_count(row["lost"]) + 1, _count(row["calls"]) + 2)
        for row in rows
        if row["began"] is None
    }
    return tuple(
        Stretch(began, ended, str(row["subscription"]))
        for row in rows
        if (began := _time(row["began"])) is not None
        and (ended := _time(row["ended"])) is not None
        and _count(row["lost"]) >= FEWEST_IN_A_RUSH
        and (usual := quiet.get(row["subscription"])) is not None
        and _TIMES_THE_SHARE * usual <= _share(row["lost"], row["calls"]) <= _MOST_OF_A_RUSH
        and _is_no_chance(_count(row["lost"]), _count(row["calls"]), usual)
    )


def restarts(rows: Iterable[Mapping[str, object]], within: timedelta) -> tuple[Stretch, ...]:
    """Return the short bursts of events without spend logs that a stop of the gateway leaves.

    `rows` are in order of time, `within` is the length of what was looked at. Two events make a burst where so few are
    left that chance hardly puts any two of them as close together.
    """
    bursts = [
        (Stretch(began, ended), _count(row["events"]))
        for row in rows
        if (began := _time(row["began"])) is not None and (ended := _time(row["ended"])) is not None
    ]
    found = [burst for burst, events in bursts if events >= FEWEST_IN_A_BURST and burst.length <= _LONGEST_BURST]
    few = [(burst, events) for burst, events in bursts if events < FEWEST_IN_A_BURST]
    left = sum(events for _, events in few)
    if left * (left - 1) * _WRITTEN_EVERY > within / _ONE_IN:
        return tuple(found)
    place = 0
    while place < len(few):
        (burst, events), place = few[place], place + 1
        while place < len(few) and few[place][0].ended - burst.began <= _WRITTEN_EVERY:
            burst, events, place = replace(burst, ended=few[place][0].ended), events + few[place][1], place + 1
        if events > 1 and burst.length <= _WRITTEN_EVERY:
            found.append(burst)
    return tuple(sorted(found, key=lambda burst: burst.began))


def losing_senders(rows: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    """Return the subscriptions that lose events of their own while others' events arrive.

    It takes several losses that are not the others' too, most of them while Lago got events, and so many more than the
    calmer half of the others' calls has that chance does not explain them. One sender alone is compared with nobody.
    """
    by_share = sorted(rows, key=lambda row: _share(row["lost_in_all"], row["expected"]))
    found = []
    for row in rows:
        lost, expected = _count(row["lost"]), _count(row["expected"])
        if lost < FEWEST_OF_A_SENDER or 2 * _count(row["while_others_arrived"]) < lost:
            continue
        calm = _calmer_half([other for other in by_share if other is not row])
        calls = sum(_count(other["expected"]) for other in calm)
        if calls < _TELLING_CALLS:
            continue
        usual = Fraction(sum(_count(other["lost_in_all"]) for other in calm) + 1, calls + 2)
        if _share(lost, expected) >= _TIMES_THE_SHARE * usual and _is_no_chance(lost, expected, usual):
            found.append(str(row["subscription"]))
    return tuple(found)


def _calmer_half(by_share: Sequence[Mapping[str, object]]) -> Sequence[Mapping[str, object]]:
    """Return those that lose least and make half of the calls: many small ones weigh little."""
    half, calls = sum(_count(row["expected"]) for row in by_share) / 2, 0
    for place, row in enumerate(by_share):
        if calls >= half:
            return by_share[:place]
        calls += _count(row["expected"])
    return by_share


def _is_no_chance(lost: int, expected: int, usual: Fraction) -> bool:
    """Tell whether so many of the expected events, or more, are lost less often than once in a million cases.

    By Chernoff's bound on the binomial distribution, which is never below the true chance.
    """
    share, usual_share = lost / expected, float(usual)
    if share <= usual_share:
        return False
    rest = (1 - share) * log((1 - share) / (1 - usual_share)) if share < 1 else 0.0
    return expected * (share * log(share / usual_share) + rest) > _CHANCE


def explanations(
    totals: Iterable[Mapping[str, object]],
    patterns: Iterable[Mapping[str, object]],
    subscriptions: Iterable[Mapping[str, object]],
) -> tuple[Explanation, ...]:
    """Return each cause that was found with its evidence, the most discrepancies first, the unexplained last."""
    by_cause: dict[Cause, list[Mapping[str, object]]] = {}
    for row in totals:
        by_cause.setdefault(Cause(str(row["cause"])), []).append(row)
    told: dict[Cause, list[Pattern]] = {}
    for row in patterns:
        told.setdefault(Cause(str(row["cause"])), []).append(
            Pattern(
                str(row["pattern"]),
                _count(row["events"]),
                _time(row["first_time"]),
                _time(row["last_time"]),
                str(row["example"]),
            )
        )
    touched: dict[Cause, list[tuple[str, int]]] = {}
    for row in subscriptions:
        touched.setdefault(Cause(str(row["cause"])), []).append((str(row["subscription"]), _count(row["events"])))
    found = [_explanation(cause, rows, told[cause], touched[cause]) for cause, rows in by_cause.items()]
    return tuple(sorted(found, key=lambda item: (item.cause is Cause.UNEXPLAINED, -item.events, item.cause)))


def _explanation(
    cause: Cause,
    rows: Sequence[Mapping[str, object]],
    patterns: Sequence[Pattern],
    subscriptions: Sequence[tuple[str, int]],
) -> Explanation:
    kinds: dict[str, int] = {}
    for row in rows:
        kinds[str(row["kind"])] = kinds.get(str(row["kind"]), 0) + _count(row["events"])
    times = [time for row in rows for time in (_time(row["first_time"]), _time(row["last_time"])) if time is not None]
    return Explanation(
        cause=cause,
        events=sum(kinds.values()),
        kinds=kinds,
        missing=_by_code(rows, "missing_quantity"),
        surplus=_by_code(rows, "surplus_quantity"),
        tokens=sum(_count(row["tokens"]) for row in rows),
        spend=sum((Decimal(str(row["spend"])) for row in rows), Decimal(0)),
        subscriptions=subscriptions,
        subscription_count=max(_count(row["subscriptions"]) for row in rows),
        patterns=patterns,
        first_time=min(times, default=None),
        last_time=max(times, default=None),
    )


def _by_code(rows: Iterable[Mapping[str, object]], column: str) -> dict[str, str]:
    sums: dict[str, Decimal] = {}
    for row in rows:
        quantity = Decimal(str(row[column]))
        if quantity:
            sums[str(row["code"])] = sums.get(str(row["code"]), Decimal(0)) + quantity
    return {code: f"{quantity:f}" for code, quantity in sorted(sums.items())}


def _share(part: object, whole: object) -> Fraction:
    return Fraction(_count(part), max(_count(whole), 1))


def _count(value: object) -> int:
    return int(str(value))


def _time(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None


_BY_TIME = frozenset({Cause.SILENCE, Cause.RUSH, Cause.RESTART})


def _pattern_text(cause: Cause, pattern: Pattern) -> str:
    if cause in _BY_TIME and pattern.first_time is not None and pattern.last_time is not None:
        same_day = pattern.first_time.date() == pattern.last_time.date()
        ended = f"{pattern.last_time:%H:%M:%S}" if same_day else f"{pattern.last_time:%Y-%m-%d %H:%M:%S}"
        return f"{pattern.events:,} from {pattern.first_time:%Y-%m-%d %H:%M:%S} to {ended} UTC"
    if cause is Cause.OTHER_MODEL_NAME:
        expected, _, recorded = pattern.text.partition("\x1f")
        return f"{pattern.events:,} times {expected!r} here is {recorded!r} in Lago"
    if cause is Cause.TIME_ZONE:
        hours = Decimal(pattern.text) / 3_600_000_000
        return f"{pattern.events:,} lie {hours.normalize():f} hours after the call"
    return f"{pattern.events:,} {pattern.text}"
