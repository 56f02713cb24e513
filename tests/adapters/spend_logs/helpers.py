"""Reading spend logs from LiteLLM's real schema of every era."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg
from psycopg import sql

from jobs.adapters.litellm_database import (
    SpendLogs,
    open_spend_logs,
)
from jobs.core.litellm.spend_logs import SPEND_LOG_COLUMNS, SourceClock
from jobs.core.litellm.variables import database_settings
from jobs.core.window import Window

DAY = Window(datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC))


ONE_CALL = timedelta(hours=2)


UTC_CLOCK = SourceClock()


SEOUL = SourceClock("Asia/Seoul")

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
    """Loads CSV chunks into DuckDB the way the workspace does: an empty field is NULL, and quoted an empty text."""

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


def ended(
    url: str, window: Window, clock: SourceClock, table: Table
) -> list[tuple[str | None, str | None, str | None]]:
    """Return (request id, end time, ambiguous) of the window's spend logs."""
    return [(row["request_id"], row["end_time"], row["time_is_ambiguous"]) for row in read(table, url, window, clock)]


def call(name: str, end: str, seconds: float = 1) -> dict[str, Any]:
    """Return a spend log by the naive time at which the call ended and how long it took."""
    stop = datetime.fromisoformat(end)
    return {"request_id": name, "endTime": stop, "startTime": stop - timedelta(seconds=seconds)}


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
