"""Spend logs are read in one snapshot that writes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from jobs.adapters.litellm_database import join_spend_logs, open_spend_logs
from jobs.core.litellm.spend_logs import SPEND_LOG_COLUMNS
from jobs.core.litellm.variables import database_settings
from jobs.core.spreading import cut_starts
from jobs.drivers.copying import copy_rows
from jobs.drivers.postgres import export_snapshot
from jobs.errors import SourceError
from tests.adapters.spend_logs.helpers import DAY, ONE_CALL, UTC_CLOCK, Table, insert, opened, run


def test_nothing_can_be_written(litellm_database: str) -> None:
    """The transaction is read only, and cannot be made anything else."""
    with opened(litellm_database) as logs, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        logs.snapshot.connection.execute('DELETE FROM "LiteLLM_SpendLogs"')
    with opened(litellm_database) as logs, pytest.raises(psycopg.errors.ActiveSqlTransaction):
        logs.snapshot.connection.execute("SET TRANSACTION READ WRITE")


def test_all_queries_see_the_same_rows(litellm_database: str) -> None:
    """What is stored after the snapshot began belongs to the next run."""
    with opened(litellm_database) as logs:
        insert(litellm_database, {})
        assert not list(logs.read(DAY, clock=UTC_CLOCK, longest_call=ONE_CALL))
        assert logs.bounds(UTC_CLOCK).oldest_start is None


def test_slow_read_is_cancelled_and_explained(litellm_database: str) -> None:
    """The statement timeout ends a read that takes too long; the tables may also be views in another schema."""
    run(
        litellm_database,
        'CREATE SCHEMA "slow one"',
        'CREATE VIEW "slow one"."LiteLLM_SpendLogs" AS'
        ' SELECT * FROM "LiteLLM_SpendLogs" WHERE pg_sleep(20) IS NOT NULL',
    )
    insert(litellm_database, {})
    settings = replace(database_settings(url=litellm_database), schema="slow one")
    with (
        open_spend_logs(settings, statement_timeout=timedelta(seconds=0.2)) as logs,
        pytest.raises(SourceError, match=r"cancelled after 0\.2 seconds.*Raise the statement timeout"),
    ):
        list(logs.read(DAY, clock=UTC_CLOCK, longest_call=ONE_CALL))


@pytest.mark.parametrize("rows", [1, 3, 100_000])
def test_a_read_that_fails_halfway_is_explained(litellm_database: str, rows: int) -> None:
    """Whatever had arrived by then, it is no whole answer."""
    fails = "SELECT 1 / (%(rows)s - number) FROM generate_series(1, 200000) AS number"
    with opened(litellm_database) as logs, pytest.raises(SourceError, match="division by zero"):
        list(copy_rows(logs.snapshot, fails, {"rows": rows}))


@pytest.mark.parametrize("rows", [10, 1_000_000])
def test_a_read_that_is_left_leaves_its_connection_in_order(litellm_database: str, rows: int) -> None:
    """Whether all had arrived by then or not."""
    with opened(litellm_database) as logs:
        chunks = copy_rows(
            logs.snapshot, "SELECT repeat('x', 1000) FROM generate_series(1, %(rows)s) AS number", {"rows": rows}
        )
        assert next(chunks)
        del chunks
        assert logs.snapshot.connection.info.transaction_status is not TransactionStatus.ACTIVE


def test_locked_table_is_explained(litellm_database: str) -> None:
    """A migration that holds the table is not waited for."""
    settings = database_settings(url=litellm_database)
    with psycopg.connect(litellm_database) as migration:
        migration.execute('LOCK TABLE "LiteLLM_SpendLogs" IN ACCESS EXCLUSIVE MODE')
        with (
            open_spend_logs(
                settings, statement_timeout=timedelta(seconds=9), lock_timeout=timedelta(seconds=0.1)
            ) as logs,
            pytest.raises(SourceError, match=r"is locked.*migration"),
        ):
            list(logs.read(DAY, clock=UTC_CLOCK, longest_call=ONE_CALL))


def test_connection_that_breaks_is_explained(litellm_database: str) -> None:
    """A server that goes away during the run is one clear line, and closing up does not hide it."""
    with opened(litellm_database) as logs:
        run(litellm_database, f"SELECT pg_terminate_backend({logs.snapshot.connection.info.backend_pid})")
        with pytest.raises(SourceError, match=r"the connection to PostgreSQL at .* broke"):
            logs.bounds(UTC_CLOCK)


def test_slices_of_one_snapshot_read_each_row_once(litellm_database: str, tmp_path: Path) -> None:
    """Cut by when calls began, whatever the day they ended; who joins sees no row that came after the snapshot."""
    times = [f"2026-11-23 {hour:02}:59:59" for hour in range(24)]
    insert(
        litellm_database,
        *(
            {"request_id": f"r{n:02}", "startTime": at, "endTime": "2026-11-23 23:59:59.5"}
            for n, at in enumerate(times)
        ),
    )
    settings = database_settings(url=litellm_database)
    with opened(litellm_database) as logs:
        exported = export_snapshot(logs.snapshot)
        insert(litellm_database, {"request_id": "later"})
        found = []
        for started in cut_starts(DAY, 5):
            with join_spend_logs(settings, exported, logs.schema, statement_timeout=timedelta(seconds=30)) as joined:
                read = joined.read(DAY, clock=UTC_CLOCK, longest_call=timedelta(days=1), started=started)
                rows = Table(tmp_path / "slice.csv").load(read, SPEND_LOG_COLUMNS)
                assert rows
                found += [row["request_id"] for row in rows]
    assert found == [f"r{n:02}" for n in range(24)]
