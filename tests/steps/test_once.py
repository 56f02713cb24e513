"""Cases in which a call was once billed twice, or to somebody else, on both stores and by both meters."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobs.backfill import backfill
from jobs.core.kinds import Cause
from jobs.errors import RefusedError
from jobs.steps.backfill_values import Backfill, BackfillSettings, Hooks
from tests.support.scenario import SCENARIOS, Scenario, SilentProgress

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn, Organization

_FIELDS = {"callback": "total_tokens", "input-output": "tokens"}
_CODE = "llm_tokens"


class World:
    """One case on one store, its events as one meter's senders make them."""

    def __init__(
        self, case: str, store: str, meter: str, database_url: str, standin: LagoStandIn, folder: Path
    ) -> None:
        """Fill both sides."""
        self.scenario = Scenario(_variant(case, store, meter, folder / "scenario"))
        self.database_url = database_url
        self.folder = folder
        self.meter = meter
        self.organization: Organization = self.scenario.fill(database_url, standin)

    def apply(
        self, *, slice_length: timedelta = timedelta(days=7), send_despite: frozenset[Cause] = frozenset()
    ) -> Backfill:
        """Apply what is missing, as `backfill --apply` does."""
        request = self.scenario.request(
            self.database_url, self.organization, self.folder / "runs", RECONCILE_METER=self.meter
        )
        settings = BackfillSettings(
            reconcile=request,
            ledger_url=f"sqlite:///{self.folder / 'ledger.sqlite'}",
            verify_within=timedelta(seconds=3),
            slice_length=slice_length,
            apply=True,
            send_despite=send_despite,
        )
        hooks = Hooks(now=lambda: self.scenario.now, stop=threading.Event())
        run_id = f"run-{len(list((self.folder / 'runs').glob('*')))}"
        return backfill(settings, SilentProgress(), hooks, run_id=run_id, command="test")

    def billed(self, name: str) -> int:
        """Return what Lago bills for the month."""
        month = datetime.fromisoformat("2026-11-01T00:00:00+00:00")
        return int(self.organization.billed(name, _CODE, month, self.scenario.now).units)

    def sent(self) -> list[str | None]:
        """Return the subscriptions of the events that were sent."""
        return [
            event.external_subscription_id
            for event in self.organization.events()
            if event.transaction_id.startswith("litellm-lago:")
        ]


def _variant(case: str, store: str, meter: str, folder: Path) -> Path:
    """Copy the case, for this store and this meter."""
    shutil.copytree(SCENARIOS / case, folder)
    lago = folder / "lago.toml"
    given = lago.read_text(encoding="utf-8") if lago.exists() else ""
    metric = f'[[metrics]]\ncode = "{_CODE}"\nfield_name = "{_FIELDS[meter]}"\n'
    lago.write_text(f'event_store = "{store}"\n{metric}{given}', encoding="utf-8")
    if meter == "input-output":
        events = folder / "events.jsonl"
        lines = map(json.loads, events.read_text(encoding="utf-8").splitlines())
        halves = (json.dumps(half) for number, line in enumerate(lines) for half in _halves(number, line))
        events.write_text("".join(f"{half}\n" for half in halves), encoding="utf-8")
    return folder


def _halves(number: int, event: dict[str, Any]) -> list[dict[str, Any]]:
    counts = {"input": event["properties"]["prompt_tokens"], "output": event["properties"]["completion_tokens"]}
    return [
        {
            **event,
            "transaction_id": f"event-{number}-{part}",
            "properties": {"model": event["properties"]["model"], "type": part, "tokens": count},
        }
        for part, count in counts.items()
    ]


MakeWorld = Callable[[str, str, str], World]


@pytest.fixture
def make_world(scenario_database_at: Callable[[str], str], standin: LagoStandIn, tmp_path: Path) -> MakeWorld:
    """Return a maker of worlds: case, store, meter."""

    def make(case: str, store: str, meter: str) -> World:
        era = Scenario(SCENARIOS / case).era
        return World(case, store, meter, scenario_database_at(era), standin, tmp_path)

    return make


# One in every run; the others are deep.
STORES_AND_METERS = pytest.mark.parametrize(
    ("store", "meter"),
    [
        pytest.param("postgres", "callback", marks=pytest.mark.deep),
        ("clickhouse", "input-output"),
        pytest.param("postgres", "input-output", marks=pytest.mark.deep),
        pytest.param("clickhouse", "callback", marks=pytest.mark.deep),
    ],
)


@STORES_AND_METERS
def test_a_late_event_beside_a_lost_one(make_world: MakeWorld, store: str, meter: str) -> None:
    world = make_world("once-late-event", store, meter)
    result = world.apply()
    assert result.applied is not None
    assert result.applied.complete
    assert world.billed("alice") == 1200 + 300 + 50 + 10
    assert result.run.window_facts.late_events == len(world.sent()) == (1 if meter == "callback" else 2)
    assert result.run.window_facts.longest_delay == timedelta(minutes=87)
    assert world.apply().run.plan.events == 0


@STORES_AND_METERS
@pytest.mark.parametrize("days", [1, pytest.param(7, marks=pytest.mark.deep)])
def test_what_reconcile_holds_no_backfill_sends(make_world: MakeWorld, store: str, meter: str, days: int) -> None:
    world = make_world("once-slices", store, meter)
    result = world.apply(slice_length=timedelta(days=days))
    assert (result.run.plan.events, world.sent()) == (0, [])
    details = (result.run.folder / "discrepancies.csv").read_text(encoding="utf-8")
    assert "Lago has calls of this API key, logged under this user, under others" in details


@pytest.mark.deep
@STORES_AND_METERS
def test_a_time_zone_that_the_run_has_found_wrong_is_refused(make_world: MakeWorld, store: str, meter: str) -> None:
    world = make_world("once-time-zone", store, meter)
    with pytest.raises(RefusedError) as refused:
        world.apply()
    assert refused.value.exit_code == 4
    assert "RECONCILE_SOURCE_TIME_ZONE" in str(refused.value)
    assert "RECONCILE_SEND_DESPITE=time_zone" in refused.value.remedy
    assert world.sent() == []


@pytest.mark.deep
def test_told_by_name_a_plan_is_worked_despite_a_doubt(make_world: MakeWorld) -> None:
    world = make_world("once-time-zone", "postgres", "callback")
    result = world.apply(send_despite=frozenset({Cause.TIME_ZONE}))
    assert (result.run.plan.events, world.sent()) == (0, []), "each call still has an event that nothing else explains"
