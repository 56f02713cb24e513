"""Fills LiteLLM's tables with simulated or recorded rows, as the gateway would have."""

from collections.abc import Iterable, Sequence

import psycopg

from jobs.drivers.queries import query
from jobs.errors import SourceError

Value = str | int | float | None


def load_spend_logs(connection: psycopg.Connection, rows: Iterable[Sequence[Value]]) -> int:
    """Copy rows in the order of LiteLLM 1.109's columns into "LiteLLM_SpendLogs" and return their number.

    Raises `SourceError` where the table is missing, has other columns, or already holds one of the rows.
    """
    return _copy(connection, "simulation_copy_spend_logs", rows)


def load_daily_end_user_spend(connection: psycopg.Connection, rows: Iterable[Sequence[Value]]) -> int:
    """Copy rows into "LiteLLM_DailyEndUserSpend" and return their number; raises as `load_spend_logs`."""
    return _copy(connection, "simulation_copy_daily_end_user_spend", rows)


def _copy(connection: psycopg.Connection, name: str, rows: Iterable[Sequence[Value]]) -> int:
    count = 0
    try:
        with (
            connection.transaction(),
            connection.cursor() as cursor,
            cursor.copy(query("playground", name).encode()) as copy,
        ):
            for row in rows:
                copy.write_row(row)
                count += 1
    except psycopg.Error as error:
        raise SourceError(
            f"The simulated rows were refused by PostgreSQL ({error.sqlstate or 'connection lost'})",
            "Load them into an empty database with the tables of LiteLLM 1.109",
        ) from error
    connection.commit()
    return count
