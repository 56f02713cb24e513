"""A lost call beside an event that nothing explains: whatever that one counts, it may be the call's own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobs.core.meters import preset
from tests.steps.matching.helpers import HOUR
from tests.support.judging import CODE, RULES, Event, SpendLog, catalogue, judged, metric, tokens

_LOST = SpendLog("lost", HOUR, tokens=(1200, 300))


@pytest.mark.parametrize("counts", [(1203, 301), (2400, 900), (600, 150)], ids=["a little more", "more", "less"])
@pytest.mark.parametrize("after_ms", [300, 40_000])
def test_an_event_of_other_counts_beside_a_call_holds_it(counts: tuple[int, int], after_ms: int) -> None:
    event = Event("other", HOUR + after_ms, properties=tokens("gpt-4o", *counts))
    assert judged([_LOST], [event]).kinds == {"ambiguous": 1, "orphaned": 1}


@pytest.mark.parametrize(
    ("others", "event"),
    [
        pytest.param([], Event("later", HOUR + 61_000, properties=tokens("gpt-4o", 1203, 301)), id="not beside it"),
        pytest.param(
            [SpendLog("mini", 9 * HOUR, model="openai/gpt-4o-mini", tokens=(7, 7))],
            Event("other model", HOUR + 40_000, properties=tokens("gpt-4o-mini", 1203, 301)),
            id="of a model of other calls",
        ),
        pytest.param(
            [SpendLog("earlier", HOUR // 2, tokens=(1203, 301)), SpendLog("and", HOUR // 3, tokens=(1203, 301))],
            Event("answer", HOUR + 40_000, properties=tokens("gpt-4o", 1203, 301)),
            id="of the content of earlier calls",
        ),
    ],
)
def test_what_is_no_event_of_this_call(others: list[SpendLog], event: Event) -> None:
    result = judged([_LOST, *others], [event])
    assert ("missing", "lost") in result.found("kind", "request_id")


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ({"type": "input"}, "missing"),
        ({"type": "output"}, "ambiguous"),
        ({"type": "all"}, "ambiguous"),
        ({}, "ambiguous"),
    ],
    ids=["its other part", "this part", "a label that no part has", "no label"],
)
def test_an_event_of_a_calls_other_part_is_not_of_this_one(label: dict[str, str | None], kind: str) -> None:
    rules = replace(RULES, parts=preset("input-output", CODE))
    own = Event("input", HOUR + 300, properties={"model": "gpt-4o", "type": "input", "tokens": "1200"})
    other = Event("other", HOUR + 40_000, properties={"model": "gpt-4o", "tokens": "1503", **label})
    result = judged([_LOST], [own, other], rules=rules, knows=catalogue(metrics=[metric(field_name="tokens")]))
    assert (kind, "lost") in result.found("kind", "request_id")
