"""Reading spend logs from LiteLLM's real schema of every era."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from psycopg import ClientCursor, sql

from jobs.adapters.litellm_database import (
    FailedAttempt,
    Patience,
    SpendLogs,
    connect,
    open_spend_logs,
)
from jobs.core.litellm.spend_logs import DAILY_COLUMNS, SPEND_LOG_COLUMNS, DailyTable, SourceClock, SpendLogsBounds
from jobs.core.litellm.variables import database_settings
from jobs.core.window import Window
from jobs.drivers import postgres
from jobs.drivers.queries import query
from jobs.errors import SettingError, SourceError

ERAS = ("1.53", "1.60", "1.70", "1.80", "1.90", "1.109", "1.109-partitioned")
DAY = Window(datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC))
ONE_CALL = timedelta(hours=2)
UTC_CLOCK = SourceClock()
SEOUL = SourceClock("Asia/Seoul")
ALWAYS = Window(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))

DatabaseAt = Callable[[str], str]


@contextmanager
def opened(url: str, **changed: Any) -> Iterator[SpendLogs]:
    """Open the spend logs of a test database; keywords replace connection settings."""
    settings = replace(database_settings(url=url), **changed)
    with open_spend_logs(settings, statement_timeout=timedelta(seconds=30)) as logs:
        yield logs


def run(url: str, *statements: str) -> None:
    """Run statements as the owner of the database."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def insert(url: str, *rows: dict[str, Any]) -> None:
    """Insert spend logs; columns not given have plain values, and a column this schema lacks is an error."""
    with psycopg.connect(url) as connection:
        for number, row in enumerate(rows):
            full = {
                "request_id": f"chatcmpl-{number}",
                "call_type": "acompletion",
                "startTime": "2026-11-23 12:00:00",
                "endTime": "2026-11-23 12:00:01.5",
                "model": "openai/starcoder",
                **row,
            }
            connection.execute(
                sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                    sql.Identifier("LiteLLM_SpendLogs"),
                    sql.SQL(", ").join(map(sql.Identifier, full)),
                    sql.SQL(", ").join(sql.Placeholder() * len(full)),
                ),
                [json.dumps(value) if name == "metadata" else value for name, value in full.items()],
            )


@dataclass(frozen=True)
class Table:
    """Loads CSV chunks into DuckDB the way the workspace does: quoted text is text, an empty field is NULL."""

    path: Path

    def load(self, chunks: Iterator[bytes], columns: Sequence[str]) -> list[dict[str, str | None]]:
        """Return the rows in the order of their first column, every value as text or None."""
        self.path.write_bytes(b"".join(chunks))
        with duckdb.connect() as connection:
            found = connection.execute(
                "SELECT * FROM read_csv($path, header = false, auto_detect = false, delim = ',', quote = '\"',"
                " escape = '\"', new_line = '\\n', nullstr = '', allow_quoted_nulls = false, parallel = false,"
                " max_line_size = 67108864, columns = $columns) ORDER BY 1, 2, 3",
                {"path": str(self.path), "columns": dict.fromkeys(columns, "VARCHAR")},
            ).fetchall()
        return [dict(zip(columns, row, strict=True)) for row in found]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Return a loader of CSV chunks."""
    return Table(tmp_path / "chunks.csv")


def read(
    table: Table,
    url: str,
    window: Window = DAY,
    clock: SourceClock = UTC_CLOCK,
    paths: Sequence[Sequence[str]] = (),
) -> list[dict[str, str | None]]:
    """Return the spend logs of a window, as DuckDB sees them."""
    with opened(url) as logs:
        return table.load(
            logs.read(window, clock=clock, longest_call=ONE_CALL, metadata_paths=paths), SPEND_LOG_COLUMNS
        )


# --- every schema ---------------------------------------------------------------------------------------------------


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
        b'"a","2026-11-23 12:00:00.000","2026-11-23 12:00:01.500","false","acompletion","hash","user-1","team-acme",,'
        b'"sub_ext_1","openai/starcoder","gpt-public",,"100","40","140","0.00018","None","success",\n',
        b'"b","2026-11-23 12:00:00.000","2026-11-23 12:00:01.500","false","acompletion",,,,,'
        b',"openai/starcoder",,,"0","0","0","0",,"failure",\n',
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
                    "call_types": None,
                    "shard": 0,
                    "shards": 1,
                    "charge_by": "end_user_id",
                    "charge_by_path": [],
                    "own_sources": None,
                    "other_sources": [],
                    "has_the_rest": True,
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


# --- values ---------------------------------------------------------------------------------------------------------


def test_empty_text_is_null_but_in_three_columns(litellm_database: str, table: Table) -> None:
    """LiteLLM writes '' and NULL for the same thing; an empty request id, call type or model stays what it is."""
    nullable = (
        "user",
        "team_id",
        "organization_id",
        "end_user",
        "model_group",
        "custom_llm_provider",
        "cache_hit",
    )
    insert(
        litellm_database,
        {"request_id": "", "call_type": "", "model": "", "api_key": "", **dict.fromkeys(nullable, "")},
        {"request_id": "null", **dict.fromkeys(nullable)},
    )
    empty, null = read(table, litellm_database)
    assert (empty["request_id"], empty["call_type"], empty["model"]) == ("", "", "")
    for column in ("api_key", "user_id", *nullable[1:]):
        assert (empty[column], null[column]) == (None, None)


def test_hostile_text_survives(litellm_database: str, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers' text reaches DuckDB unchanged, and every chunk is whole rows even where text has line breaks."""
    monkeypatch.setattr(postgres, "CHUNK_BYTES", 1)
    texts = [
        'a"b""c',
        "line\nbreak\r\nand\rreturn",
        "comma,semicolon;tab\t",
        "back\\slash\\N\\.\\x41",
        "\\.",
        "\n\n\n",
        '"',
        "'; DROP TABLE x; --",
        "=cmd|' /C calc'!A0",
        "\u202eright to left\u0000"[:-1],
        "\x01\x1b[31mred\x7f\x85",
        "🦜 é e\u0301 \ufeff \u2028",
        "resp_" + "x" * 395,
        " leading and trailing ",
        "NULL",
        "%s %(zone)s $1 {x}",
    ]
    insert(litellm_database, *({"request_id": f"{n:02}{text}", "end_user": text} for n, text in enumerate(texts)))
    with opened(litellm_database) as logs:
        chunks = list(logs.read(DAY, clock=UTC_CLOCK, longest_call=ONE_CALL))
    assert len(chunks) == len(texts)
    found = [row for chunk in chunks for row in table.load(iter([chunk]), SPEND_LOG_COLUMNS)]
    assert {(row["request_id"], row["end_user"]) for row in found} == {
        (f"{n:02}{text}", text) for n, text in enumerate(texts)
    }
    assert len(table.load(iter(chunks), SPEND_LOG_COLUMNS)) == len(texts)


def test_numbers_are_exact(litellm_database: str, table: Table) -> None:
    """A spend is the shortest text that reads back as the same double, whatever the role's default."""
    spends = [0.1 + 0.2, 1.7e-7, 5e-324, 1e300, -0.5, float("nan"), float("inf"), float("-inf")]
    insert(litellm_database, *({"spend": spend} for spend in spends))
    insert(
        litellm_database,
        {
            "request_id": "tokens",
            "prompt_tokens": 2**31 - 1,
            "completion_tokens": -(2**31),
            "total_tokens": -1,
        },
    )
    name = database_settings(url=litellm_database).name
    run(litellm_database, f'ALTER DATABASE "{name}" SET extra_float_digits = 0')
    *found, tokens = read(table, litellm_database)
    assert [row["spend"] for row in found] == [
        *("0.30000000000000004", "1.7e-07", "5e-324", "1e+300", "-0.5", "NaN", "Infinity", "-Infinity")
    ]
    assert [tokens[f"{part}_tokens"] for part in ("prompt", "completion", "total")] == [
        "2147483647",
        "-2147483648",
        "-1",
    ]


def test_paths_into_metadata(litellm_database: str, table: Table) -> None:
    """Each path gives the text it finds, in the order asked: paths of any depth, hostile steps, any JSON value."""
    insert(
        litellm_database,
        {
            "metadata": {
                "a": {"b": {"c": 'deep "quoted"\nline'}},
                "n": 1.50,
                "t": True,
                "z": None,
                "list": [10, {"x": ""}],
                'odd"}, key': "odd",
                "": "empty",
            }
        },
        {"metadata": None},
        {"metadata": []},
    )
    paths = [
        ["a", "b", "c"],
        ["n"],
        ["t"],
        ["z"],
        ["list", "0"],
        ["list", "1"],
        ["a", "nowhere"],
        ['odd"}, key'],
        [""],
    ]
    found = [json.loads(row["extras"] or "") for row in read(table, litellm_database, paths=paths)]
    assert found == [
        ['deep "quoted"\nline', "1.5", "true", None, "10", '{"x": ""}', None, "odd", "empty"],
        [None] * len(paths),
        [None] * len(paths),
    ]
    assert [row["extras"] for row in read(table, litellm_database)] == [None] * 3


@pytest.mark.parametrize("text", [r'{"a": "\u0000"}', r'{"a": "\ud83e"}'])
def test_postgresql_stores_no_text_that_utf8_cannot_hold(litellm_database: str, text: str) -> None:
    """NUL and lone surrogates cannot be in the metadata, so this reader has nothing to escape."""
    with psycopg.connect(litellm_database) as connection, pytest.raises(psycopg.DataError):
        connection.execute("SELECT CAST(%s AS jsonb)", [text])


# --- time -----------------------------------------------------------------------------------------------------------


def ended(
    url: str, window: Window, clock: SourceClock, table: Table
) -> list[tuple[str | None, str | None, str | None]]:
    """Return (request id, end time, ambiguous) of the window's spend logs."""
    return [(row["request_id"], row["end_time"], row["time_is_ambiguous"]) for row in read(table, url, window, clock)]


def call(name: str, end: str, seconds: float = 1) -> dict[str, Any]:
    """Return a spend log by the naive time at which the call ended and how long it took."""
    stop = datetime.fromisoformat(end)
    return {"request_id": name, "endTime": stop, "startTime": stop - timedelta(seconds=seconds)}


def test_window_is_half_open_on_the_end(litellm_database: str, table: Table) -> None:
    """A call belongs to the window in which it ended; long calls that started earlier included."""
    insert(
        litellm_database,
        call("before", "2026-11-22 23:59:59.999"),
        call("first", "2026-11-23 00:00:00"),
        call("last", "2026-11-23 23:59:59.999"),
        call("after", "2026-11-24 00:00:00"),
        call("long", "2026-11-23 00:30:00", seconds=6000),
        call("over", "2026-11-24 00:30:00", seconds=6000),
        call("set back", "2026-11-23 23:50:00", seconds=-900),
        call("too long", "2026-11-23 00:30:00", seconds=5 * 3600),
    )
    assert [row["request_id"] for row in read(table, litellm_database)] == [
        "first",
        "last",
        "long",
        "set back",
    ]
    next_day = Window(DAY.end, DAY.end + timedelta(days=1))
    assert [row["request_id"] for row in read(table, litellm_database, next_day)] == ["after", "over"]


def test_local_time_is_read_in_its_zone(litellm_database: str, table: Table) -> None:
    """Before 1.61, a container in Seoul stored 22:15 for 13:15 UTC; the window stays UTC."""
    insert(
        litellm_database,
        call("before", "2026-11-23 08:59:59.999"),
        call("first", "2026-11-23 09:00:00"),
        call("noon", "2026-11-23 22:15:02.532"),
        call("long", "2026-11-23 09:30:00", seconds=6000),
        call("last", "2026-11-24 08:59:59.999"),
        call("after", "2026-11-24 09:00:00"),
    )
    assert ended(litellm_database, DAY, SEOUL, table) == [
        ("first", "2026-11-23 00:00:00.000", "false"),
        ("last", "2026-11-23 23:59:59.999", "false"),
        ("long", "2026-11-23 00:30:00.000", "false"),
        ("noon", "2026-11-23 13:15:02.532", "false"),
    ]
    row = next(row for row in read(table, litellm_database, DAY, SEOUL) if row["request_id"] == "long")
    assert row["start_time"] == "2026-11-22 22:50:00.000"


def test_cut_over_to_utc(litellm_database: str, table: Table) -> None:
    """A row is local until the cut-over; where both readings fit, the row says so. Its start is read like its end."""
    clock = SourceClock("Asia/Seoul", datetime(2026, 11, 23, 10, tzinfo=UTC))
    insert(
        litellm_database,
        call("local", "2026-11-23 09:30:00"),
        call("both fit", "2026-11-23 18:59:59.999"),
        call("utc", "2026-11-23 19:00:00", seconds=60),
    )
    assert ended(litellm_database, DAY, clock, table) == [
        ("both fit", "2026-11-23 09:59:59.999", "true"),
        ("local", "2026-11-23 00:30:00.000", "false"),
        ("utc", "2026-11-23 19:00:00.000", "false"),
    ]
    assert read(table, litellm_database, DAY, clock)[2]["start_time"] == "2026-11-23 18:59:00.000"


def test_cut_over_west_of_greenwich(litellm_database: str, table: Table) -> None:
    """There no row should hold the hours before the cut-over: one that does fits neither reading, and says so."""
    clock = SourceClock("America/New_York", datetime(2026, 11, 23, 10, tzinfo=UTC))
    insert(
        litellm_database,
        call("local", "2026-11-23 04:59:59"),
        call("neither", "2026-11-23 05:00:00"),
        call("utc", "2026-11-23 10:00:00"),
    )
    assert ended(litellm_database, DAY, clock, table) == [
        ("local", "2026-11-23 09:59:59.000", "false"),
        ("neither", "2026-11-23 05:00:00.000", "true"),
        ("utc", "2026-11-23 10:00:00.000", "false"),
    ]


@pytest.mark.parametrize("zone", ["Asia/Seoul", "America/New_York", "Europe/Berlin", "Pacific/Kiritimati", "UTC"])
@pytest.mark.parametrize("since", [None, "2026-10-25T00:30:00+00:00", "2026-10-20T00:00:00+00:00"])
def test_windows_add_up(litellm_database: str, table: Table, zone: str, since: str | None) -> None:
    """Cut a span of time anywhere: each row is in exactly one piece, across clock changes and the cut-over too."""
    rows = [
        call(f"{hour:03}", str(datetime(2026, 10, 24) + timedelta(minutes=47 * hour)), seconds=3000)  # noqa: DTZ001 - naive as stored
        for hour in range(90)
    ]
    insert(litellm_database, *rows)
    clock = SourceClock(zone, None if since is None else datetime.fromisoformat(since))
    whole = Window(datetime(2026, 10, 23, tzinfo=UTC), datetime(2026, 10, 29, tzinfo=UTC))
    pieces: list[dict[str, str | None]] = []
    for quarter in range(0, 24, 3):
        start = whole.start + timedelta(hours=6 * quarter)
        pieces += read(table, litellm_database, Window(start, start + timedelta(hours=18)), clock)
    assert len(pieces) == len(rows)
    assert sorted(pieces, key=lambda row: str(row["request_id"])) == read(table, litellm_database, whole, clock)


def test_clock_changes_are_ambiguous(litellm_database: str, table: Table) -> None:
    """The hour that Berlin lives twice is taken late and marked; the hour it skips is moved forward and marked."""
    insert(
        litellm_database,
        call("autumn 1", "2026-10-25 01:59:59.999"),
        call("autumn 2", "2026-10-25 02:00:00"),
        call("autumn 3", "2026-10-25 02:59:59.999"),
        call("autumn 4", "2026-10-25 03:00:00"),
        call("spring 1", "2026-03-29 01:59:59.999"),
        call("spring 2", "2026-03-29 02:30:00"),
        call("spring 3", "2026-03-29 03:00:00"),
    )
    assert ended(litellm_database, ALWAYS, SourceClock("Europe/Berlin"), table) == [
        ("autumn 1", "2026-10-24 23:59:59.999", "false"),
        ("autumn 2", "2026-10-25 01:00:00.000", "true"),
        ("autumn 3", "2026-10-25 01:59:59.999", "true"),
        ("autumn 4", "2026-10-25 02:00:00.000", "false"),
        ("spring 1", "2026-03-29 00:59:59.999", "false"),
        ("spring 2", "2026-03-29 01:30:00.000", "true"),
        ("spring 3", "2026-03-29 01:00:00.000", "false"),
    ]


def test_clock_changes_mean_nothing_to_utc_rows(litellm_database: str, table: Table) -> None:
    """After the cut-over the doubled hour is an hour like any other."""
    insert(litellm_database, call("utc", "2026-10-25 02:30:00"))
    clock = SourceClock("Europe/Berlin", datetime(2026, 10, 1, tzinfo=UTC))
    assert ended(litellm_database, ALWAYS, clock, table) == [("utc", "2026-10-25 02:30:00.000", "false")]


def test_half_hour_shift_and_leap_day(litellm_database: str, table: Table) -> None:
    """Lord Howe Island moves its clocks by half an hour; 29 February is a day."""
    insert(
        litellm_database,
        call("twice", "2026-04-05 01:45:00"),
        call("once", "2026-04-05 01:15:00"),
        call("leap", "2028-02-29 10:30:00"),
    )
    assert ended(litellm_database, ALWAYS, SourceClock("Australia/Lord_Howe"), table) == [
        ("leap", "2028-02-28 23:30:00.000", "false"),
        ("once", "2026-04-04 14:15:00.000", "false"),
        ("twice", "2026-04-04 15:15:00.000", "true"),
    ]


def test_unknown_zone_is_refused(litellm_database: str) -> None:
    """Nor is UTC+9 taken, which means nine hours behind UTC to PostgreSQL."""
    with opened(litellm_database) as logs:
        logs.require_zone(SEOUL)
        logs.require_zone(UTC_CLOCK)
        for zone in ("Asia/Soul", "UTC+9", ""):
            with pytest.raises(SettingError, match="knows no time zone"):
                logs.require_zone(SourceClock(zone))


# --- what certifies -------------------------------------------------------------------------------------------------


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


# --- one read-only snapshot -----------------------------------------------------------------------------------------


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


# --- what may be missing --------------------------------------------------------------------------------------------


@contextmanager
def reader(url: str, *grants: str) -> Iterator[tuple[str, str]]:
    """Give a login role without more rights than the grants, and take it away afterwards."""
    name, password = f"reader of {database_settings(url=url).name}", "it's/@?#[hush]"
    role = f'"{name}"'
    run(url, f"CREATE ROLE {role} LOGIN PASSWORD '{password.replace(chr(39), chr(39) * 2)}'")
    try:
        run(url, *(grant.format(role=role) for grant in grants))
        yield name, password
    finally:
        run(url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def refusal(url: str, **changed: Any) -> SourceError:
    """Return the error with which the spend logs do not open."""
    with pytest.raises(SourceError) as raised, opened(url, **changed):
        pass
    assert "\n" not in str(raised.value)
    assert "hush" not in str(raised.value)
    return raised.value


def test_missing_privilege_names_the_grant_that_cures_it(litellm_database: str) -> None:
    """The remedy can be pasted, and then the role reads; a hostile password works."""
    with reader(litellm_database) as (name, password):
        error = refusal(litellm_database, username=name, password=password)
        assert "may not read" in error.what
        run(litellm_database, error.remedy.partition(": ")[2])
        with opened(litellm_database, username=name, password=password) as logs:
            assert not list(logs.read(DAY, clock=UTC_CLOCK, longest_call=ONE_CALL))


def test_row_level_security_is_an_error_not_a_lower_count(litellm_database: str) -> None:
    """A policy that hides rows would make a window look clean."""
    run(litellm_database, 'ALTER TABLE "LiteLLM_SpendLogs" ENABLE ROW LEVEL SECURITY')
    with (
        reader(litellm_database, 'GRANT SELECT ON "LiteLLM_SpendLogs" TO {role}') as (name, password),
        opened(litellm_database, username=name, password=password) as logs,
        pytest.raises(SourceError, match="BYPASSRLS"),
    ):
        list(logs.read(DAY, clock=UTC_CLOCK, longest_call=ONE_CALL))


def test_missing_table(database: str) -> None:
    """The wrong database, or the wrong schema, is named."""
    assert 'has no table "LiteLLM_SpendLogs"' in refusal(database).what
    run(database, "CREATE SCHEMA gateway", 'CREATE TABLE gateway."LiteLLM_SpendLogs" (request_id text)')
    assert "schema=gateway to the parameters of DATABASE_URL" in refusal(database).remedy


def test_missing_column_or_changed_type(litellm_database: str) -> None:
    """A table that is not LiteLLM's is not read on a guess."""
    run(litellm_database, 'ALTER TABLE "LiteLLM_SpendLogs" ALTER "endTime" TYPE timestamptz')
    assert '"endTime" is of type timestamp with time zone' in refusal(litellm_database).what
    run(litellm_database, 'ALTER TABLE "LiteLLM_SpendLogs" DROP end_user, DROP cache_hit')
    assert "lacks the columns cache_hit, end_user" in refusal(litellm_database).what


# --- connecting -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trials:
    """What connecting did: the waits that were slept, in seconds, and the failures that were reported."""

    waits: list[float]
    failures: list[FailedAttempt]
    error: SourceError


def failing(url: str, attempts: int = 5, **changed: Any) -> Trials:
    """Connect without really waiting, and return how it failed."""
    waits: list[float] = []
    failures: list[FailedAttempt] = []
    settings = replace(database_settings(url=url), **changed)
    with pytest.raises(SourceError) as raised:
        connect(settings, patience=Patience(attempts), sleep=waits.append, on_failed_attempt=failures.append)
    assert "\n" not in str(raised.value)
    assert "hush" not in str(raised.value)
    return Trials(waits, failures, raised.value)


def test_unknown_host_is_tried_again_and_then_explained(database: str) -> None:
    """The case users reported: a name that does not resolve. The waits double, with jitter, up to a limit."""
    trials = failing(database, 8, host="litellm-db.invalid", origin="DATABASE_HOST")
    assert [failure.number for failure in trials.failures] == [1, 2, 3, 4, 5, 6, 7]
    assert [failure.wait.total_seconds() for failure in trials.failures] == pytest.approx(trials.waits)
    for wait, least in zip(trials.waits, (0.5, 1, 2, 4, 8, 16, 20), strict=True):
        assert least <= wait <= least + 0.5
    assert "cannot reach PostgreSQL at litellm-db.invalid:" in trials.error.what
    assert "after 8 attempts" in trials.error.what
    assert 'DATABASE_HOST (it may hold host:port): the name "litellm-db.invalid" was looked up' in trials.error.remedy
    assert "litellm-db.invalid" in trials.failures[0].reason


def test_refused_connection_is_tried_again(database: str) -> None:
    """Nothing listens on port 1."""
    trials = failing(database, port=1)
    assert len(trials.waits) == 4
    assert "after 5 attempts: " in trials.error.what
    assert "refused" in trials.error.what
    assert ":1 after" in trials.error.what
    assert "Check DATABASE_URL" in trials.error.remedy


def test_host_that_cannot_be_a_name(database: str) -> None:
    """Python refuses to look such a name up at all; that is one line too."""
    trials = failing(database, host="db..example")
    assert "cannot be a name" in trials.error.what
    assert not trials.waits


@pytest.mark.parametrize(
    ("changed", "what", "remedy"),
    [
        ({"password": "hush hush"}, "password authentication failed", "the password in DATABASE_URL"),
        (
            {"password": "hush\n"},
            "password authentication failed",
            "or line break",
        ),
        ({"password": None}, "no password supplied", "the password in DATABASE_URL"),
        ({"name": "nowhere"}, 'database "nowhere" does not exist', "the database name in DATABASE_URL"),
        (
            {"name": "nowhere", "given_names": database_settings("h", "n", "u").names},
            "does not exist",
            "Check DATABASE_NAME",
        ),
        ({"parameters": (("sslmode", "sometimes"),)}, "sslmode", "ssl parameters"),
    ],
)
def test_what_cannot_pass_fails_at_once(database: str, changed: dict[str, Any], what: str, remedy: str) -> None:
    """A wrong password is not tried twelve times; the message names the setting to change."""
    trials = failing(database, **changed)
    assert not trials.waits
    assert what in trials.error.what
    assert remedy in trials.error.remedy


def test_role_that_may_not_connect(database: str) -> None:
    """The GRANT in the remedy cures it."""
    name = database_settings(url=database).name
    run(database, f'REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC')
    with reader(database) as (role, password):
        trials = failing(database, username=role, password=password)
        assert not trials.waits
        run(database, trials.error.remedy.partition(": ")[2])
        connect(replace(database_settings(url=database), username=role, password=password)).close()


def test_full_server_is_waited_for(database: str) -> None:
    """Too many connections is trouble that passes."""
    with reader(database) as (role, password):
        run(database, f'ALTER ROLE "{role}" CONNECTION LIMIT 1')
        settings = replace(database_settings(url=database), username=role, password=password)
        failures: list[FailedAttempt] = []
        with connect(settings) as holder:

            def leave(_: float) -> None:
                if len(failures) == 3:
                    holder.close()
                    with psycopg.connect(database, autocommit=True) as owner:
                        gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = %s"
                        while not owner.execute(gone, [role]).fetchone()[0]:  # type: ignore[index]
                            pass

            connect(settings, sleep=leave, on_failed_attempt=failures.append).close()
    assert [failure.number for failure in failures] == [1, 2, 3]
    assert "too many connections" in failures[0].reason
