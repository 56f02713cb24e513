"""A simulated month with every class of loss, in shards: what a merge gets is small, and what it leaves is the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import psycopg
import pytest

from jobs.core.litellm.variables import database_settings
from jobs.core.shard import Shard
from jobs.core.window import Window
from jobs.demo import CODE, DEMO_NOW, MONTH_START, _organization, _settings
from jobs.playground.simulated_gateway import load_daily_end_user_spend, load_spend_logs
from jobs.playground.simulation import SimulationSettings, simulate
from jobs.reconcile import reconcile
from jobs.sharding import ROWS_FILE, merge, reconcile_shard
from tests.scenarios.test_scenarios import folder_bytes
from tests.support.scenario import SilentProgress

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn

REQUESTS, SHARDS = 20_000, 3


@pytest.mark.deep
def test_a_month_in_shards_leaves_the_same_files_from_few_rows(
    litellm_database_at: Callable[[str], str], standin: LagoStandIn, tmp_path: Path
) -> None:
    month = simulate(SimulationSettings(MONTH_START, requests=REQUESTS, code=CODE))
    database_url = litellm_database_at("1.109")
    with psycopg.connect(database_url, autocommit=True) as connection:
        load_spend_logs(connection, month.spend_logs())
        load_daily_end_user_spend(connection, month.daily_end_user_spend())
    lago = _organization(standin, "sharded month", month)
    lago.insert_events(event._asdict() for event in month.events())
    # Duplicates so far from their twins that only their content tells.
    lago.insert_events(
        {**event._asdict(), "transaction_id": f"again-{number}", "timestamp": event.timestamp + timedelta(minutes=10)}
        for number, event in enumerate(islice(month.events(), 0, REQUESTS, 1000))
    )
    output = tmp_path / "alone"
    hour = _settings(Window(MONTH_START, DEMO_NOW), output, database_settings(url=database_url), standin, lago)
    whole = replace(hour, window=Window(MONTH_START, month.settings.month_end))

    alone = reconcile(whole, SilentProgress(), now=DEMO_NOW, run_id="month")
    folders = [
        reconcile_shard(
            replace(whole, output=tmp_path / "shards", shard=Shard(index, SHARDS)),
            SilentProgress(),
            now=DEMO_NOW,
            run_id="month",
        )
        for index in range(SHARDS)
    ]
    merge(replace(whole, output=tmp_path / "merged"), folders, SilentProgress(), run_id="month")
    found = folder_bytes(output)
    assert found
    assert folder_bytes(tmp_path / "merged") == found

    read, kept = 0, 0
    for folder in folders:
        with duckdb.connect(str(folder / ROWS_FILE), read_only=True) as rows:
            read += rows.execute("SELECT sum(spend_logs)::BIGINT FROM source_tally").fetchall()[0][0]
            kept += rows.execute("SELECT count(*) FROM spend_log").fetchall()[0][0]
    assert read == sum(row["spend_logs"] for row in alone.spend_logs)
    assert kept < read / 5
