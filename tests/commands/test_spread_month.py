"""A simulated month with every class of loss, over a cluster: what parts leave is small, and the files are the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

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
    cluster.give({"DATABASE_URL": database_url, "LAGO_API_BASE": lago.api_base, "LAGO_API_KEY": lago.api_key})
    over = ClusterSettings(cluster.address, None, timedelta(minutes=1), sources_here)

    for name, settings in (("alone", None), ("spread", over)):
        reconcile(
            replace(whole, output=tmp_path / name, cluster=settings), SilentProgress(), now=DEMO_NOW, run_id="month"
        )
    found = folder_bytes(tmp_path / "alone")
    assert found
    assert folder_bytes(tmp_path / "spread") == found
