"""Everything the product says is wrong comes with what to do about it: errors, refusals, discrepancies, reasons."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import errors
from jobs.core.kinds import Cause, Detail, HoldReason, Kind
from jobs.core.lago.billing_rules import Unbilled
from jobs.core.plan import read_event
from jobs.core.sorts import DETAILS, NEXT_STEPS, next_step
from jobs.core.telling.cause_texts import CAUSE_TEXTS
from jobs.drivers.queries import query
from tests.support.scenario import SCENARIOS

_CHECKOUT = Path(__file__).parents[2]
_SQL = "".join(path.read_text(encoding="utf-8") for path in sorted((_CHECKOUT / "sql" / "workspace").rglob("*.sql")))
_ERRORS = {name for name, found in vars(errors).items() if isinstance(found, type)} | {"LagoUnansweredError"}


def _raised() -> Iterator[tuple[str, str, list[ast.expr]]]:
    """Yield where an error of ours is made, its class, and what it is made of."""
    for path in sorted((_CHECKOUT / "jobs").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _ERRORS:
                yield f"{path.relative_to(_CHECKOUT)}:{node.lineno}", node.func.id, node.args


def test_every_error_says_what_to_do() -> None:
    raised = [site for site in _raised() if site[1] not in ("DiskFullError", "LawBrokenError", "StoppedError")]
    assert len(raised) > 50
    without = [
        where
        for where, _, arguments in raised
        if not any(isinstance(argument, ast.Starred) for argument in arguments)
        and (len(arguments) < 2 or (isinstance(arguments[1], ast.Constant) and not arguments[1].value))
    ]
    assert without == []
    assert "nothing was sent" in str(errors.LawBrokenError("conservation is broken"))
    assert str(errors.StoppedError("SIGTERM")).endswith("Run the same command again")
    assert "Make room" in str(errors.DiskFullError("runs"))


@pytest.mark.parametrize("line", [b"", b"[]", b'{"properties": {}}', b'{"properties": {"a": 1}}'])
def test_a_line_that_is_no_event_is_refused(line: bytes) -> None:
    with pytest.raises(errors.RefusedError, match="a line that is no event") as caught:
        read_event(line)
    assert caught.value.remedy.startswith("Make a new plan")


def test_every_kind_and_reason_has_a_scenario() -> None:
    found = set()
    for path in SCENARIOS.glob("*/expected/discrepancies.csv"):
        found |= {tuple(line.split(",")[:2]) for line in path.read_text(encoding="utf-8").splitlines()[1:]}
    # Only an attempt to send can find a soft-deleted id: tests/commands/backfill/ has that story.
    reasons = {("held", reason.value) for reason in HoldReason if reason is not HoldReason.SOFT_DELETED}
    plain = {(kind.value, "") for kind in Kind if kind not in (Kind.HELD, Kind.RECORDED_UNBILLED)}
    assert reasons | plain <= found
    assert any(kind == "recorded_unbilled" for kind, _ in found)


def test_every_kind_reason_and_detail_has_a_step() -> None:
    assert all(next_step(kind) for kind in Kind)
    assert all(next_step(Kind.HELD, reason) for reason in HoldReason)
    assert set(DETAILS) == set(Detail)
    assert {sort.reason for sort in DETAILS.values() if sort.kind is Kind.HELD} == set(HoldReason)
    assert {sort.reason for sort in DETAILS.values() if sort.kind is Kind.RECORDED_UNBILLED} == set(Unbilled)
    assert all(next_step(Kind.RECORDED_UNBILLED, reason) for reason in Unbilled)
    assert {f"unbilled_{reason}" for reason in Unbilled} <= set(Detail)
    # "Do what its next_step says" is no step.
    incomplete = [sort for sort in DETAILS.values() if sort.reason is HoldReason.SOURCE_INCOMPLETE]
    assert all(sort.step for sort in incomplete)
    assert set(CAUSE_TEXTS) == set(Cause)


_STEPS = {step for *_, step in NEXT_STEPS} | {sort.step for sort in DETAILS.values() if sort.step is not None}


@pytest.mark.parametrize("step", sorted(_STEPS), ids=lambda step: step[:40])
def test_a_step_is_one_sentence_that_begins_with_what_to_do(step: str) -> None:
    assert re.fullmatch(r"[A-Z][^.\n`]{3,118}(\.[^.\n ]+[^.\n]*)?\.", step)


def test_the_queries_write_the_codes_of_kinds_reasons_and_details_and_no_others() -> None:
    written = {name: set(re.findall(r"THEN '(\w+)'", _query(name))) for name in _JUDGING}
    assert written["guard_expected_events"] - {"missing", "open"} <= set(Detail)
    rest = set().union(*(written[name] for name in _JUDGING if name != "guard_expected_events"))
    assert rest <= set(Detail) | set(Kind) | {"matched"}
    # Why Lago does not bill an event is a word of the rules, which the queries put behind `unbilled_`.
    unbilled = {f"unbilled_{reason}" for reason in Unbilled}
    assert set(re.findall(r"THEN '(\w+)'", _query("judge_billing"))) <= set(Unbilled)
    assert set(Detail) - unbilled <= set().union(*written.values()) | set(re.findall(r"ELSE '(\w+)'", _SQL))
    assert not [sort.text for sort in DETAILS.values() if f"'{sort.text}'" in _SQL], "prose is no key"


_JUDGING = ("guard_expected_events", "judge_expected_events", "judge_recorded_events", "collect_discrepancies")


def _query(name: str) -> str:
    return query("workspace", name)
