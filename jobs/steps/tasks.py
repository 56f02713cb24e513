"""What the workers of a cluster do for a run: read a slice of time and cut it by payer, match a part of the payers.

A task depends on nothing but what it is given and on the rows that the run's snapshot shows, so a worker that is lost
costs its tasks once more and nothing else. Credentials are the worker's own and never travel.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path

from jobs import __version__
from jobs.adapters.cluster import Place, refuse_other_version, this_worker
from jobs.adapters.litellm_database import SpendLogs, join_spend_logs
from jobs.adapters.workspace import Workspace
from jobs.core.lago.values import Catalogue
from jobs.core.layout import Layout
from jobs.core.litellm.call_types import READINGS, RESPONSE_MAKERS
from jobs.core.litellm.spend_logs import DailyTable, SourceClock, SpendLogsSchema
from jobs.core.rules import Rules
from jobs.core.spreading import StartTimes
from jobs.core.window import Window
from jobs.core.window_facts import SENT_TWICE_WITHIN
from jobs.drivers.postgres import ExportedSnapshot, Patience
from jobs.errors import ClusterError, ReconcileError, SettingError
from jobs.steps.event_source import SharedEvents, read_shared_events
from jobs.steps.match import Sides, match_within, normalise_events
from jobs.steps.reconcile_values import Sources
from jobs.steps.references import load_attribution, load_references
from jobs.steps.room import disk_trouble, refuse_full

Pieces = dict[int, tuple[bytes, ...]]
"""Parquet by the part that its rows are of."""

_SHARE_OF_MEMORY = 0.4
"""Of what a task has: the workspace's, beside the pieces that come and go, and Python itself."""
_LEAST_MEMORY_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Job:
    """What every task of a run must know; no secret."""

    version: str
    """Of the run: workers of another one are refused."""
    sources: Callable[[], Sources]
    """Asked on the worker: how it reaches what it reads."""
    source_names: tuple[str, ...]
    """Where the run itself reads what knows no snapshot."""
    window: Window
    rules: Rules
    clock: SourceClock
    layout: Layout
    catalogue: Catalogue
    schema: SpendLogsSchema
    spend_logs: ExportedSnapshot
    events: SharedEvents
    parts: int
    """How many parts there are."""
    api_readers: int
    """How many tasks share what may be asked of Lago's API."""
    statement_timeout: timedelta
    patience: Patience
    memory_limit: str
    """Of a workspace, where the worker has enough."""
    threads: int | None


@dataclass(frozen=True, slots=True)
class ReadSlice:
    """What a slice of one side holds."""

    rows: int
    """Spend logs or events."""
    pieces: Pieces
    """These, by part."""
    has_readings_with_usage: bool = False
    """Whether any spend log read a response and shows usage."""
    readings: bytes = field(default=b"", repr=False)
    """The spend logs that read a response, as Parquet; of all parts."""
    makers: bytes = field(default=b"", repr=False)
    """Those that make one."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What is told of a slice, without its rows."""

    rows: int
    parts: tuple[int, ...]
    """The parts that some of its rows are of."""
    has_readings_with_usage: bool


@dataclass(frozen=True, slots=True)
class Responses:
    """All spend logs that make or read a response: whose one is that somebody else reads, all parts decide alike."""

    spend_logs: tuple[bytes, ...] = ()
    marks: tuple[bytes, ...] = ()
    """What their metadata tells."""


def hand_over(job: Job) -> Job:
    """Give a worker what all tasks need, once."""
    return job


def read_spend_logs(job: Job, started: StartTimes) -> ReadSlice:
    """Read the spend logs that began then, each once, and cut them by who pays for them."""
    with _workspace(job) as workspace:
        with _spend_logs(job) as spend_logs:
            rows = spend_logs.read(
                job.rules.read_window(job.window),
                clock=job.clock,
                longest_call=job.rules.longest_call,
                metadata_paths=[path.split(".") for path in job.layout.metadata_paths],
                started=started,
            )
            workspace.load("load_spend_logs", rows)
        (found,) = workspace.rows("measure_slice", readings=list(READINGS))
        load_attribution(workspace, job.rules, charge_by_place=job.layout.charge_by_place)
        pieces = workspace.pieces(
            "write_spend_log_pieces",
            charge_by=job.rules.charge_by.value,
            charge_by_place=job.layout.charge_by_place,
            has_attribution_file=job.rules.mapping is not None,
            parts=job.parts,
        )
        readings, makers = (
            workspace.written("write_responses", call_types=list(call_types))
            for call_types in (READINGS, RESPONSE_MAKERS)
        )
        return ReadSlice(found["spend_logs"], pieces, found["has_readings_with_usage"], readings, makers)


def read_events(job: Job, window: Window) -> ReadSlice:
    """Read the events of this stretch of time, each once, and cut them by their subscriptions."""
    with _workspace(job) as workspace:
        found = job.sources()
        if found.names != job.source_names:
            here, there = (", ".join(names) for names in (found.names, job.source_names))
            raise SettingError(
                f"this worker would read Lago's events from {here}, and the run reads them from {there}",
                "Give the workers the environment of the run: LAGO_API_BASE, RECONCILE_EVENTS_FROM and the like",
            )
        lago = found.lago
        if lago is not None:
            # Together no more than the run may ask for alone.
            lago = replace(
                lago,
                requests_per_second=lago.requests_per_second / job.api_readers,
                concurrency=max(1, lago.concurrency // job.api_readers),
            )
        repeated: list[int] = []
        rows = read_shared_events(
            job.events,
            found.store,
            lago,
            job.layout,
            window,
            statement_timeout=job.statement_timeout,
            patience=job.patience,
            on_repeated=repeated.append,
        )
        workspace.load("load_listed_events", rows, properties=len(job.layout.property_names))
        if sum(repeated):
            workspace.run("drop_repeated_events")
        (counted,) = workspace.rows("count_listed_events")
        return ReadSlice(counted["events"], workspace.pieces("write_listed_event_pieces", parts=job.parts))


def read_daily_totals(job: Job, table: DailyTable, first_day: date, last_day: date) -> bytes:
    """Read LiteLLM's own totals of these days, for all parts and for the run itself."""
    with _workspace(job) as workspace, _spend_logs(job) as spend_logs:
        workspace.load("load_daily_totals", spend_logs.read_daily(table, first_day, last_day))
        return workspace.written("write_daily_totals")


def read_responses(job: Job, readings: Sequence[bytes], makers: Sequence[bytes]) -> Responses:
    """Ask the metadata of the spend logs that read a response with usage, once for all parts."""
    with _workspace(job) as workspace, _spend_logs(job) as spend_logs:
        workspace.take("take_responses", readings)
        workspace.run("ask_about_readings", readings=list(READINGS))
        workspace.insert("spend_log_mark", spend_logs.read_marks(workspace.texts("asked_about")))
        return Responses((*readings, *makers), (workspace.written("write_marks"),))


def contents(found: ReadSlice) -> Contents:
    """Return what is told of a slice without moving its rows."""
    return Contents(found.rows, tuple(found.pieces), found.has_readings_with_usage)


def piece(found: ReadSlice, part: int) -> tuple[bytes, ...]:
    """Return what a slice has of one part."""
    return found.pieces[part]


def readings_of(found: ReadSlice) -> bytes:
    """Return a slice's spend logs that read a response."""
    return found.readings


def makers_of(found: ReadSlice) -> bytes:
    """Return a slice's spend logs that make one."""
    return found.makers


def match_part(
    job: Job,
    spend_log_pieces: Sequence[tuple[bytes, ...]],
    event_pieces: Sequence[tuple[bytes, ...]],
    responses: Responses,
    daily_totals: bytes | None,
) -> bytes:
    """Match one part's payers as one process matches all, and return what the run asks for, a DuckDB database."""
    with (
        _workspace(job, in_memory=False) as workspace,
        tempfile.TemporaryDirectory(dir=this_worker().folder) as folder,
    ):
        workspace.take("take_spend_logs", _joined(spend_log_pieces))
        workspace.take("take_listed_events", _joined(event_pieces))
        workspace.take("take_responses", responses.spend_logs)
        workspace.take("take_marks", responses.marks)
        workspace.take("take_daily_totals", () if daily_totals is None else (daily_totals,))
        normalise_events(workspace, job.rules, job.layout, job.catalogue, job.window)
        load_references(workspace, job.rules, job.layout, job.catalogue)
        match_within(
            workspace,
            job.rules,
            job.layout,
            job.catalogue,
            job.window,
            Sides(
                may_pin_end_users=job.schema.may_pin_end_users,
                ids_are_unique=job.schema.request_ids_are_unique,
            ),
            read_marks=partial(_ask_marks, job, workspace),
        )
        path = Path(folder) / "part.duckdb"
        keep(workspace, path, job.rules)
        return path.read_bytes()


def keep(workspace: Workspace, path: Path, rules: Rules) -> None:
    """Write what the run asks for: what has not matched, row by row, and of all that has the tallies."""
    with workspace.keeping(path):
        workspace.run(
            "keep_pairs",
            twin_within_us=SENT_TWICE_WITHIN // timedelta(microseconds=1),
            early_us=rules.tolerance.early_us,
            has_allowed_file=rules.allowed is not None,
        )
        workspace.run("number_kept_spend_logs")
        for name in ("spend_logs", "accounts", "expected_events", "recorded_events", "unbilled_events", "tallies"):
            workspace.run(f"keep_{name}")


def _joined(pieces: Iterable[tuple[bytes, ...]]) -> list[bytes]:
    return [one for some in pieces for one in some]


def _ask_marks(job: Job, workspace: Workspace, asked: str) -> None:
    """Bring in what the metadata tells of the spend logs that this query lists; connect only where it lists any."""
    workspace.run(asked)
    ids = list(workspace.texts("asked_about"))
    if ids:
        with _spend_logs(job) as spend_logs:
            workspace.insert("spend_log_mark", spend_logs.read_marks(ids))


@contextmanager
def _spend_logs(job: Job) -> Iterator[SpendLogs]:
    with join_spend_logs(
        job.sources().database,
        job.spend_logs,
        job.schema,
        statement_timeout=job.statement_timeout,
        patience=job.patience,
    ) as spend_logs:
        yield spend_logs


@contextmanager
def _workspace(job: Job, *, in_memory: bool = True) -> Iterator[Workspace]:
    """Give a task its workspace, on a worker of the run's version; let every error name the worker."""
    here = this_worker()
    refuse_other_version(here.name, __version__, job.version)
    try:
        refuse_full(here.folder, "before a task")
        with (
            tempfile.TemporaryDirectory(prefix="litellm-lago-", dir=here.folder) as folder,
            Workspace(
                Path(folder), memory_limit=_memory(job, here), threads=job.threads or 1, in_memory=in_memory
            ) as workspace,
        ):
            yield workspace
    except Exception as error:
        trouble = disk_trouble(error) or error
        if isinstance(trouble, MemoryError):
            trouble = ClusterError("there is no memory left", "Give the workers more, or raise RECONCILE_CLUSTER_PARTS")
        if isinstance(trouble, ReconcileError):
            raise trouble.at(f"worker {here.name}") from error
        raise


def _memory(job: Job, here: Place) -> str:
    number, unit = int(job.memory_limit[:-2]), job.memory_limit[-2:].upper()
    asked = number * {"MB": 10**6, "GB": 10**9}[unit]
    if here.bytes_a_task is None:
        return job.memory_limit
    share = max(_LEAST_MEMORY_BYTES, int(here.bytes_a_task * _SHARE_OF_MEMORY))
    return f"{min(asked, share) // 10**6}MB"
