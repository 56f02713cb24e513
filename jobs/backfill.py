"""Use case: plan what is missing, refuse or apply the plan, and verify that Lago has it and counts it.

Lago alone decides what is still missing: every run, also one after a crash, starts by reading both sides again. The
ledger is told everything and asked nothing, but for ids that Lago has refused for good.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from jobs import __version__
from jobs.adapters.ledger import Ledger
from jobs.applying import apply_plan
from jobs.backfill_values import Backfill, BackfillSettings, Hooks, Slice
from jobs.core.ledger_values import RunStarted
from jobs.core.window import Window
from jobs.errors import RefusedError
from jobs.plan_files import PLAN_FILE, read_header, window_of_plan
from jobs.reconcile import reconcile
from jobs.reconcile_values import Progress, Run
from jobs.room import RoomWatch
from jobs.settling import judgement_file, settle
from jobs.unfinished import complete_unfinished, ended


def slices(window: Window, length: timedelta) -> Iterator[Window]:
    """Cut the window at multiples of the length, counted from 1970, so that every run cuts at the same instants."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    start = window.start
    while start < window.end:
        end = min(epoch + ((start - epoch) // length + 1) * length, window.end)
        yield Window(start, end)
        start = end


def backfill(
    settings: BackfillSettings, progress: Progress, hooks: Hooks, *, run_id: str, command: str, plan: Path | None = None
) -> Iterator[Backfill]:
    """Work the window slice by slice; with a plan file, work that plan's window and only its events.

    Each slice is yielded as soon as it is done, and stands for itself: a run that ends between two of them loses
    nothing. Raises `RefusedError` before anything is sent where a plan is stale, edited or over a cap, or where
    another run holds the lock.
    """
    progress = RoomWatch(progress, settings.reconcile.output)
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger.open(settings.ledger_url, now=hooks.now))
        lock = stack.enter_context(ledger.run_lock(run_id)) if settings.apply else None
        windows = (
            [window_of_plan(plan, settings.reconcile.rules)]
            if plan
            else list(slices(settings.reconcile.window, settings.slice_length))
        )
        for number, window in enumerate(windows, start=1):
            if hooks.stop.is_set():
                return
            if len(windows) > 1:
                progress.note(
                    f"slice {number} of {len(windows)}: {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M}"
                )
            name = run_id if len(windows) == 1 else f"{run_id}-{number:03d}"
            one = replace(settings, reconcile=replace(settings.reconcile, window=window))
            yield _work(Slice(one, progress, hooks, ledger, lock, name, command), plan)


def _work(work: Slice, plan: Path | None) -> Backfill:
    rules = work.settings.reconcile.rules
    started = RunStarted(
        work.run_id,
        work.command,
        work.settings.reconcile.window,
        work.hooks.now(),
        __version__,
        rules.fingerprint(),
    )
    work.hooks.step("run: begin")
    work.ledger.begin_run(started)
    work.hooks.step("run: begun")
    ended = "failed"
    counts: dict[str, int] = {}
    try:
        result = _judge_and_apply(work, plan)
        ended, counts = _ending(result)
    except RefusedError:
        ended = "refused"
        raise
    finally:
        work.hooks.step("run: end")
        work.ledger.end_run(work.run_id, work.hooks.now(), ended, counts)
    return result


def _judge_and_apply(work: Slice, plan: Path | None) -> Backfill:
    if work.settings.apply:
        complete_unfinished(work)
    unsendable = tuple(work.ledger.refused_for_good())
    sent_before = tuple(work.ledger.sent_times())
    settings = replace(work.settings.reconcile, unsendable=unsendable, sent_before=sent_before)
    with judgement_file(settings.scratch) as kept:
        run = reconcile(
            settings,
            work.progress,
            now=work.hooks.now(),
            run_id=work.run_id,
            keep=kept if work.settings.apply else None,
        )
        return _apply(work, run, plan, kept)


def _apply(work: Slice, run: Run, plan: Path | None, judgement: Path) -> Backfill:
    work.hooks.step("plan: written")
    path = run.folder / PLAN_FILE
    work.ledger.record_plan(run.plan.sha256, work.run_id, read_header(path), str(path))
    work.hooks.step("plan: recorded")
    if not work.settings.apply or not (run.plan.events or plan):
        return Backfill(run, None)
    if run.ends_in_the_future:
        raise RefusedError(
            "LiteLLM's spend logs end in the future, so their times are not what the settings say",
            "Set RECONCILE_SOURCE_TIME_ZONE to the zone that LiteLLM's containers ran in, or correct their clock",
        )
    applied = apply_plan(work, run, plan)
    settled = (record.event.transaction_id for record in work.ledger.run_events(work.run_id) if record.verified)
    done = settle(work.settings.reconcile, run, applied, judgement, settled)
    ended(run.folder)
    return done


def _ending(result: Backfill) -> tuple[str, dict[str, int]]:
    counts = {kind.value: count for kind, count in result.run.kinds.items()}
    if result.applied is None:
        return "planned", {**counts, "planned": result.run.plan.events}
    outcomes = {outcome.value: count for outcome, count in result.applied.outcomes.items()}
    counts |= {"planned": result.run.plan.events, **outcomes, "verified": result.applied.verified}
    return ("applied" if result.applied.complete else "incomplete"), counts
