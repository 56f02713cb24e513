"""Plan, refuse, apply, verify: what a backfill may send, what it refuses with which advice, and what it leaves."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.steps.backfill_values import BackfillSettings
from tests.support.backfilling import (
    SUBSCRIPTIONS,
    Call,
    assert_billed_once,
    billed,
    due,
    run_one,
    settings_for,
    some_calls,
)
from tests.support.command_runner import Commanded

if TYPE_CHECKING:
    from jobs.playground.lago_standin import Organization


CALLS = some_calls(18, lost=(1, 4, 7, 8, 13, 16))


LOST = [call for call in CALLS if call.lost]


@dataclass(frozen=True, slots=True)
class World:
    """Both sides, and what is asked for."""

    calls: Sequence[Call]
    organization: Organization
    database_url: str
    folder: Path

    def settings(self, **changes: Any) -> BackfillSettings:
        """Return settings that apply; changes are those of the reconcile run."""
        return settings_for(self.database_url, self.organization, self.folder, **changes)

    def plan(self, run_id: str = "planning", **changes: Any) -> Path:
        """Make a plan without applying it, and return its file."""
        result = run_one(replace(self.settings(**changes), apply=False), run_id)
        assert result.applied is None
        return result.run.folder / "plan.jsonl"

    def sent(self) -> set[str]:
        """Return the request ids of the calls whose own event is in Lago by our doing."""
        stored = {event.transaction_id for event in self.organization.events()}
        return {call.request_id for call in self.calls if call.transaction_id in stored}


QUANTITY = sum(call.total for call in LOST)


def told(done: Commanded) -> tuple[int, str, str]:
    """Return exit code and both streams, which hold nothing that a terminal would obey."""
    output, errors = done.output, done.errors
    for character in output + errors:
        assert character == "\n" or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert "Traceback" not in errors
    return done.code, output, errors


def assert_after_another_run(world: World) -> None:
    """Assert that the next run completes what an interrupted one began."""
    result = run_one(world.settings())
    assert result.applied is None or result.applied.complete
    assert_billed_once(world.organization, world.calls)
    assert billed(world.organization, SUBSCRIPTIONS) == due(world.calls)
