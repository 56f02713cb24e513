"""Whether the causes that the report tells are true, by what the simulation knows of each call and event."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from jobs.core.kinds import Cause
from tests.truth.dense_play import Played
from tests.truth.dense_world import LATE, MINUTE, Arrival, Call, Fate, Kind, World

CREDIT = "advice: credit it"


@dataclass(frozen=True, slots=True)
class Advice:
    """What the report says of one discrepancy, held to the truth."""

    cause: str
    is_true: bool | None
    """None where this test does not know the cause."""
    text: str
    """The discrepancy and what is true of it, on one line."""


@dataclass(frozen=True, slots=True)
class _Case:
    """What is true of a discrepancy."""

    world: World
    calls: tuple[Call, ...]
    """The calls whose spend log it names, and calls that nothing tells from it."""
    source: Call | None
    """The call that its recorded event is of."""
    arrival: Arrival | None
    """Its recorded event."""
    repeats: bool
    """Whether this event, or one that nothing tells from it, is the second one of one call."""

    def has_fate(self, *fates: Fate) -> bool:
        """Tell whether one of the calls came to this."""
        return any(call.fate in fates for call in self.calls)


def _may_be_leaked(case: _Case) -> bool:
    """Tell whether this key's spend logs name users wrongly."""
    if not case.world.combination.may_pin:
        return False
    keys = {call.api_key for call in case.calls}
    return any(
        call.api_key in keys and call.row_end_user != (call.owner or "") and call.has_row
        for call in case.world.calls
        if call.fate not in {Fate.INTERNAL, Fate.FAILED}
    )


def _came_late(case: _Case) -> bool:
    return case.source is not None and case.arrival is not None and case.arrival.at > case.source.end + LATE


_TRUE: Mapping[str, Callable[[_Case], bool]] = {
    Cause.SILENCE: lambda case: case.has_fate(Fate.OUTAGE),
    Cause.RUSH: lambda case: case.has_fate(Fate.TIMEOUT),
    Cause.USER_OUTSIDE_THE_BODY: lambda case: case.has_fate(Fate.HEADER),
    Cause.CALL_TYPE_NOT_SENT: lambda case: False,
    Cause.EVENT_WITHOUT_TOKENS: lambda case: case.source is not None and not (case.arrival and case.arrival.tokens),
    Cause.PROPERTY_NEVER_SENT: lambda case: False,
    Cause.PART_OF_THE_TOKENS: lambda case: False,
    Cause.COUNTED_OTHERWISE: lambda case: False,
    Cause.REPEATED_TRANSACTION_ID: lambda case: False,
    Cause.WRONG_CHARGE_BY: lambda case: case.world.kind is Kind.WRONG_CHARGE_BY,
    Cause.SHARED_KEY: _may_be_leaked,
    Cause.NO_SUBSCRIPTION_IN_EVENT: lambda case: case.source is not None and case.source.fate is Fate.NULL,
    Cause.NO_USER: lambda case: any(not case.world.logged(call) for call in case.calls),
    Cause.TIME_ZONE: lambda case: case.world.kind is Kind.WRONG_ZONE,
    Cause.LATE_EVENT: lambda case: _came_late(case) or case.has_fate(Fate.LATE, Fate.LATE_BESIDE),
    Cause.OTHER_MODEL_NAME: lambda case: False,
    Cause.RESTART: lambda case: case.source is not None and case.source.fate is Fate.RESTART,
    Cause.REPEATED_REQUEST_ID: lambda case: case.source is not None and case.source.fate is Fate.SECOND_OF_ID,
    Cause.SPEND_LOGS_GONE: lambda case: False,
    Cause.SENT_TWICE: lambda case: case.repeats,
    Cause.EXCLUDED_SPEND_LOG: lambda case: case.source is not None and case.source.fate is Fate.INTERNAL,
    Cause.UNATTRIBUTED_SPEND_LOG: lambda case: case.source is not None and not case.world.logged(case.source),
    CREDIT: lambda case: case.repeats,
}
_NOT_TOLD = frozenset({"", Cause.UNEXPLAINED})


def advice(played: Played) -> Iterator[Advice]:
    """Yield what the report tells of each discrepancy and whether it is true; what it does not explain is left out."""
    world = played.world
    events = {arrival.identity: (call, arrival) for call in world.calls for arrival in call.arrivals}
    by_id: dict[str, list[Call]] = defaultdict(list)
    alike: dict[tuple[str, str, tuple[int, int]], list[Call]] = defaultdict(list)
    twice: dict[tuple[str | None, str, str, tuple[int, ...]], list[Arrival]] = defaultdict(list)
    for call in world.calls:
        for each in call.arrivals if call.fate is Fate.TWICE else ():
            twice[each.subscription, each.part, call.model, each.quantities].append(each)
        if call.has_row:
            by_id[call.request_id].append(call)
            alike[world.logged(call), call.model, call.tokens].append(call)
    for row in played.rows:
        source, arrival = events.get(row["transaction_id"], (None, None))
        named = by_id.get(row["request_id"], [])
        calls = [
            other
            for call in named
            for other in alike[world.logged(call), call.model, call.tokens]
            if abs(other.end - call.end) <= 10 * MINUTE
        ]
        repeats = (
            source is not None
            and arrival is not None
            and any(
                abs(other.at - arrival.at) <= 10 * MINUTE
                for other in twice[arrival.subscription, arrival.part, source.model, arrival.quantities]
            )
        )
        case = _Case(world, tuple(calls), source, arrival, repeats)
        told = [] if row["cause"] in _NOT_TOLD else [row["cause"]]
        if row["next_step"].startswith("Credit it"):
            told.append(CREDIT)
        for cause in told:
            known = _TRUE.get(cause)
            truth = f"event of {source.request_id}, {source.fate}; " if source else ""
            truth += ", ".join(f"{call.request_id}, {call.fate}" for call in named)
            text = f"{row['kind']} of {row['subscription']!r}, {row['transaction_id'] or row['request_id']}: {truth}"
            yield Advice(cause, None if known is None else known(case), text)
