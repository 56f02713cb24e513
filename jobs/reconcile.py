"""Use case: read both sides, match them, report. Never writes to Lago."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from jobs.adapters.run_folder import RunFolder
from jobs.core.window import Window
from jobs.steps.judge import judge_left_over
from jobs.steps.read import matched_workspace
from jobs.steps.reconcile_values import Judged, Progress, ReconcileSettings, Run
from jobs.steps.report import report_run
from jobs.steps.room import RoomWatch
from jobs.steps.spread import spread_workspace


def reconcile(
    settings: ReconcileSettings, progress: Progress, *, now: datetime, run_id: str, keep: Path | None = None
) -> Run:
    """Judge the window and leave the run's folder; raise an error of `jobs.errors` and leave no more than was read.

    `keep` is a file that what the judgement tells is kept in, where the plan is then applied.
    """
    progress = RoomWatch(progress, settings.output, *([settings.scratch] if settings.scratch else []))
    progress.step("making the run's folder")
    with RunFolder(settings.output, folder_name(settings.window, run_id), settings.scratch) as folder:
        for left in folder.removed:
            progress.note(f"removed {left}, which a run that was killed had left unfinished")
        with judged_workspace(settings, folder.scratch, progress, now=now, keeps_reading=True) as judged:
            run = report_run(judged, folder, progress, now=now, run_id=run_id, keep=keep)
        folder.discard_scratch()
    return run


@contextmanager
def judged_workspace(
    settings: ReconcileSettings, folder: Path, progress: Progress, *, now: datetime, keeps_reading: bool = False
) -> Iterator[Judged]:
    """Read both sides into a workspace in this folder, judge the window, and yield what a report is made of.

    `keeps_reading` leaves what was read through the API in the output folder where this fails, for the next one.
    """
    matched = (
        matched_workspace(settings, folder, progress, now=now, keeps_reading=keeps_reading)
        if settings.cluster is None
        else spread_workspace(settings, settings.cluster, folder, progress, now=now)
    )
    with matched as (workspace, reading):
        pinning = reading.schema.may_pin_end_users
        window_facts = judge_left_over(
            workspace, settings.rules, reading.catalogue, settings.window, now, may_pin_end_users=pinning
        )
        yield Judged(workspace, settings, reading, window_facts)


def folder_name(window: Window, run_id: str) -> str:
    """Return the name of a run's folder."""
    return f"{window.compact}-{run_id}"
