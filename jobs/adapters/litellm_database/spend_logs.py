"""Read spend logs, and what certifies them, from one snapshot of LiteLLM's database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import psycopg
from psycopg.rows import dict_row

from jobs.core.database.settings import DatabaseSettings
from jobs.core.database.troubles import quoted
from jobs.core.litellm.spend_logs import PORTABLE_COLUMNS, DailyTable, SourceClock, SpendLogsBounds, SpendLogsSchema
from jobs.core.spreading import ALL_STARTS, StartTimes
from jobs.core.window import Window
from jobs.drivers.copying import copy_rows
from jobs.drivers.postgres import (
    ExportedSnapshot,
    FailedAttempt,
    Patience,
    Snapshot,
    connect,
    explained,
    join_snapshot,
    read_only_snapshot,
    wait_for_standby,
)
from jobs.drivers.queries import query
from jobs.errors import SettingError, SourceError

_CANCEL_SECONDS = 5
_REQUEST_IDS_AT_A_TIME = 10_000
_LEGACY_TABLE = "LiteLLM_SpendLogs_legacy"
_DAILY_QUERIES = {
    DailyTable.USER: "read_daily_user_totals",
    DailyTable.TEAM: "read_daily_team_totals",
    DailyTable.END_USER: "read_daily_end_user_totals",
}


@dataclass(frozen=True, slots=True)
class SpendLogs:
    """LiteLLM's spend logs as one snapshot sees them. Reads run one after another, never two at a time."""

    snapshot: Snapshot  # The transaction in which everything is read.
    schema: SpendLogsSchema  # What the probe found in it.

    def read(
        self,
        window: Window,
        *,
        clock: SourceClock,
        longest_call: timedelta,
        metadata_paths: Sequence[Sequence[str]] = (),
        started: StartTimes = ALL_STARTS,
    ) -> Iterator[bytes]:
        """Yield the spend logs whose call ended in the window, as CSV in chunks of whole rows, in no order.

        The columns are `SPEND_LOG_COLUMNS`: times in UTC without a zone, as fine as they are stored, token
        counts as integers, the spend in USD as the shortest text of its double (NaN and Infinity included), and in
        `extras` a JSON array with the text found under each of `metadata_paths`, in their order (a nested
        value as JSON text; null where nothing is found). NULL is an empty field, an empty text is quoted, and
        absent or empty text is NULL but in request_id, call_type and model. `started` leaves out what did not begin
        then. Calls longer than `longest_call` may be missing. Where the table is partitioned, a request id can occur
        twice. Raise `SourceError` if the read is cancelled or breaks off.
        """
        asked = _asked(window, clock, longest_call)
        paths = [list(path) for path in metadata_paths]
        asked["metadata_paths"] = orjson.dumps(paths).decode() if paths else None
        asked |= {"started_since": started.since, "started_until": started.until}
        return copy_rows(self.snapshot, query("litellm", "read_spend_logs"), asked)

    def read_known_end_users(self, window: Window, *, clock: SourceClock, look_back: timedelta) -> Iterator[bytes]:
        """Yield as CSV which API key, user and team named which end user in the time before the window, each once.

        The columns are the key, its user, the team and the end user; an absent key, user or team is NULL.
        """
        asked = {"window_start": window.start, "zone": clock.zone, "look_back": look_back}
        return copy_rows(self.snapshot, query("litellm", "read_known_end_users"), asked)

    def read_marks(self, request_ids: Iterable[str]) -> Iterator[tuple[str, str | None, bool]]:
        """Yield what the metadata of these spend logs tells, of those only that are marked.

        A mark is the request id, who inside LiteLLM made the call (None where a caller did), and whether the usage
        counts failed attempts too. Raise `SourceError` if a read is cancelled or breaks off.
        """
        text, ids = query("litellm", "read_marks").encode(), iter(request_ids)
        everywhere = dict.fromkeys(("window_start", "window_end", "longest_call", "zone"))
        while batch := list(islice(ids, _REQUEST_IDS_AT_A_TIME)):
            with (
                explained(self.snapshot.settings, self.snapshot.statement_timeout),
                self.snapshot.connection.cursor() as cursor,
            ):
                cursor.execute(text, {**everywhere, "request_ids": orjson.dumps(batch).decode()})
                yield from cursor.fetchall()

    def read_all_marks(self, window: Window, *, clock: SourceClock, longest_call: timedelta) -> Iterator[bytes]:
        """Yield as CSV what `read_marks` tells, of all spend logs that `read` finds in the window, and some beside it.

        This reads the metadata of all of them. Raise `SourceError` if the read is cancelled or breaks off.
        """
        asked = {**_asked(window, clock, longest_call), "request_ids": None}
        return copy_rows(self.snapshot, query("litellm", "read_marks"), asked)

    def read_daily(self, table: DailyTable, first_day: date, last_day: date) -> Iterator[bytes]:
        """Yield one daily total's rows of these UTC days, both included, as CSV in chunks of whole rows.

        The columns are `DAILY_COLUMNS`, summed over everything else the table keeps apart; the counts of
        requests are NULL where the table has none. Raise `SourceError` if the table does not exist or may not
        be read.
        """
        if table not in self.schema.daily_tables:
            raise SourceError(
                f"the daily totals in {table.value} do not exist or may not be read",
                f"As their owner: GRANT SELECT ON {quoted(table.value)} TO {quoted(self.snapshot.settings.username)}",
            )
        asked = {"first_day": first_day.isoformat(), "last_day": last_day.isoformat()}
        return copy_rows(self.snapshot, query("litellm", _DAILY_QUERIES[table]), asked)

    def bounds(self, clock: SourceClock) -> SpendLogsBounds:
        """Return when the stored spend logs begin and end; all None in an empty table."""
        row = _one_row(self.snapshot, "read_spend_log_bounds", _clock(clock))
        return SpendLogsBounds(**row)

    def count_legacy(self, window: Window, *, clock: SourceClock, longest_call: timedelta) -> int | None:
        """Return how many spend logs of the window lie in the table that partitioning left behind.

        Return 0 without such a table, and None where it exists and this role may not read it.
        """
        if not self.schema.legacy_table_exists:
            return 0
        if not self.schema.legacy_table_readable:
            return None
        row = _one_row(self.snapshot, "count_legacy_spend_logs", _asked(window, clock, longest_call))
        return int(row["spend_logs"])

    def ended(self, request_id: str, clock: SourceClock) -> datetime | None:
        """Return when a request ended, or None if there is no spend log of it."""
        naive: datetime | None = _one_row(self.snapshot, "find_spend_log", {"request_id": request_id})["ended"]
        if naive is None:
            return None
        local = naive.replace(tzinfo=ZoneInfo(clock.zone)).astimezone(UTC)
        return local if clock.utc_since is None or local < clock.utc_since else naive.replace(tzinfo=UTC)

    def cancel(self) -> None:
        """Let a read that another thread is in end with a `SourceError`, and do nothing where none is."""
        with suppress(psycopg.Error):  # A server that takes no cancellation ends its reads by itself, as it may.
            self.snapshot.connection.cancel_safe(timeout=_CANCEL_SECONDS)

    def require_zone(self, clock: SourceClock) -> None:
        """Raise `SettingError` if PostgreSQL does not know the clock's zone by name."""
        if not _one_row(self.snapshot, "probe_time_zone", {"zone": clock.zone})["known"]:
            raise SettingError(
                f'PostgreSQL knows no time zone "{clock.zone}"',
                "Give the source time zone's IANA name, like Asia/Seoul",
            )


@contextmanager
def open_spend_logs(
    settings: DatabaseSettings,
    *,
    statement_timeout: timedelta,
    lock_timeout: timedelta = timedelta(seconds=10),
    patience: Patience | None = None,
    complete_until: datetime | None = None,
    sleep: Callable[[float], None] = time.sleep,
    on_failed_attempt: Callable[[FailedAttempt], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[SpendLogs]:
    """Connect with patience, open one read-only snapshot and probe it once.

    Read what is needed and leave: while the snapshot is open, the server keeps the rows it sees, and may end
    a transaction that idles. With `complete_until` a standby is waited for, a minute at most, until it has
    replayed what was written by then. Raise `SourceError` if it has not, or if the database cannot be reached or
    lacks what must be read.
    """
    connection = connect(settings, patience=patience, sleep=sleep, on_failed_attempt=on_failed_attempt)
    with closing(connection):
        if complete_until is not None:
            wait_for_standby(connection, settings, complete_until, sleep, note)
        with read_only_snapshot(
            connection, settings, statement_timeout=statement_timeout, lock_timeout=lock_timeout
        ) as snapshot:
            yield SpendLogs(snapshot, probed(snapshot))


@contextmanager
def join_spend_logs(
    settings: DatabaseSettings,
    exported: ExportedSnapshot,
    schema: SpendLogsSchema,
    *,
    statement_timeout: timedelta,
    patience: Patience | None = None,
) -> Iterator[SpendLogs]:
    """Connect with patience, and see what the snapshot sees that another session probed and exported.

    Raise `SourceError` if that one is gone, or is another server's, or the database cannot be reached.
    """
    with join_snapshot(settings, exported, statement_timeout=statement_timeout, patience=patience) as snapshot:
        yield SpendLogs(snapshot, schema)


def probed(snapshot: Snapshot) -> SpendLogsSchema:
    """Return what a snapshot holds and this role may read; raise `SourceError` where that is not enough."""
    others = [_LEGACY_TABLE, *(table.value for table in DailyTable)]
    found = _one_row(snapshot, "probe_spend_logs", {"other_tables": others})
    _require_table(found, snapshot.settings)
    _require_columns(found["column_types"])
    _refuse_leftover(found, snapshot)
    readable: dict[str, bool] = found["other_tables_readable"] or {}
    return SpendLogsSchema(
        columns=frozenset(found["column_types"]),
        primary_key=tuple(found["primary_key"]),
        partitioned=found["partitioned"],
        has_start_time_index=found["has_start_time_index"],
        legacy_table_exists=_LEGACY_TABLE in readable,
        legacy_table_readable=readable.get(_LEGACY_TABLE, False),
        daily_tables=frozenset(table for table in DailyTable if readable.get(table.value, False)),
        unreadable_daily_tables=frozenset(table for table in DailyTable if not readable.get(table.value, True)),
        estimated_rows=found["estimated_rows"],
        server_version=found["server_version"],
        on_standby=found["on_standby"],
    )


def _require_table(found: Mapping[str, Any], settings: DatabaseSettings) -> None:
    where = f'database "{settings.name}" at {settings.address}'
    if not found["table_found"]:
        schemas = found["schemas_with_table"]
        if schemas:
            raise SourceError(
                f'the search path in {where} has no "LiteLLM_SpendLogs", but schema {schemas[0]} has',
                f"{_naming(schemas[0], settings)}, and GRANT USAGE ON SCHEMA {quoted(schemas[0])} "
                f"TO {quoted(settings.username)}",
            )
        raise SourceError(
            f'{where} has no table "LiteLLM_SpendLogs"',
            "Name LiteLLM's database, and let LiteLLM run its migrations before the first reconciliation",
        )
    if not found["readable"]:
        raise SourceError(
            f'role "{settings.username}" may not read "LiteLLM_SpendLogs" in {where}',
            f"As its owner: GRANT SELECT ON {_in_schema(found, settings)} TO {quoted(settings.username)}",
        )


def _refuse_leftover(found: Mapping[str, Any], snapshot: Snapshot) -> None:
    """Raise `SourceError` for an empty table where another schema has one that is not."""
    settings, read = snapshot.settings, found["schema_of_table"]
    # Where the schema is named on purpose, an empty table is one of a gateway that has just been set up.
    if settings.schema is not None or len(found["schemas_with_table"]) < 2:
        return
    told = _one_row(snapshot, "probe_emptiness", {})
    others = [schema for schema in told["schemas_with_rows"] if schema != read]
    if told["is_empty"] and others:
        raise SourceError(
            f'"LiteLLM_SpendLogs" in schema {read} of database "{settings.name}" at {settings.address} is empty, '
            f"and that in schema {others[0]} is not",
            f"{_naming(others[0], settings)}, or {settings.names.schema.format(read)} if the empty one is meant",
        )


def _naming(schema: str, settings: DatabaseSettings) -> str:
    told = settings.names.schema.format(schema)
    return told[0].upper() + told[1:]


def _in_schema(found: Mapping[str, Any], settings: DatabaseSettings) -> str:
    return f'{quoted(settings.schema or found["current_schema"])}."LiteLLM_SpendLogs"'


def _require_columns(types: Mapping[str, str]) -> None:
    missing = [column for column in PORTABLE_COLUMNS if column not in types]
    if missing:
        raise SourceError(
            f'"LiteLLM_SpendLogs" lacks the columns {", ".join(missing)}',
            "LiteLLM has had them since 1.44: upgrade it, or name the schema of the real table",
        )
    for column in ("startTime", "endTime"):
        if types[column] != "timestamp without time zone":
            raise SourceError(
                f'"LiteLLM_SpendLogs"."{column}" is of type {types[column]}, not timestamp without time zone',
                "This is not LiteLLM's schema; its times would be misread",
            )


def _one_row(snapshot: Snapshot, name: str, parameters: Mapping[str, object]) -> dict[str, Any]:
    with (
        explained(snapshot.settings, snapshot.statement_timeout),
        snapshot.connection.cursor(row_factory=dict_row) as cursor,
    ):
        cursor.execute(query("litellm", name).encode(), parameters)
        row = cursor.fetchone()
    if row is None:
        raise SourceError(f"the query {name} returned no row", "Connect without a proxy that rewrites queries")
    return row


def _asked(window: Window, clock: SourceClock, longest_call: timedelta) -> dict[str, object]:
    return {
        "window_start": window.start,
        "window_end": window.end,
        "longest_call": longest_call,
        **_clock(clock),
    }


def _clock(clock: SourceClock) -> dict[str, object]:
    return {"zone": clock.zone, "utc_since": clock.utc_since}
