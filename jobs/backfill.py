"""Use case: plan what is missing, refuse or apply the plan, and verify that Lago has it and counts it.

Lago alone decides what is still missing: every run, also one after a crash, starts by reading both sides again. The
ledger is told everything and asked nothing, but for ids that Lago has refused for good.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from jobs import __version__
from jobs.adapters.ledger import Ledger
from jobs.core.ledger_values import RunStarted
from jobs.errors import RefusedError
from jobs.reconcile import reconcile
from jobs.steps.apply import apply_plan
from jobs.steps.backfill_values import Backfill, BackfillSettings, Hooks, Work
from jobs.steps.plan_files import PLAN_FILE, read_header, window_of_plan
from jobs.steps.reconcile_values import Progress, Run
from jobs.steps.room import RoomWatch
from jobs.steps.settle import judgement_file, settle
from jobs.steps.unfinished import complete_unfinished, ended


def backfill(
    settings: BackfillSettings, progress: Progress, hooks: Hooks, *, run_id: str, command: str, plan: Path | None = None
) -> Backfill:
    """Judge the window as a whole, as `reconcile` does, and apply what is missing; with a plan file, only its events.

    Raises `RefusedError` before anything is sent where a plan is stale, edited or over a cap, where a setting that may
    touch it is in doubt, or where another run holds the lock.
    """
    progress = RoomWatch(progress, settings.reconcile.output)
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger.open(settings.ledger_url, now=hooks.now))
        lock = stack.enter_context(ledger.run_lock(run_id)) if settings.apply else None
        if plan is not None:
            window = window_of_plan(plan, settings.reconcile.rules)
            settings = replace(settings, reconcile=replace(settings.reconcile, window=window))
        return _work(Work(settings, progress, hooks, ledger, lock, run_id, command), plan)


def _work(work: Work, plan: Path | None) -> Backfill:
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


def _judge_and_apply(work: Work, plan: Path | None) -> Backfill:
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


def _apply(work: Work, run: Run, plan: Path | None, judgement: Path) -> Backfill:
    work.hooks.step("plan: written")
    path = run.folder / PLAN_FILE
    work.ledger.record_plan(run.plan.sha256, work.run_id, read_header(path), str(path))
    work.hooks.step("plan: recorded")
    if not work.settings.apply:
        return Backfill(run, None)
    _refuse_doubtful(work, run)
    if not (run.plan.events or plan):
        return Backfill(run, None)
    if run.ends_in_the_future:
        raise RefusedError(
            "LiteLLM's spend logs end in the future, so their times are not what the settings say",
            "Set RECONCILE_SOURCE_TIME_ZONE to the zone that LiteLLM's containers ran in, or correct their clock",
        )
    applied = apply_plan(work, run, plan)
    done = settle(work.settings.reconcile, run, applied, judgement, work.progress)
    ended(run.folder)
    return done


def _refuse_doubtful(work: Work, run: Run) -> None:
    """Refuse to send where the run has found that a setting is wrong that could touch it, unless told by name."""
    despite = work.settings.send_despite
    doubts = [doubt for doubt in run.doubts if doubt.refuses and doubt.setting.cause not in despite]
    if doubts:
        raise RefusedError(
            "; ".join(f"{doubt.setting.variable} is probably wrong: {doubt.setting.text}" for doubt in doubts),
            " ".join(doubt.setting.next_step for doubt in doubts),
        )


def _ending(result: Backfill) -> tuple[str, dict[str, int]]:
    counts = {kind.value: count for kind, count in result.run.kinds.items()}
    if result.applied is None:
        return "planned", {**counts, "planned": result.run.plan.events}
    outcomes = {outcome.value: count for outcome, count in result.applied.outcomes.items()}
    counts |= {"planned": result.run.plan.events, **outcomes, "verified": result.applied.verified}
    return ("applied" if result.applied.complete else "incomplete"), counts
