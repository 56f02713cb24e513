"""Settings that a run's own findings speak against: while one is in doubt, nothing is sent that it could touch.

A wrong time zone, charge-by, meter, model name or tolerance makes calls look missing that Lago has. Each doubt rests on
events that were found where the setting does not look for them, so many that single faults do not explain them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from jobs.core.causes import Explanation
from jobs.core.kinds import Cause
from jobs.core.window_facts import WindowFacts

DOUBTED = {
    Cause.TIME_ZONE: "RECONCILE_SOURCE_TIME_ZONE",
    Cause.WRONG_CHARGE_BY: "LAGO_API_CHARGE_BY",
    Cause.PROPERTY_NEVER_SENT: "RECONCILE_METER",
    Cause.PART_OF_THE_TOKENS: "RECONCILE_METER",
    Cause.OTHER_MODEL_NAME: "RECONCILE_ALIAS_FILE",
    Cause.LATE_EVENT: "RECONCILE_LATE",
}
"""The causes that are settings, each with the variable to look at; RECONCILE_SEND_DESPITE takes their names."""

_FEWEST = 3
# A setting that is right has most of its events in their place; below this share of them single faults explain it.
_ONE_IN = 10


@dataclass(frozen=True, slots=True)
class SettingDoubt:
    """One setting that is probably wrong, and what it could touch."""

    cause: Cause
    """The pattern that speaks against it."""
    variable: str
    """The environment variable to look at."""
    text: str
    """What was seen, one sentence without its end."""
    next_step: str
    """What to do about it."""
    codes: tuple[str, ...] = ()
    """The codes whose events it could touch; all where empty."""
    models: tuple[str, ...] = ()
    """The models, as their keys, whose events it could touch; all where empty."""


def setting_doubts(
    explanations: Iterable[Explanation], facts: WindowFacts, matched_events: int
) -> tuple[SettingDoubt, ...]:
    """Return what the findings of a window speak against; `matched_events` counts the expected events that matched."""
    found = {item.cause: item for item in explanations}
    in_time = matched_events - facts.late_events
    doubts: list[tuple[Cause, str, tuple[str, ...], tuple[str, ...]]] = []
    if facts.zone:
        hours = facts.zone / timedelta(hours=1)
        doubts.append((Cause.TIME_ZONE, f"events lie {hours:+g} hours from their calls", (), ()))
    charged = found.get(Cause.WRONG_CHARGE_BY)
    if charged is not None and _prevails(charged.events, matched_events):
        columns = ", ".join(pattern.text for pattern in charged.patterns)
        doubts.append((Cause.WRONG_CHARGE_BY, f"{charged.events:,} events name the spend log's {columns}", (), ()))
    for cause, what in (
        (Cause.PROPERTY_NEVER_SENT, "no event carries the property that is billed"),
        (Cause.PART_OF_THE_TOKENS, "events bill a part of what was used"),
    ):
        counted = found.get(cause)
        if counted is not None and _prevails(counted.events, matched_events):
            doubts.append((cause, f"{what}: {counted.events:,}", tuple(counted.missing), ()))
    renamed = found.get(Cause.OTHER_MODEL_NAME)
    if renamed is not None:
        names = tuple(pattern.text.partition("\x1f")[0] for pattern in renamed.patterns)
        doubts.append((Cause.OTHER_MODEL_NAME, f"{renamed.events:,} events name a model otherwise", (), names))
    if facts.late_events >= _FEWEST and facts.late_events > in_time:
        text = f"more events come late ({facts.late_events:,}) than in time ({in_time:,})"
        doubts.append((Cause.LATE_EVENT, text, (), ()))
    return tuple(
        SettingDoubt(cause, DOUBTED[cause], text, _next_step(cause), codes, models)
        for cause, text, codes, models in doubts
    )


def _prevails(events: int, matched: int) -> bool:
    return events >= _FEWEST and events * _ONE_IN >= matched


def _next_step(cause: Cause) -> str:
    return (
        f"Set {DOUBTED[cause]} right and run again; if it is right as it is, RECONCILE_SEND_DESPITE={cause.value} "
        "lets a plan be sent all the same."
    )
