"""Lago's own count is compared with what is recorded of whole billing periods, from its store and through its API."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from jobs.core.database.settings import DatabaseSettings
from jobs.core.lago.store import PostgresStore
from jobs.core.litellm.variables import database_settings
from jobs.playground.lago_standin import Fault
from jobs.steps.reconcile_values import Run
from tests.support.backfilling import (
    CODE,
    NOW,
    PERIOD_START,
    SUBSCRIPTIONS,
    fill_litellm,
    new_organization,
    run_one,
    settings_for,
    some_calls,
)

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn, Organization

pytestmark = pytest.mark.usefixtures("impatient")
CALLS = some_calls(18, lost=())
LAST_MONTH = PERIOD_START - timedelta(days=30)


def event(name: str, at: datetime, **properties: Any) -> dict[str, Any]:
    """Return an event of alice that Lago took long ago."""
    return {
        "transaction_id": name,
        "external_subscription_id": "alice",
        "code": CODE,
        "timestamp": at,
        "created_at": at,
        "properties": properties,
    }


class World:
    """Both sides, and where events are read from."""

    def __init__(self, standin: LagoStandIn, database_url: str, folder: Path, source: str) -> None:
        """Give calls whose events Lago all has, taken when they were made."""
        fill_litellm(database_url, CALLS)
        self.organization: Organization = new_organization(standin, [])
        self.organization.insert_events(call.original() | {"created_at": call.at} for call in CALLS)
        self._settings = settings_for(database_url, self.organization, folder)
        store = PostgresStore(store_database(standin)) if source == "store" else None
        self._settings = replace(self._settings, apply=False, reconcile=replace(self._settings.reconcile, store=store))

    def run(self) -> Run:
        """Judge the window."""
        return run_one(self._settings).run

    def ask(self) -> None:
        """Let Lago count, which it keeps."""
        headers = {"Authorization": f"Bearer {self.organization.api_key}"}
        for name in SUBSCRIPTIONS:
            url = f"{self.organization.api_base}/api/v1/customers/customer/current_usage"
            httpx.get(url, params={"external_subscription_id": name}, headers=headers).raise_for_status()


def store_database(standin: LagoStandIn) -> DatabaseSettings:
    return database_settings(url=standin.database_url)


@pytest.fixture(params=["store", "api"])
def world(request: pytest.FixtureRequest, standin: LagoStandIn, litellm_database: str, tmp_path: Path) -> World:
    return World(standin, litellm_database, tmp_path, request.param)


def test_what_lago_counts_is_what_is_recorded(world: World) -> None:
    world.organization.insert_events([event("before", PERIOD_START + timedelta(hours=1), total_tokens="5")])
    run = world.run()
    assert run.certified
    assert run.counts["compared"] == len(SUBSCRIPTIONS)
    assert run.counts["differences"] == []


def test_events_that_lago_does_not_count_are_told(world: World) -> None:
    world.organization.configure(usage_cache_lag_seconds=3600)
    world.ask()
    world.organization.insert_events([event("late", PERIOD_START + timedelta(hours=1), total_tokens="5")])
    run = world.run()
    (difference,) = run.counts["differences"]
    lacking = Decimal(difference["recorded"]) - Decimal(difference["told"])
    assert difference["subscription"] == "alice"
    if run.counts["by"] == "units":
        assert not run.certified
        assert [reason.code for reason in run.reasons] == ["counted_otherwise"]
        assert lacking == 5
        assert "it has not counted its latest events yet" in run.reasons[0].text
    else:
        # Numbers of events alone are no proof against this window.
        assert run.certified
        assert lacking == 1
        assert any("Lago counts 9 of 10 events of llm_tokens of subscription 'alice'" in one for one in run.warnings)


def test_an_event_that_is_new_to_lago_is_no_difference(world: World) -> None:
    world.organization.configure(usage_cache_lag_seconds=3600)
    world.ask()
    world.organization.insert_events([event("new", NOW - timedelta(minutes=5), total_tokens="5")])
    assert world.run().counts["differences"] == []


def test_an_event_without_a_number_outside_the_window(world: World) -> None:
    world.organization.insert_events([event("bare", PERIOD_START + timedelta(hours=1), model="gpt-4o")])
    run = world.run()
    if run.counts["by"] == "units":
        assert run.counts["differences"] == []
    else:
        (difference,) = run.counts["differences"]
        assert "carry no number" in difference["likely"]


def test_lago_that_does_not_answer_fails_no_run(world: World) -> None:
    world.organization.set_faults(Fault("server_error", endpoint="current_usage"))
    run = world.run()
    assert (run.certified, run.counts["compared"]) == (True, 0)
