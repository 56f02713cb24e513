"""A simulated month with every class of loss, over a cluster: the same files, and each row read once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from jobs.core.database.settings import store_settings
from jobs.core.lago.store import PostgresStore
from jobs.core.litellm.variables import database_settings
from jobs.core.window import Window
from jobs.demo import CODE, DEMO_NOW, MONTH_START, _organization, _settings
from jobs.playground.simulated_gateway import load_daily_end_user_spend, load_spend_logs
from jobs.playground.simulation import SimulationSettings, simulate
from jobs.reconcile import reconcile
from jobs.settings.commands import sources_here
from jobs.steps.reconcile_values import ClusterSettings
from tests.scenarios.test_scenarios import folder_bytes
from tests.support.scenario import SilentProgress

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn
    from tests.support.clusters import RunningCluster

REQUESTS = 20_000


@pytest.mark.deep
def test_a_month_over_a_cluster_leaves_the_same_files(
    litellm_database_at: Callable[[str], str], standin: LagoStandIn, cluster: RunningCluster, tmp_path: Path
) -> None:
    month = simulate(SimulationSettings(MONTH_START, requests=REQUESTS, code=CODE))
    database_url = litellm_database_at("1.109")
    with psycopg.connect(database_url, autocommit=True) as connection:
        load_spend_logs(connection, month.spend_logs())
        load_daily_end_user_spend(connection, month.daily_end_user_spend())
    lago = _organization(standin, "spread month", month)
    lago.insert_events(event._asdict() for event in month.events())
    # Duplicates so far from their twins that only their content tells.
    lago.insert_events(
        {**event._asdict(), "transaction_id": f"again-{number}", "timestamp": event.timestamp + timedelta(minutes=10)}
        for number, event in enumerate(islice(month.events(), 0, REQUESTS, 1000))
    )
    hour = _settings(Window(MONTH_START, DEMO_NOW), tmp_path, database_settings(url=database_url), standin, lago)
    whole = replace(hour, window=Window(MONTH_START, month.settings.month_end))
    store = PostgresStore(store_settings(standin.database_url), lago.id)
    # Else the stand-in reads the events as well, to tell current usage.
    whole = replace(whole, store=store, usage_subscriptions=0)
    environment = {
        "DATABASE_URL": database_url,
        "RECONCILE_EVENTS_FROM": "postgres",
        "RECONCILE_LAGO_STORE_URL": standin.database_url,
    }
    cluster.give(environment)
    over = ClusterSettings(cluster.address, None, timedelta(minutes=1), sources_here)

    for url in (database_url, standin.database_url):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
    read = {}
    for name, settings in (("alone", None), ("spread", over)):
        before = rows_read(database_url, standin.database_url)
        reconcile(
            replace(whole, output=tmp_path / name, cluster=settings), SilentProgress(), now=DEMO_NOW, run_id="month"
        )
        after = rows_read(database_url, standin.database_url)
        read[name] = [now - then for now, then in zip(after, before, strict=True)]
    found = folder_bytes(tmp_path / "alone")
    assert found
    assert folder_bytes(tmp_path / "spread") == found
    # Beside each row once there are those whose metadata is asked for, for which one process may scan a small table
    # again, and the first and last of the table.
    spend_logs, events = read["spread"]
    assert spend_logs <= read["alone"][0]
    assert spend_logs < 1.5 * REQUESTS
    assert events <= read["alone"][1] < 1.5 * REQUESTS
    assert min(spend_logs, events) > 0.9 * REQUESTS


def rows_read(*urls: str) -> list[int]:
    """Return how many rows of either table PostgreSQL has fetched so far, by its own counters."""
    time.sleep(2)  # a session tells its counts when it ends, at the latest
    found = []
    for url, table in zip(urls, ("LiteLLM_SpendLogs", "events"), strict=True):
        with psycopg.connect(url) as connection:
            statement = "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relname = %s"
            (rows,) = connection.execute(statement, [table]).fetchone() or (0,)
            found.append(int(rows))
    return found
