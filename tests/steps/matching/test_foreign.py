"""Events of other subscriptions that answer a call: whoever they bill, it is not missing for certain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from jobs.core.kinds import ChargeBy
from jobs.core.meters import preset
from tests.steps.matching.helpers import HOUR
from tests.support.judging import (
    CODE,
    RULES,
    Event,
    SpendLog,
    catalogue,
    judged,
    judged_workspace,
    metric,
    tokens,
)
from tests.support.twins import deep_after

_MINUTE = 60_000
_DOUBTED = "it counts what a call counts that is held or ambiguous"
_FITS = "another subscription has an unexplained event that fits this call"


def _event(name: str, at_ms: int, counts: tuple[int, int], payer: str | None = "bob") -> Event:
    return Event(name, at_ms, payer, tokens("gpt-4o", *counts))


@pytest.mark.parametrize("minutes", deep_after(1, [40, 2, 22 * 60]))
def test_a_late_event_under_another_name_holds_its_call(minutes: int) -> None:
    result = judged(
        [SpendLog("lost", HOUR, tokens=(1200, 300))], [_event("late", HOUR + minutes * _MINUTE, (1200, 300))]
    )
    assert sorted(result.found("kind", "detail")) == [("held", _FITS), ("orphaned", _DOUBTED)]


@pytest.mark.parametrize(
    "events",
    deep_after(
        2,
        [
            pytest.param([_event("before", 2 * HOUR - 10 * _MINUTE, (1200, 300))], id="it came before the call"),
            pytest.param([_event("nobody's", 3 * HOUR, (1200, 300), None)], id="it bills nobody"),
            pytest.param([_event("other", 3 * HOUR, (1200, 301))], id="other numbers"),
            pytest.param([_event(name, 3 * HOUR, (1200, 300)) for name in "ab"], id="not alone with its content"),
        ],
    ),
)
def test_what_holds_no_call(events: Sequence[Event]) -> None:
    assert judged([SpendLog("lost", 2 * HOUR, tokens=(1200, 300))], events).kinds["missing"] == 1


@pytest.mark.deep
def test_small_numbers_are_everybodys() -> None:
    assert judged([SpendLog("lost", HOUR, tokens=(12, 3))], [_event("e", 3 * HOUR, (12, 3))]).kinds["missing"] == 1


def test_of_a_call_with_several_events_all_must_be_there() -> None:
    rules = replace(RULES, parts=preset("input-output", CODE))
    knows = catalogue(metrics=[metric(field_name="tokens")])
    halves = [
        Event(kind, 3 * HOUR, "bob", {"model": "gpt-4o", "type": kind, "tokens": count})
        for kind, count in (("input", "1200"), ("output", "30"))
    ]
    log = SpendLog("lost", HOUR, tokens=(1200, 30))
    assert judged([log], halves, rules=rules, knows=knows).kinds["held: source_incomplete"] == 2
    assert judged([log], halves[:1], rules=rules, knows=knows).kinds["missing"] == 2
    apart = [halves[0], replace(halves[1], at_ms=4 * HOUR)]
    assert judged([log], apart, rules=rules, knows=knows).kinds["missing"] == 2


@pytest.mark.parametrize(
    ("foreign", "kind"),
    deep_after(
        2,
        [
            pytest.param(_event("other", 6 * HOUR, (778, 200)), "missing", id="of no call of this key"),
            pytest.param(_event("in time", 5 * HOUR + 300, (777, 200)), "held", id="in time"),
            pytest.param(_event("late", 6 * HOUR, (777, 200)), "held", id="late"),
            pytest.param(Event("bare", 5 * HOUR + 300, "bob", {"model": "gpt-4o"}), "held", id="without tokens"),
        ],
    ),
)
def test_one_event_under_another_name_shows_that_a_key_is_shared(foreign: Event, kind: str) -> None:
    own = [SpendLog(f"own-{n}", n * _MINUTE, tokens=(500 + n, 100)) for n in range(1, 60)]
    logs = [*own, SpendLog("bob's", 5 * HOUR, tokens=(777, 200)), SpendLog("lost", 9 * HOUR, tokens=(321, 123))]
    events = [_event(log.request_id, log.at_ms + 200, log.tokens, "alice") for log in own]
    with judged_workspace(logs, [*events, foreign], may_pin_end_users=True) as workspace:
        kinds = {row["request_id"]: row["kind"] for row in workspace.rows("discrepancies")}
    assert kinds["lost"] == kind


@pytest.mark.parametrize(
    ("named", "caller", "key", "kind"),
    [
        pytest.param("bob", "bob", "key-1", "held", id="the sender charges by the user"),
        pytest.param("bob", "carol", "key-1", "missing", id="another caller of that key"),
        pytest.param("bob", "bob", "key-2", "missing", id="another key of that user"),
        pytest.param("carol", "bob", "key-1", "missing", id="a wrong name"),
    ],
)
def test_what_a_caller_lacks_whose_events_stand_under_another_value_is_held(
    named: str, caller: str, key: str, kind: str
) -> None:
    log = SpendLog("named", HOUR, "bob", tokens=(1200, 300), team_id="alice")
    other = replace(log, request_id="lost", at_ms=3 * HOUR, tokens=(700, 70), end_user=caller, api_key=key)
    event = _event("event", HOUR + 300, (1200, 300), named)
    result = judged([log, other], [event], rules=replace(RULES, charge_by=ChargeBy.TEAM_ID))
    assert (kind, "lost") in result.found("kind", "request_id")


@pytest.mark.parametrize(
    ("foreign", "kind"),
    [
        pytest.param([("first", "output")], "missing", id="one number of one call"),
        pytest.param([("first", "output"), ("first", "input")], "held", id="all of one call"),
        pytest.param([("first", "output"), ("second", "output")], "held", id="one number of two calls"),
    ],
)
def test_one_number_under_another_user_pins_no_key(foreign: list[tuple[str, str]], kind: str) -> None:
    rules = replace(RULES, parts=preset("input-output", CODE))
    knows = catalogue(metrics=[metric(field_name="tokens")])
    logs = [SpendLog(f"r{number}", number * _MINUTE, tokens=(100 + number, 40)) for number in range(20)]
    logs += [SpendLog(name, 3 * HOUR + at, tokens=(2000 + at, 497 + at)) for at, name in enumerate(("first", "second"))]
    ends = {log.request_id: log.at_ms for log in logs}
    counts = {(log.request_id, part): str(log.tokens[part == "output"]) for log in logs for part in ("input", "output")}
    said = [(name, part, "alice") for name, part in counts if name.startswith("r")]
    events = [
        Event(
            f"{name}-{part}", ends[name] + 300, payer, {"model": "gpt-4o", "type": part, "tokens": counts[name, part]}
        )
        for name, part, payer in [*said, *((*each, "bob") for each in foreign)]
    ]
    lost = SpendLog("lost", 9 * HOUR, tokens=(700, 70))
    with judged_workspace([*logs, lost], events, rules=rules, knows=knows, may_pin_end_users=True) as workspace:
        kinds = {row["request_id"]: row["kind"] for row in workspace.rows("discrepancies")}
    assert kinds["lost"] == kind
