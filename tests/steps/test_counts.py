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
from jobs.core.lago.store import ClickHouseStore, PostgresStore, Store
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
from tests.support.clickhouse import fill

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

    def __init__(
        self, standin: LagoStandIn, database_url: str, folder: Path, source: str, clickhouse: Any, clickhouse_url: str
    ) -> None:
        """Give calls whose events Lago all has, taken when they were made."""
        fill_litellm(database_url, CALLS)
        is_clickhouse = source.startswith("clickhouse")
        self.by_units = source != "many"
        self._standin, self._clickhouse = standin, clickhouse if source == "clickhouse" else None
        self.organization: Organization = new_organization(standin, [], "clickhouse" if is_clickhouse else "postgres")
        self.organization.insert_events(call.original() | {"created_at": call.at} for call in CALLS)
        self._settings = settings_for(database_url, self.organization, folder)
        stores: dict[str, Store] = {
            "postgres": PostgresStore(store_database(standin)),
            "clickhouse": ClickHouseStore(clickhouse_url),
        }
        changed = replace(self._settings.reconcile, store=stores.get(source))
        self._settings = replace(self._settings, apply=False, reconcile=changed)

    def run(self) -> Run:
        """Judge the window."""
        if self._clickhouse is not None:
            fill(self._clickhouse, self._standin, self.organization)
        return run_one(self._settings).run

    def ask(self) -> None:
        """Let Lago count, which it keeps."""
        headers = {"Authorization": f"Bearer {self.organization.api_key}"}
        for name in SUBSCRIPTIONS:
            url = f"{self.organization.api_base}/api/v1/customers/customer/current_usage"
            httpx.get(url, params={"external_subscription_id": name}, headers=headers).raise_for_status()


def store_database(standin: LagoStandIn) -> DatabaseSettings:
    return database_settings(url=standin.database_url)


SOURCES = ["postgres", "clickhouse", "api", "clickhouse through the api", "many"]


def deep_but(*quick: str) -> pytest.MarkDecorator:
    """Ask for a world of each source; those that go the way of another one here are deep."""
    sources = [pytest.param(one, marks=[] if one in quick else pytest.mark.deep) for one in SOURCES]
    return pytest.mark.parametrize("world", sources, indirect=True)


@pytest.fixture
def world(
    request: pytest.FixtureRequest,
    standin: LagoStandIn,
    litellm_database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> World:
    """Give both sides, read from each of Lago's stores, through its API, and with more events than that lists."""
    monkeypatch.setattr("jobs.steps.counts._MOST_ADDED_UP", 3 if request.param == "many" else 5_000)
    in_process = request.param == "clickhouse"
    client = request.getfixturevalue("clickhouse") if in_process else None
    url = request.getfixturevalue("clickhouse_url") if in_process else ""
    return World(standin, litellm_database, tmp_path, request.param, client, url)


@deep_but("clickhouse", "api")
def test_what_lago_counts_is_what_is_recorded(world: World) -> None:
    """Also where an event has just arrived, and is not in what Lago counted before."""
    world.organization.insert_events([event("before", PERIOD_START + timedelta(hours=1), total_tokens="5")])
    world.organization.configure(usage_cache_lag_seconds=3600)
    world.ask()
    world.organization.insert_events([event("new", NOW - timedelta(minutes=5), total_tokens="7")])
    run = world.run()
    assert run.certified
    assert run.counts["compared"] == len(SUBSCRIPTIONS)
    assert run.counts["by_units"] == (len(SUBSCRIPTIONS) if world.by_units else 0)
    assert run.counts["differences"] == []


@deep_but("api")
def test_events_that_lago_does_not_count_are_told(world: World) -> None:
    world.organization.configure(usage_cache_lag_seconds=3600)
    world.ask()
    world.organization.insert_events([event("late", PERIOD_START + timedelta(hours=1), total_tokens="5")])
    run = world.run()
    (difference,) = run.counts["differences"]
    lacking = Decimal(difference["recorded"]) - Decimal(difference["told"])
    assert difference["subscription"] == "alice"
    if world.by_units:
        assert not run.certified
        assert [reason.code for reason in run.reasons] == ["counted_otherwise"]
        assert lacking == 5
        assert "it has not counted its latest events yet" in run.reasons[0].text
    else:
        # Numbers of events alone are no proof against this window.
        assert run.certified
        assert lacking == 1
        assert any("Lago counts 9 of 10 events of llm_tokens of subscription 'alice'" in one for one in run.warnings)


@pytest.mark.deep
@deep_but("postgres")
def test_an_event_without_a_number_outside_the_window(world: World) -> None:
    world.organization.insert_events([event("bare", PERIOD_START + timedelta(hours=1), model="gpt-4o")])
    run = world.run()
    if world.by_units:
        assert run.counts["differences"] == []
    else:
        (difference,) = run.counts["differences"]
        assert "carry no number" in difference["likely"]


@deep_but("postgres")
def test_lago_that_does_not_answer_fails_no_run(world: World) -> None:
    world.organization.set_faults(Fault("server_error", endpoint="current_usage"))
    run = world.run()
    assert (run.certified, run.counts["compared"]) == (True, 0)


@pytest.mark.parametrize(
    "world", ["clickhouse", pytest.param("clickhouse through the api", marks=pytest.mark.deep)], indirect=True
)
def test_a_copy_of_an_event_counts_once_in_clickhouse(world: World) -> None:
    at = PERIOD_START + timedelta(hours=1)
    first, second = (event("again", at, total_tokens=tokens) for tokens in ("7", "5"))
    world.organization.insert_events([first, second | {"created_at": at + timedelta(seconds=1)}])
    run = world.run()
    assert (run.counts["by_units"], run.counts["differences"]) == (len(SUBSCRIPTIONS), [])


@pytest.mark.deep
def test_many_events_of_a_clickhouse_organization_are_not_compared(
    standin: LagoStandIn, litellm_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.steps.counts._MOST_ADDED_UP", 3)
    run = World(standin, litellm_database, tmp_path, "clickhouse through the api", None, "").run()
    assert (run.certified, run.counts) == (
        True,
        {"compared": 0, "by_units": 0, "differences": [], "voided": []},
    )
