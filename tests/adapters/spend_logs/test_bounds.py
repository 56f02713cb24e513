"""What shows whether the spend logs are complete."""

from __future__ import annotations

from datetime import UTC, date, datetime

import psycopg
import pytest
from psycopg import sql

from jobs.core.litellm.spend_logs import DAILY_COLUMNS, DailyTable, SourceClock, SpendLogsBounds
from jobs.drivers.queries import query
from jobs.errors import SourceError
from tests.adapters.spend_logs.helpers import (
    DAY,
    ONE_CALL,
    SEOUL,
    UTC_CLOCK,
    DatabaseAt,
    Table,
    call,
    insert,
    opened,
    reader,
    run,
)


def test_bounds(litellm_database: str) -> None:
    """The stored times begin and end where the rows do, read by the same clock; an empty table has none."""
    with opened(litellm_database) as logs:
        assert logs.bounds(UTC_CLOCK) == SpendLogsBounds(None, None, None, None)
    insert(
        litellm_database,
        call("long", "2026-11-23 10:30:00", seconds=6000),
        call("middle", "2026-11-23 10:00:00"),
        call("late", "2026-11-23 12:00:00"),
    )
    with opened(litellm_database) as logs:
        assert logs.bounds(SEOUL) == SpendLogsBounds(
            oldest_start=datetime(2026, 11, 22, 23, 50, tzinfo=UTC),
            oldest_end=datetime(2026, 11, 23, 1, 0, tzinfo=UTC),
            newest_start=datetime(2026, 11, 23, 2, 59, 59, tzinfo=UTC),
            newest_end=datetime(2026, 11, 23, 3, 0, tzinfo=UTC),
        )
        since = SourceClock("Asia/Seoul", datetime(2026, 11, 23, 1, 45, tzinfo=UTC))
        assert logs.bounds(since).newest_end == datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_rows_left_behind_by_partitioning(litellm_database_at: DatabaseAt, litellm_database: str) -> None:
    """They are counted by the window's rule, or reported as unknown where they may not be read."""
    with opened(litellm_database) as logs:
        assert logs.count_legacy(DAY, clock=UTC_CLOCK, longest_call=ONE_CALL) == 0
    url = litellm_database_at("1.109-partitioned")
    insert(
        url,
        call("in", "2026-11-23 08:00:00"),
        call("out", "2026-11-24 00:00:00"),
        call("new", "2026-11-23 07:00:00"),
    )
    run(
        url,
        'INSERT INTO "LiteLLM_SpendLogs_legacy" SELECT * FROM "LiteLLM_SpendLogs" WHERE request_id <> \'new\'',
        "DELETE FROM \"LiteLLM_SpendLogs\" WHERE request_id <> 'new'",
    )
    with opened(url) as logs:
        assert logs.count_legacy(DAY, clock=UTC_CLOCK, longest_call=ONE_CALL) == 1
        assert logs.count_legacy(DAY, clock=SEOUL, longest_call=ONE_CALL) == 1
    with reader(url, 'GRANT SELECT ON "LiteLLM_SpendLogs" TO {role}') as (name, password):
        role = {"username": name, "password": password}
        with opened(url, **role) as logs:
            assert logs.schema.legacy_table_exists
            assert logs.count_legacy(DAY, clock=UTC_CLOCK, longest_call=ONE_CALL) is None
            assert logs.schema.unreadable_daily_tables == frozenset(DailyTable)


DAILY = {DailyTable.USER: "user_id", DailyTable.TEAM: "team_id", DailyTable.END_USER: "end_user_id"}


@pytest.mark.parametrize("daily", DAILY)
def test_daily_totals_are_summed(litellm_database: str, table: Table, daily: DailyTable) -> None:
    """Rows that differ only in what is not asked for are one row; '' and NULL are one payer; days are inclusive."""
    values = [
        ("2026-11-22", "x", "/v1/chat/completions"),
        ("2026-11-23", "x", "/v1/chat/completions"),
        ("2026-11-23", "x", None),
        ("2026-11-23", "x", None),
        ("2026-11-24", "", None),
        ("2026-11-24", None, None),
        ("2026-11-25", "x", None),
    ]
    with psycopg.connect(litellm_database) as connection:
        for number, (day, entity, endpoint) in enumerate(values):
            connection.execute(
                sql.SQL(
                    "INSERT INTO {} (id, {}, date, api_key, model, custom_llm_provider, endpoint, prompt_tokens,"
                    " completion_tokens, api_requests, successful_requests, failed_requests, updated_at)"
                    " VALUES (%s, %s, %s, 'key', 'gpt', '', %s, 9000000000000000000, 40, 3, 2, 1, now())"
                ).format(sql.Identifier(daily.value), sql.Identifier(DAILY[daily])),
                [str(number), entity, day, endpoint],
            )
    with opened(litellm_database) as logs:
        found = table.load(logs.read_daily(daily, date(2026, 11, 23), date(2026, 11, 24)), DAILY_COLUMNS)
    assert [tuple(row.values()) for row in found] == [
        ("2026-11-23", "x", "key", "gpt", None, "27000000000000000000", "120", "9", "6", "3"),
        ("2026-11-24", None, "key", "gpt", None, "18000000000000000000", "80", "6", "4", "2"),
    ]


def test_the_three_daily_tables_are_asked_alike() -> None:
    """A table and a column cannot be parameters, so there are three files, which differ in nothing else."""
    texts = set()
    for table in DailyTable:
        name = f"read_daily_{table.name.lower()}_totals"
        _, _, asked = query("litellm", name).partition("SELECT")
        texts.add(asked.replace(table.value, "table").replace(DAILY[table], "entity"))
    assert len(texts) == 1


def test_daily_totals_of_the_first_version_have_no_request_counts(litellm_database: str, table: Table) -> None:
    """Columns that came later are NULL, as in the spend logs."""
    run(
        litellm_database,
        'ALTER TABLE "LiteLLM_DailyUserSpend" DROP api_requests, DROP successful_requests, DROP failed_requests',
        'INSERT INTO "LiteLLM_DailyUserSpend" (id, user_id, date, api_key, model, prompt_tokens, updated_at)'
        " VALUES ('1', 'u', '2026-11-23', 'k', 'm', 5, now())",
    )
    with opened(litellm_database) as logs:
        found = table.load(logs.read_daily(DailyTable.USER, date(2026, 11, 23), date(2026, 11, 23)), DAILY_COLUMNS)
    assert [tuple(row.values()) for row in found] == [("2026-11-23", "u", "k", "m", None, "5", "0", None, None, None)]


def test_daily_totals_that_do_not_exist(litellm_database_at: DatabaseAt) -> None:
    """1.53 has none."""
    with opened(litellm_database_at("1.53")) as logs:
        assert not logs.schema.daily_tables
        with pytest.raises(SourceError, match="DailyEndUserSpend do not exist"):
            logs.read_daily(DailyTable.END_USER, date(2026, 11, 23), date(2026, 11, 23))
