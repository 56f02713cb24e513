"""Settings that a run's own findings speak against: while one is in doubt, nothing is sent that it could touch.

A wrong time zone, charge-by, meter, model name, code, tolerance or key makes calls look missing that Lago has. Each
doubt rests on events that were found where the setting does not look for them, so many that single faults do not
explain them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from jobs.core.kinds import Cause
from jobs.core.patterns import Explanation
from jobs.core.window_facts import WindowFacts

DOUBTED = {
    Cause.TIME_ZONE: "RECONCILE_SOURCE_TIME_ZONE",
    Cause.WRONG_CHARGE_BY: "LAGO_API_CHARGE_BY",
    Cause.PROPERTY_NEVER_SENT: "RECONCILE_METER",
    Cause.PART_OF_THE_TOKENS: "RECONCILE_METER",
    Cause.COUNTED_OTHERWISE: "RECONCILE_METER",
    Cause.OTHER_MODEL_NAME: "RECONCILE_ALIAS_FILE",
    Cause.LATE_EVENT: "RECONCILE_LATE",
    Cause.NOTHING_IN_COMMON: "LAGO_API_KEY",
    Cause.NOTHING_ARRIVED: "LAGO_API_EVENT_CODE",
}
"""The causes that are settings, each with the variable to look at; RECONCILE_SEND_DESPITE takes their names."""

_ALSO = {
    Cause.WRONG_CHARGE_BY: " (or map the ids: RECONCILE_MAPPING_FILE)",
    Cause.NOTHING_IN_COMMON: " (or LAGO_API_BASE, or DATABASE_URL: spend logs and events must be of one gateway)",
}
_FEWEST = 3
# A setting that is right has most of its events in their place; below this share of them single faults explain it.
_ONE_IN = 10


@dataclass(frozen=True, slots=True)
class SettingDoubt:
    """One setting that is probably wrong, and what it could touch."""

    cause: Cause
    """The pattern that speaks against it."""
    text: str
    """What was seen, one sentence without its end."""
    codes: tuple[str, ...] = ()
    """The codes whose events it could touch; all where empty."""
    models: tuple[str, ...] = ()
    """The models, as their keys, whose events it could touch; all where empty."""
    subscriptions: tuple[str, ...] = ()
    """The subscriptions whose events it could touch; all where empty."""

    @property
    def variable(self) -> str:
        """Return the environment variable to look at."""
        return DOUBTED[self.cause]

    @property
    def next_step(self) -> str:
        """Return what to do about it."""
        return (
            f"Set {self.variable} right{_ALSO.get(self.cause, '')} and run again; if it is right as it is, "
            f"RECONCILE_SEND_DESPITE={self.cause.value} lets a plan be sent all the same."
        )

    @property
    def touches_all(self) -> bool:
        """Tell whether nothing that was judged can be trusted."""
        return not (self.codes or self.models or self.subscriptions)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """How many events of a subscription's calls stand under other names, and how many under its own."""

    subscription: str
    """Whose calls they are."""
    calls: int
    """Calls whose events name another subscription."""
    events: int
    """Their events."""
    matched_events: int
    """Events of its other calls that are where they belong."""


@dataclass(frozen=True, slots=True)
class Late:
    """How many events of a subscription came late, and how many in time."""

    subscription: str
    """Whose calls they are."""
    calls: int
    """Calls whose events came later than the tolerance allows."""
    events: int
    """Their events."""
    events_in_time: int
    """Events of its other calls."""


@dataclass(frozen=True, slots=True)
class OtherCode:
    """A code of which Lago has no event, at all or of a payer, though it has events of the calls under another one."""

    code: str
    """The code that the job is told."""
    subscription: str
    """The payer; '' for all."""
    found: str
    """The code that the events have."""
    calls: int
    """Calls whose event was found so."""
    asked: int
    """Calls that were looked for."""

    @property
    def of_whom(self) -> str:
        """Return the payer, to stand behind the code."""
        return f" of {self.subscription!r}" if self.subscription else ""


def setting_doubts(
    explanations: Iterable[Explanation],
    facts: WindowFacts,
    matched_events: int,
    elsewhere: Sequence[Elsewhere] = (),
    late: Sequence[Late] = (),
    other_codes: Iterable[OtherCode] = (),
) -> tuple[SettingDoubt, ...]:
    """Return what the findings of a window speak against; `matched_events` counts the expected events that matched.

    `elsewhere` tells of the subscriptions whose calls' events name others; it is left empty where LiteLLM itself may
    name the wrong one.
    """
    found = {item.cause: item for item in explanations}
    return (
        *_time_doubts(facts, matched_events, late),
        *_payer_doubts(found, matched_events, elsewhere),
        *_content_doubts(found, matched_events),
        *(
            SettingDoubt(
                Cause.NOTHING_ARRIVED,
                f"Lago has no event of the code {each.code!r}{each.of_whom}, and under {each.found!r} it has those of "
                f"{each.calls} of {each.asked} calls that were looked for",
                codes=(each.code,),
                subscriptions=(each.subscription,) if each.subscription else (),
            )
            for each in other_codes
            if each.calls >= _FEWEST and 2 * each.calls >= each.asked
        ),
    )


def _time_doubts(facts: WindowFacts, matched_events: int, late: Sequence[Late]) -> Iterator[SettingDoubt]:
    if facts.zone:
        hours = facts.zone / timedelta(hours=1)
        yield SettingDoubt(Cause.TIME_ZONE, f"events lie {hours:+g} hours from their calls")
    in_time = matched_events - facts.late_events
    if facts.late_calls >= _FEWEST and facts.late_events > in_time:
        yield SettingDoubt(
            Cause.LATE_EVENT, f"more events come late ({facts.late_events:,}) than in time ({in_time:,})"
        )
        return
    slow = [each for each in late if each.calls >= _FEWEST and each.events > each.events_in_time]
    if slow:
        names = tuple(each.subscription for each in slow)
        events, punctual = sum(each.events for each in slow), sum(each.events_in_time for each in slow)
        yield SettingDoubt(
            Cause.LATE_EVENT,
            f"more events of {_named(names)} come late ({events:,}) than in time ({punctual:,})",
            subscriptions=names,
        )


def _payer_doubts(
    found: dict[Cause, Explanation], matched_events: int, elsewhere: Sequence[Elsewhere]
) -> Iterator[SettingDoubt]:
    charged = found.get(Cause.WRONG_CHARGE_BY)
    # One event that names another column is more than nothing that speaks for this one.
    if charged is not None and (_prevails(charged.events, matched_events) or not matched_events):
        columns = ", ".join(pattern.text for pattern in charged.patterns)
        yield SettingDoubt(Cause.WRONG_CHARGE_BY, f"{_events(charged.events)} the spend log's {columns}")
        return
    events = sum(each.events for each in elsewhere)
    renamed = [each for each in elsewhere if each.calls >= _FEWEST and each.events > each.matched_events]
    nothing_is_in_place = matched_events * _ONE_IN <= events or (events > matched_events and not renamed)
    if sum(each.calls for each in elsewhere) >= _FEWEST and nothing_is_in_place:
        yield SettingDoubt(
            Cause.WRONG_CHARGE_BY,
            f"{events:,} events stand under other subscriptions than it names, and {matched_events:,} under those",
        )
    elif renamed:
        names = tuple(each.subscription for each in renamed)
        yield SettingDoubt(
            Cause.WRONG_CHARGE_BY,
            f"{sum(each.events for each in renamed):,} events of {_named(names)} stand under other subscriptions, and "
            f"{sum(each.matched_events for each in renamed):,} under the one it names",
            subscriptions=names,
        )
    strangers = found.get(Cause.NOTHING_IN_COMMON)
    if strangers is not None:
        lost, surplus = (sum(strangers.kinds.get(kind, 0) for kind in kinds) for kinds in (_LOST, _SURPLUS))
        yield SettingDoubt(
            Cause.NOTHING_IN_COMMON,
            f"{lost:,} expected events are not there, and {surplus:,} events of the same subscriptions have no call",
        )


def _content_doubts(found: dict[Cause, Explanation], matched_events: int) -> Iterator[SettingDoubt]:
    for cause, what in (
        (Cause.PROPERTY_NEVER_SENT, "no event carries the property that is billed"),
        (Cause.PART_OF_THE_TOKENS, "events bill a part of what was used"),
    ):
        counted = found.get(cause)
        if counted is not None and _prevails(counted.events, matched_events):
            yield SettingDoubt(cause, f"{what}: {counted.events:,}", codes=tuple(counted.missing))
    otherwise = found.get(Cause.COUNTED_OTHERWISE)
    if otherwise is not None:
        names = tuple(name for name, _ in otherwise.subscriptions)
        lost, surplus = (sum(otherwise.kinds.get(kind, 0) for kind in kinds) for kinds in (_UNSENT, _SURPLUS))
        yield SettingDoubt(
            Cause.COUNTED_OTHERWISE,
            f"{lost:,} expected events of {_named(names)} are not there, and {surplus:,} events have no call",
            subscriptions=names if len(names) <= _MOST_NAMED else (),
        )
    renamed = found.get(Cause.OTHER_MODEL_NAME)
    if renamed is not None:
        names = tuple(pattern.text.partition("\x1f")[0] for pattern in renamed.patterns)
        text = f"{renamed.events:,} events name a model otherwise"
        yield SettingDoubt(Cause.OTHER_MODEL_NAME, text, models=names)


def _events(number: int) -> str:
    return "1 event names" if number == 1 else f"{number:,} events name"


_LOST, _SURPLUS = ("missing", "held"), ("orphaned", "duplicated")
_UNSENT = (*_LOST, "ambiguous")
_MOST_NAMED = 3


def _named(names: Sequence[str]) -> str:
    """Return the first of these names, and how many more there are."""
    more = len(names) - _MOST_NAMED
    return ", ".join(map(repr, names[:_MOST_NAMED])) + (f" and {more:,} more" if more > 0 else "")


def _prevails(events: int, matched: int) -> bool:
    return events >= _FEWEST and events * _ONE_IN >= matched
