"""Plans and runs that are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobs.adapters.ledger import Ledger
from jobs.errors import RefusedError
from jobs.steps.backfill_values import BackfillSettings
from tests.support.backfilling import (
    CAPS,
    NOW,
    RULES,
    Call,
    assert_billed_once,
    fill_litellm,
    run_one,
)

if TYPE_CHECKING:
    pass

from tests.commands.backfill.helpers import CALLS, LOST, QUANTITY, World
from tests.support.twins import deep_after, deep_but


def refused(settings: BackfillSettings, *, plan: Path | None = None, run_id: str = "refused") -> RefusedError:
    """Run it, and return the refusal; nothing is sent before one, and the ledger knows that the run was refused."""
    with pytest.raises(RefusedError) as caught:
        run_one(settings, run_id, plan=plan)
    assert caught.value.exit_code == 4
    assert caught.value.remedy, "a refusal says what to do next"
    return caught.value


def test_a_stale_plan_is_refused(world: World) -> None:
    plan = world.plan()
    world.organization.insert_events([LOST[0].original()])
    error = refused(world.settings(), plan=plan)
    assert error.what.startswith("the plan is stale: the event of request")
    assert error.remedy == "Make a new plan"
    assert world.sent() == set()


EDITS: Mapping[str, Callable[[list[bytes]], list[bytes]]] = {
    "quantity": lambda lines: [lines[0], lines[1].replace(b'"quantity":"1', b'"quantity":"9'), *lines[2:]],
    "cap": lambda lines: [lines[0].replace(b'"events":1000', b'"events":9999'), *lines[1:]],
    "last line gone": lambda lines: lines[:-1],
    "cut within a line": lambda lines: [*lines[:-1], lines[-1][: len(lines[-1]) // 2]],
    "line twice": lambda lines: [*lines, lines[-1]],
    "other order": lambda lines: [lines[0], *reversed(lines[1:])],
}


def test_an_edited_or_cut_plan_is_refused(world: World) -> None:
    plan = world.plan()
    lines = plan.read_bytes().splitlines()
    for number, (name, edit) in enumerate(EDITS.items()):
        edited = edit(lines)
        assert edited != lines, name
        plan.write_bytes(b"\n".join(edited) + b"\n")
        error = refused(world.settings(), plan=plan, run_id=f"refused-{number}")
        assert "edited or cut short" in error.what, name
        assert error.remedy == "Make a new plan; a plan is never edited"
    assert world.sent() == set()


@pytest.mark.parametrize(
    "content", deep_but([b"", b"\n", b"not json\n", b"[]\n", b'{"format":"litellm-lago-plan/0"}\n'], b"not json\n")
)
def test_what_is_no_plan_is_refused(content: bytes, world: World) -> None:
    plan = world.folder / "plan.jsonl"
    plan.write_bytes(content)
    assert refused(world.settings(), plan=plan).remedy.startswith("Make a new plan")


@pytest.mark.deep
def test_nothing_is_sent_while_spend_logs_end_in_the_future(world: World) -> None:
    fill_litellm(world.database_url, [Call("tomorrow's", "alice", NOW + timedelta(hours=9), (1, 1), lost=False)])
    error = refused(world.settings())
    assert "end in the future" in error.what
    assert "RECONCILE_SOURCE_TIME_ZONE" in error.remedy
    assert world.sent() == set()


def test_a_plan_made_under_other_rules_is_refused(world: World) -> None:
    plan = world.plan()
    error = refused(world.settings(rules=replace(RULES, top_up=True)), plan=plan)
    assert "other rules" in error.what
    assert error.remedy == "Make a new plan, or restore the settings it was made with"
    assert world.sent() == set()


@pytest.mark.parametrize(
    "with_file", [False, pytest.param(True, marks=pytest.mark.deep)], ids=["in one go", "plan file"]
)
@pytest.mark.parametrize(
    ("caps", "told"),
    deep_after(
        1,
        [
            (replace(CAPS, events=5), "6 events would be sent, more than the cap of 5 (RECONCILE_MOST_EVENTS)"),
            (
                replace(CAPS, quantity=Decimal(QUANTITY - 1)),
                f"{QUANTITY} llm_tokens would be sent, more than the cap of {QUANTITY - 1} (RECONCILE_MOST_QUANTITY)",
            ),
            (
                replace(CAPS, share=Decimal("0.2"), share_from_events=1),
                "more than the cap of 20% (RECONCILE_MOST_SHARE)",
            ),
        ],
    ),
    ids=["events", "quantity", "share"],
)
def test_a_plan_over_a_cap_is_refused(caps: Any, told: str, with_file: bool, world: World) -> None:
    plan = world.plan() if with_file else None
    error = refused(world.settings(caps=caps), plan=plan)
    assert told in error.what
    assert "aise the cap" in error.remedy
    assert world.sent() == set()
    with Ledger.open(world.settings().ledger_url, now=lambda: NOW) as ledger:
        detail = ledger.run("refused")
    assert detail is not None
    assert detail.record.ended is not None
    assert detail.record.ended.outcome == "refused"


@pytest.mark.deep
def test_a_plan_at_its_caps_is_applied(world: World) -> None:
    result = run_one(world.settings(caps=replace(CAPS, events=len(LOST), quantity=Decimal(QUANTITY))))
    assert result.applied is not None
    assert result.applied.complete


def test_one_run_at_a_time(world: World) -> None:
    inside: list[RefusedError] = []

    def second(name: str) -> None:
        if name == "intents: written":
            inside.append(refused(world.settings(), run_id="second"))

    run_one(world.settings(), "first", step=second)
    (error,) = inside
    assert "another run (run first, process" in error.what
    assert error.remedy.startswith("Wait until it has ended, or end it")
    assert_billed_once(world.organization, CALLS)
