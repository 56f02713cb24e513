"""Spend logs are read from every schema of LiteLLM."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
import pytest
from psycopg import ClientCursor

from jobs.adapters.litellm_database import (
    SpendLogs,
)
from jobs.core.litellm.spend_logs import DailyTable
from jobs.drivers.queries import query
from tests.adapters.spend_logs.helpers import DAY, ONE_CALL, UTC_CLOCK, DatabaseAt, Table, insert, opened, read, run

ERAS = ("1.53", "1.60", "1.70", "1.80", "1.90", "1.109", "1.109-partitioned")


@pytest.mark.parametrize("era", ERAS)
def test_every_schema_gives_the_same_bytes(litellm_database_at: DatabaseAt, era: str) -> None:
    """The same calls, stored by any LiteLLM from 1.44 to 1.109, leave as the same CSV."""
    url = litellm_database_at(era)
    insert(
        url,
        {
            "request_id": "a",
            "api_key": "hash",
            "spend": 0.00018,
            "prompt_tokens": 100,
            "completion_tokens": 40,
            "total_tokens": 140,
            "model_group": "gpt-public",
            "user": "user-1",
            "team_id": "team-acme",
            "end_user": "sub_ext_1",
            "cache_hit": "None",
            "metadata": {"status": "success"},
        },
        {"request_id": "b", "user": "", "team_id": "", "end_user": "", "metadata": {"status": "failure"}},
    )
    with opened(url) as logs:
        rows = b"".join(logs.read(DAY, clock=UTC_CLOCK, longest_call=ONE_CALL)).splitlines(keepends=True)
    assert sorted(rows) == [
        b"a,2026-11-23 12:00:00,2026-11-23 12:00:01.5,false,acompletion,hash,user-1,team-acme,,"
        b"sub_ext_1,openai/starcoder,gpt-public,,100,40,140,0.00018,None,success,\n",
        b"b,2026-11-23 12:00:00,2026-11-23 12:00:01.5,false,acompletion,,,,,,openai/starcoder,,,0,0,0,0,,failure,\n",
    ]


@pytest.mark.parametrize("era", ERAS)
def test_probe_knows_the_schema(litellm_database_at: DatabaseAt, era: str) -> None:
    """The probe tells the eras apart by what the job depends on."""
    with opened(litellm_database_at(era)) as logs:
        schema = logs.schema
    partitioned = era.endswith("partitioned")
    assert ("custom_llm_provider" in schema.columns) == (era != "1.53")
    assert ("status" in schema.columns) == (era not in {"1.53", "1.60"})
    assert ("organization_id" in schema.columns) == (era not in {"1.53", "1.60", "1.70", "1.80"})
    assert schema.primary_key == (("request_id", "startTime") if partitioned else ("request_id",))
    assert schema.partitioned == partitioned
    assert schema.legacy_table_exists == partitioned
    assert (DailyTable.END_USER in schema.daily_tables) == (era in {"1.90", "1.109", "1.109-partitioned"})
    assert not schema.unreadable_daily_tables
    assert not schema.on_standby


def test_probe_sees_an_absent_index_and_counts_rows(litellm_database: str) -> None:
    """1.44 has no index but the primary key; the estimate is PostgreSQL's, once it has analysed the table."""
    with opened(litellm_database) as logs:
        assert logs.schema.has_start_time_index
        assert logs.schema.estimated_rows is None
    insert(litellm_database, {})
    run(
        litellm_database,
        'DROP INDEX "LiteLLM_SpendLogs_startTime_idx", "LiteLLM_SpendLogs_startTime_request_id_idx"',
        'ANALYZE "LiteLLM_SpendLogs"',
    )
    with opened(litellm_database) as logs:
        assert not logs.schema.has_start_time_index
        assert logs.schema.estimated_rows == 1


def test_partitioned_table_keeps_both_rows_of_one_request_id(litellm_database_at: DatabaseAt, table: Table) -> None:
    """There the request id is not unique; whoever reads must decide, so both rows come, and the estimate is a sum."""
    url = litellm_database_at("1.109-partitioned")
    insert(url, {"request_id": "x"}, {"request_id": "x", "startTime": "2026-11-23 11:59:59"})
    run(url, 'ANALYZE "LiteLLM_SpendLogs"')
    assert [row["request_id"] for row in read(table, url)] == ["x", "x"]
    with opened(url) as logs:
        assert logs.schema.estimated_rows == 2


def test_later_columns_are_read_where_they_exist(litellm_database: str, table: Table) -> None:
    """Organization and provider come with their columns; the status column wins over the metadata when it speaks."""
    insert(
        litellm_database,
        {"organization_id": "org", "custom_llm_provider": "openai", "status": "failure"},
        {"status": "", "metadata": {"status": "failure"}},
        {"status": None, "metadata": {"status": "failure"}},
        {"status": "success", "metadata": {"status": "failure"}},
        {"status": None, "metadata": {"status": ""}},
        {"status": None, "metadata": None},
    )
    rows = read(table, litellm_database)
    assert (rows[0]["organization_id"], rows[0]["custom_llm_provider"]) == ("org", "openai")
    assert [row["status"] for row in rows] == [
        "failure",
        "failure",
        "failure",
        "success",
        "success",
        "success",
    ]


@pytest.mark.parametrize("era", ["1.53", "1.109", "1.109-partitioned"])
def test_plan_is_one_index_scan(litellm_database_at: DatabaseAt, era: str) -> None:
    """Whatever the schema, the planner flattens the query to one scan, of the index on "startTime" if there is one."""
    with psycopg.connect(litellm_database_at(era), cursor_factory=ClientCursor) as connection:
        connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
        plan = "\n".join(
            row[0]
            for row in connection.execute(
                b"EXPLAIN (VERBOSE) " + query("litellm", "read_spend_logs").encode(),
                {
                    "window_start": DAY.start,
                    "window_end": DAY.end,
                    "longest_call": ONE_CALL,
                    "zone": "Asia/Seoul",
                    "utc_since": DAY.start,
                    "metadata_paths": None,
                    "started_since": None,
                    "started_until": None,
                },
            )
        )
    nodes = [line.strip().removeprefix("->  ") for line in plan.splitlines() if "(cost=" in line]
    assert len(nodes) == 1, plan
    assert nodes[0].startswith("Seq Scan on" if era == "1.53" else "Index Scan using"), plan
    assert f"{'Filter' if era == '1.53' else 'Index Cond'}: ((log.\"startTime\" >= '2026-11-22 19:00:00'" in plan, plan
    assert not any(wide in plan for wide in ("messages", "response", "proxy_server_request")), plan


def test_wide_columns_are_not_fetched(litellm_database: str) -> None:
    """`metadata` is opened only for paths or an unknown status: seen in the scans of the table's TOAST storage."""
    noise = "".join(f"{number * 7919 % 10007:x}" for number in range(9000))
    run(litellm_database, 'ALTER TABLE "LiteLLM_SpendLogs" ALTER COLUMN metadata SET STORAGE EXTERNAL')
    insert(litellm_database, {"status": "success", "metadata": {"noise": noise, "a": "b"}})

    def toast_scans(logs: SpendLogs, paths: Sequence[Sequence[str]]) -> int:
        assert b"".join(logs.read(DAY, clock=UTC_CLOCK, longest_call=ONE_CALL, metadata_paths=paths))
        row = logs.snapshot.connection.execute(
            "SELECT idx_scan FROM pg_stat_xact_all_tables WHERE relid ="
            """ (SELECT reltoastrelid FROM pg_class WHERE oid = '"LiteLLM_SpendLogs"'::regclass)"""
        ).fetchone()
        assert row is not None
        return int(row[0])

    with opened(litellm_database) as logs:
        assert toast_scans(logs, []) == 0
        assert toast_scans(logs, [["a"]]) == 1
