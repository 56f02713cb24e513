"""Both sides of a run over a cluster: workers read slices of time and match parts of the payers, this process judges.

The run holds one snapshot of each PostgreSQL, which its workers join: all see one instant, and each row is read once.
What the parts leave is taken up here, as if one workspace had matched all: the same files, to the byte. Nothing is sent
by a worker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from jobs import __version__
from jobs.adapters.cluster import Cluster, open_cluster
from jobs.adapters.lago.catalogue import read_catalogue
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.workspace import Workspace
from jobs.core.layout import lay_out
from jobs.core.litellm.spend_logs import DailyTable
from jobs.core.meters import bind
from jobs.core.spreading import ALL_STARTS, StartTimes, cut, cut_starts, parts_for, rows_within
from jobs.core.window import Window
from jobs.drivers.postgres import export_snapshot
from jobs.errors import LawBrokenError
from jobs.steps import tasks
from jobs.steps.event_source import sharing_recorded_events
from jobs.steps.read import (
    daily_totals_asked,
    events_asked,
    load_known_end_users,
    opened_spend_logs,
    refuse_future,
)
from jobs.steps.reconcile_values import ClusterSettings, Progress, Reading, ReconcileSettings, Sources
from jobs.steps.references import load_event_references, load_references


@contextmanager
def spread_workspace(
    settings: ReconcileSettings,
    asked: ClusterSettings,
    folder: Path,
    progress: Progress,
    *,
    now: datetime,
) -> Iterator[tuple[Workspace, Reading]]:
    """Let a cluster read both sides and match within each subscription, and yield workspace and reading.

    What is read through the API is not kept for a next run, as one process keeps it.
    """
    refuse_future(settings.window, now)
    with Workspace(folder, memory_limit=settings.memory_limit, threads=settings.threads) as workspace:
        progress.step("reading Lago's catalogue")
        with LagoClient(settings.lago) as client:
            catalogue = read_catalogue(client)
        bound = bind(settings.rules.parts, {metric.code: metric for metric in catalogue.metrics})
        layout = lay_out(bound, settings.rules.charge_by_path, settings.rules.id_template)
        progress.step("asking the cluster")
        dead_letters: list[int] = []
        wanted = events_asked(settings, dead_letters.append)
        with (
            open_cluster(asked.address, wait=asked.wait) as cluster,
            # Before the events', so that an event that arrives meanwhile is seen, and not reported missing.
            opened_spend_logs(settings, progress, now) as spend_logs,
            sharing_recorded_events(
                settings.store, catalogue.organization, layout, wanted, progress, now
            ) as shared_events,
        ):
            bounds = spend_logs.bounds(settings.clock)
            window = settings.rules.read_window(settings.window)
            rows = rows_within(window, spend_logs.schema.estimated_rows, bounds)
            threads = cluster.threads
            parts = asked.parts or parts_for(rows, threads)
            readers = parts if settings.store is not None else max(1, min(parts, threads))
            job = tasks.Job(
                version=__version__,
                sources=asked.sources,
                source_names=Sources(settings.database, settings.lago, settings.store).names,
                window=settings.window,
                rules=settings.rules,
                clock=settings.clock,
                layout=layout,
                catalogue=catalogue,
                schema=spend_logs.schema,
                spend_logs=export_snapshot(spend_logs.snapshot),
                events=shared_events,
                parts=parts,
                api_readers=readers,
                statement_timeout=settings.statement_timeout,
                patience=settings.patience,
                memory_limit=settings.memory_limit,
                threads=settings.threads,
            )
            spread = _Spread(cluster, job, progress)
            daily = spread.read_daily_totals(daily_totals_asked(settings, job.schema))
            # Without that index, each slice would be a scan of the whole table.
            starts = cut_starts(window, parts) if job.schema.has_start_time_index else (ALL_STARTS,)
            spend_logs_read, events_read = spread.read(starts, cut(window, readers))
            progress.step("matching")
            matched = deque(spread.match(spend_logs_read, events_read, daily))
            # What nobody holds any more, the cluster lets go of once it is used.
            del spend_logs_read, events_read
            load_known_end_users(workspace, settings, spend_logs)
            legacy_rows = spend_logs.count_legacy(
                settings.window, clock=settings.clock, longest_call=settings.rules.longest_call
            )
            total = len(matched)
            while matched:
                _adopt(workspace, cluster.result(matched.popleft()), folder / "part.duckdb")
                progress.count(total - len(matched), total)
            if daily is not None:
                workspace.take("take_daily_totals", (cluster.result(daily),))
            load_event_references(workspace, settings.rules, layout)
            load_references(workspace, settings.rules, layout, catalogue, settings.unsendable, settings.sent_before)
        yield (
            workspace,
            Reading(catalogue, bound, layout, job.schema, bounds, legacy_rows, sum(dead_letters)),
        )


@dataclass(frozen=True, slots=True)
class _Side:
    """The slices of one side, which stay with the cluster, and what is known of each."""

    slices: Sequence[Any]
    contents: Sequence[tasks.Contents]


class _Spread:
    """What a run asks of its cluster, in order. Its results stay there until somebody takes them."""

    def __init__(self, cluster: Cluster, job: tasks.Job, progress: Progress) -> None:
        self._cluster = cluster
        self._progress = progress
        self._name = uuid4().hex
        self._job = self._submit("job", tasks.hand_over, job)

    def read_daily_totals(self, asked: tuple[DailyTable, date, date] | None) -> Any | None:
        """Ask for LiteLLM's daily totals, if there are any."""
        return None if asked is None else self._submit("daily totals", tasks.read_daily_totals, self._job, *asked)

    def read(self, starts: Sequence[StartTimes], windows: Sequence[Window]) -> tuple[_Side, _Side]:
        """Let the cluster read all slices of both sides, and return where they are."""
        self._progress.step("reading spend logs and Lago's events")
        logs = [
            self._submit(f"spend logs {number}", tasks.read_spend_logs, self._job, started)
            for number, started in enumerate(starts)
        ]
        events = [
            self._submit(f"events {number}", tasks.read_events, self._job, window)
            for number, window in enumerate(windows)
        ]
        told = {
            future: self._submit(f"contents of {kind} {number}", tasks.contents, future, ahead=True)
            for kind, side in (("spend logs", logs), ("events", events))
            for number, future in enumerate(side)
        }
        found: dict[Any, tasks.Contents] = {}
        rows = 0
        for future in self._cluster.ended(told.values()):
            found[future] = self._cluster.result(future)
            rows += found[future].rows
            self._progress.count(rows, None)
        sides = [_Side(side, [found[told[future]] for future in side]) for side in (logs, events)]
        return sides[0], sides[1]

    def match(self, logs: _Side, events: _Side, daily: Any | None) -> list[Any]:
        """Let the cluster match each part that any rows are of, and return where what is left of them will be."""
        used = {part for side in (logs, events) for contents in side.contents for part in contents.parts}
        responses = self._responses(logs)
        return [
            self._submit(
                f"match {part}",
                tasks.match_part,
                self._job,
                self._pieces("spend log", logs, part),
                self._pieces("event", events, part),
                responses,
                daily,
            )
            # One at least, whose tables are all empty.
            for part in sorted(used or {0})
        ]

    def _responses(self, logs: _Side) -> Any:
        if not any(contents.has_readings_with_usage for contents in logs.contents):
            return tasks.Responses()
        readings, makers = (
            [self._submit(f"{name} {number}", task, slice_) for number, slice_ in enumerate(logs.slices)]
            for name, task in (("readings", tasks.readings_of), ("makers", tasks.makers_of))
        )
        return self._submit("responses", tasks.read_responses, self._job, readings, makers)

    def _pieces(self, name: str, side: _Side, part: int) -> list[Any]:
        return [
            self._submit(f"{name} piece {part} of {number}", tasks.piece, slice_, part, ahead=True)
            for number, (slice_, contents) in enumerate(zip(side.slices, side.contents, strict=True))
            if part in contents.parts
        ]

    def _submit(self, name: str, task: Callable[..., Any], *arguments: Any, ahead: bool = False) -> Any:
        return self._cluster.submit(task, *arguments, name=f"{name}, {self._name}", ahead=ahead)


def _adopt(workspace: Workspace, part: bytes, path: Path) -> None:
    """Take up what a part left."""
    path.write_bytes(part)
    with workspace.attached(path):
        workspace.run("adopt_tables")
        (offsets,) = workspace.rows("adopt_offsets")
        spend_logs = {"spend_logs": offsets["spend_logs"]}
        expected, recorded = {"expected": offsets["expected"]}, {"recorded": offsets["recorded"]}
        workspace.run("adopt_spend_logs")
        workspace.run("adopt_accounts", **spend_logs)
        workspace.run("adopt_expected_events", **spend_logs, **expected)
        workspace.run("adopt_recorded_events", **recorded)
        workspace.run("adopt_unbilled_events", **recorded)
        workspace.run("adopt_pairs", **expected, **recorded)
        workspace.run("adopt_open_chains", **expected)
        workspace.run("adopt_tallies")
        workspace.run("adopt_marks")
        (checked,) = workspace.rows("adopted_as_they_were", **spend_logs)
        if not checked["kept_their_order"]:
            raise LawBrokenError("the spend logs of a part changed their order on the way")
    path.unlink()
