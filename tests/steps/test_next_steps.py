"""Everything the product says is wrong comes with what to do about it: errors, refusals, discrepancies, reasons."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import errors
from jobs.core.kinds import DETAILS, NEXT_STEPS, Cause, Detail, HoldReason, Kind, next_step
from jobs.core.lago.billing_rules import Unbilled
from jobs.core.plan import read_event
from jobs.core.telling.cause_texts import CAUSE_TEXTS
from jobs.drivers.queries import query
from tests.support.scenario import SCENARIOS

_CHECKOUT = Path(__file__).parents[2]
_SQL = "".join(path.read_text(encoding="utf-8") for path in sorted((_CHECKOUT / "sql" / "workspace").rglob("*.sql")))
_ERRORS = {name for name, found in vars(errors).items() if isinstance(found, type)} | {"LagoUnansweredError"}

# Each refusal by words of its message, and the test that provokes it.
_REFUSALS = {
    "this organization holds": "test_an_organization_of_its_own_is_played",
    "is probably wrong": "test_a_time_zone_that_the_run_has_found_wrong_is_refused",
    "the plan was made under other rules": "test_a_plan_made_under_other_rules_is_refused",
    "end in the future": "test_nothing_is_sent_while_spend_logs_end_in_the_future",
    "the plan is over a cap": "test_a_plan_over_a_cap_is_refused",
    "the plan is stale": "test_a_stale_plan_is_refused",
    "a line that is no event": "test_a_line_that_is_no_event_is_refused",
    "first line is no header": "test_what_is_no_plan_is_refused",
    "this is no plan of the format": "test_what_is_no_plan_is_refused",
    "header lacks what every plan has": "test_a_header_with_a_right_hash_is_refused_or_read",
    "edited or cut short": "test_an_edited_or_cut_plan_is_refused",
    "the plan's header lacks": "test_a_header_without_one_of_its_fields_is_refused",
    "holds the lock": "test_refusal_names_the_holder",
    "lost its lock": "test_lost_connection_is_noticed",
    "has schema version": "test_newer_ledger_is_refused",
    "is not what a shard leaves behind": "test_what_is_no_record_is_refused",
    "{name} was made": "test_shards_that_do_not_belong_together_are_refused",
    "shard {listed} is {what} there": "test_shards_that_do_not_belong_together_are_refused",
    "a shard's folder is given twice": "test_misattribution_across_shards_is_found_and_folders_are_checked",
    "holds no readable": "test_misattribution_across_shards_is_found_and_folders_are_checked",
}


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


def test_every_refusal_has_a_test() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in (_CHECKOUT / "tests").rglob("test_*.py"))
    refusals = [(where, ast.unparse(arguments[0])) for where, name, arguments in _raised() if name == "RefusedError"]
    unnamed = [where for where, what in refusals if not any(words in what for words in _REFUSALS)]
    assert unnamed == []
    assert [words for words in _REFUSALS if not any(words in what for _, what in refusals)] == []
    assert [test for test in _REFUSALS.values() if f"def {test}(" not in tests] == []


@pytest.mark.parametrize("line", [b"", b"[]", b'{"properties": {}}', b'{"properties": {"a": 1}}'])
def test_a_line_that_is_no_event_is_refused(line: bytes) -> None:
    with pytest.raises(errors.RefusedError, match="a line that is no event") as caught:
        read_event(line)
    assert caught.value.remedy.startswith("Make a new plan")


def test_every_kind_and_reason_has_a_scenario() -> None:
    found = set()
    for path in SCENARIOS.glob("*/expected/discrepancies.csv"):
        found |= {tuple(line.split(",")[:2]) for line in path.read_text(encoding="utf-8").splitlines()[1:]}
    # Only an attempt to send can find a soft-deleted id: tests/commands/test_backfill.py has that story.
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
    assert written["guard_expected_events"] - {"missing"} <= set(Detail)
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
