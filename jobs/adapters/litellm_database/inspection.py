"""Bounded questions about LiteLLM's database for the doctor: each is quick, and none scans a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from psycopg.rows import dict_row

from jobs.adapters.litellm_database.spend_logs import probed
from jobs.core.database.settings import DatabaseSettings
from jobs.core.doctor.source_checks import RequestIds, SpendLogSample
from jobs.core.kinds import ChargeBy
from jobs.core.litellm.spend_logs import DailyTable, SourceClock, SpendLogsBounds, SpendLogsSchema
from jobs.drivers.postgres import Patience, Snapshot, connect, explained, read_only_snapshot
from jobs.drivers.queries import query
from jobs.errors import SourceError

_LOCK_TIMEOUT = timedelta(seconds=3)
_SAMPLE_ROWS = 5_000
_MOST_ROWS_OF_A_DAY = 200_000


@dataclass(frozen=True, slots=True)
class Inspection:
    """One read-only snapshot that outlives a question which failed."""

    snapshot: Snapshot

    def schema(self) -> SpendLogsSchema:
        """Return what the database holds; raise `SourceError` where it is not LiteLLM's or may not be read."""
        with self.snapshot.connection.transaction():
            return probed(self.snapshot)

    def now(self) -> datetime:
        """Return what the database's clock says."""
        moment: datetime = self._row("doctor_clock", {})["now"]
        return moment

    def bounds(self, clock: SourceClock) -> SpendLogsBounds:
        """Return when the stored spend logs begin and end."""
        return SpendLogsBounds(**self._row("read_spend_log_bounds", {"zone": clock.zone, "utc_since": clock.utc_since}))

    def sample(
        self, charge_by: ChargeBy, path: str | None, clock: SourceClock, not_inference: Sequence[str]
    ) -> SpendLogSample:
        """Return what the newest 5,000 spend logs say."""
        row = self._row(
            "doctor_sample",
            {
                "zone": clock.zone,
                "utc_since": clock.utc_since,
                "charge_by": charge_by.value,
                "charge_by_path": path.split(".") if path else None,
                "not_inference": list(not_inference),
                "sample_rows": _SAMPLE_ROWS,
            },
        )
        return SpendLogSample(**{**row, "sources": tuple((source, rows) for source, rows in row["sources"])})

    def later_requests(self, schema: SpendLogsSchema, after: date | None) -> int | None:
        """Return how many requests the daily table counts on the days after this one, or on all; None without one."""
        first = date.min if after is None else after + timedelta(days=1)
        return self._daily_requests(schema, first, date.max)

    def request_ids(self, schema: SpendLogsSchema, day: date) -> RequestIds:
        """Return what the ids and this day's counts on both sides tell about lost spend logs."""
        ids = self._row("doctor_request_ids", {})
        logged = self._row("doctor_logged_requests", {"day": day, "most": _MOST_ROWS_OF_A_DAY})["requests"]
        return RequestIds(ids["empty"], ids["none"], day.isoformat(), logged, self._daily_requests(schema, day, day))

    def _daily_requests(self, schema: SpendLogsSchema, first: date, last: date) -> int | None:
        if DailyTable.USER not in schema.daily_tables:
            return None
        days = {"first_day": first.isoformat(), "last_day": last.isoformat()}
        requests: int | None = self._row("doctor_daily_requests", days)["requests"]
        return requests

    def _row(self, name: str, parameters: Mapping[str, object]) -> dict[str, Any]:
        # A savepoint, so that a question which takes too long does not end the snapshot.
        with (
            explained(self.snapshot.settings, self.snapshot.statement_timeout),
            self.snapshot.connection.transaction(),
            self.snapshot.connection.cursor(row_factory=dict_row) as cursor,
        ):
            cursor.execute(query("litellm", name).encode(), parameters)
            row = cursor.fetchone()
        if row is None:
            raise SourceError(f"the query {name} returned no row", "Connect without a proxy that rewrites queries")
        return row


@contextmanager
def open_inspection(settings: DatabaseSettings, *, timeout: timedelta) -> Iterator[Inspection]:
    """Log in once, without patience, or raise `SourceError`; `timeout` bounds the login and each question."""
    connection = connect(settings, patience=Patience(attempts=1, connect_timeout=timeout))
    with (
        closing(connection),
        read_only_snapshot(connection, settings, statement_timeout=timeout, lock_timeout=_LOCK_TIMEOUT) as snapshot,
    ):
        yield Inspection(snapshot)
