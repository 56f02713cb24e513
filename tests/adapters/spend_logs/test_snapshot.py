"""Spend logs are read in one snapshot that writes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from jobs.adapters.litellm_database import (
    open_spend_logs,
)
from jobs.core.litellm.variables import database_settings
from jobs.errors import SourceError
from tests.adapters.spend_logs.helpers import DAY, ONE_CALL, UTC_CLOCK, insert, opened, run


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
