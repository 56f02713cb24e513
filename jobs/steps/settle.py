"""After an apply: judge again what was sent, without reading anything again, and let the files say what is left.

What the run found stays beside it: `summary-before.csv`, `discrepancies.csv` and the plan.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import orjson

from jobs.adapters.metrics import metrics_text
from jobs.adapters.page import render
from jobs.adapters.run_folder import replace_file
from jobs.adapters.workspace import Workspace
from jobs.core.certification import Reason, kind_reasons
from jobs.core.kinds import HoldReason, Kind
from jobs.core.lago.billing_rules import Unbilled
from jobs.core.laws import check_conservation
from jobs.core.money.statement import Money
from jobs.core.telling.metrics import findings_gauges
from jobs.core.telling.reports import OUTCOME_COLUMNS
from jobs.core.window import naive
from jobs.steps.ask_lago import ask_usage
from jobs.steps.backfill_values import Applied, Backfill
from jobs.steps.money import focus_lines, price_findings
from jobs.steps.outcomes import OUTCOMES_FILE
from jobs.steps.page import PAGE_FILE, Findings, applied_backfill, make_page
from jobs.steps.reconcile_values import Progress, ReconcileSettings, Run
from jobs.steps.report import FOCUS_FILE, METRICS_FILE, RUN_FILE, SUMMARY_FILE, subscription_totals, write_summary

BEFORE_FILE = "summary-before.csv"


@contextmanager
def judgement_file(scratch: Path | None) -> Iterator[Path]:
    """Give the path of a file that a judgement is kept in while its plan is applied; it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="litellm-lago-judgement-", dir=scratch) as folder:
        yield Path(folder) / "judgement.duckdb"


def settle(
    settings: ReconcileSettings,
    run: Run,
    applied: Applied,
    judgement: Path,
    progress: Progress,
) -> Backfill:
    """Return what the run found, what was applied and what is left, and write the run's files accordingly.

    What Lago shows as planned stands in the run's `outcomes.csv`; `judgement` is what `report_run` kept.
    """
    with (
        judgement_file(settings.scratch) as file,
        Workspace(file.parent, memory_limit=settings.memory_limit, threads=settings.threads) as workspace,
    ):
        with workspace.attached(judgement):
            workspace.run("adopt_judgement")
        columns = dict.fromkeys(OUTCOME_COLUMNS.names, "VARCHAR")
        workspace.run("take_settled_events", path=str(run.folder / OUTCOMES_FILE), columns=columns)
        workspace.run("settle_findings", start=naive(run.window.start), end=naive(run.window.end))
        workspace.run("settle_summary")
        workspace.run("settle_discrepancies")
        # What was sent has moved what Lago counts, and with it what the rest is worth.
        told = ask_usage(workspace, settings, run.catalogue, progress)
        money = price_findings(workspace, settings.rules, run.catalogue, told).found
        check_conservation(workspace.records("summary_rows"))
        left = _left(workspace, settings, run, applied, money)
        _write_summary(workspace, run.folder)
        replace_file(run.folder / FOCUS_FILE, focus_lines(workspace, run.catalogue, "focus_corrections"))
    done = Backfill(run, applied, left)
    replace_file(run.folder / PAGE_FILE, render(left.page))
    replace_file(run.folder / METRICS_FILE, [metrics_text(findings_gauges(done.measured))])
    _amend(run.folder / RUN_FILE, done)
    return done


def _left(workspace: Workspace, settings: ReconcileSettings, run: Run, applied: Applied, money: Money) -> Run:
    counts = workspace.rows("kind_counts")
    kinds = {kind: sum(row["count"] for row in counts if row["kind"] == kind) for kind in Kind}
    held = {HoldReason(row["reason"]): row["count"] for row in counts if row["kind"] == Kind.HELD}
    unbilled = {Unbilled(row["reason"]): row["count"] for row in counts if row["kind"] == Kind.RECORDED_UNBILLED}
    of_kinds = {kind.value for kind in Kind}
    reasons = (
        *(reason for reason in run.reasons if reason.code not in of_kinds),
        *_not_billed(applied),
        *kind_reasons(kinds, held, unbilled),
    )
    found = Findings(
        window=run.window,
        reasons=reasons,
        warnings=run.warnings,
        spend_logs=run.spend_logs,
        causes=run.causes,
        plan=run.plan,
        money=money,
    )
    outcomes = {outcome.value: count for outcome, count in applied.outcomes.items()}
    told = applied_backfill(run.plan, [reason.text for reason in run.reasons], outcomes, applied)
    totals = subscription_totals(workspace, settings.metrics_subscriptions)
    return replace(
        run,
        kinds=kinds,
        held=held,
        unbilled=unbilled,
        reasons=reasons,
        money=money,
        summary=tuple(workspace.rows("summary_head")),
        totals=tuple(workspace.rows("summary_totals")),
        page=replace(make_page(workspace, found), backfill=told),
        measured=replace(
            run.measured,
            certified=not reasons,
            kinds=kinds,
            held=held,
            unbilled=unbilled,
            totals=totals,
            money=money,
        ),
    )


def _not_billed(applied: Applied) -> Iterator[Reason]:
    """Yield why what was sent is not all billed: certified means billed, and not only recorded."""
    for sentence in applied.not_counted:
        yield Reason("not_counted", sentence, "Run it again later; if it stays so, look at the subscription in Lago.")
    if applied.on_record_only:
        yield Reason(
            "on_record_only",
            f"{applied.on_record_only:,} sent for a billing period that is over: Lago has them on record and does not "
            "bill them",
            "Charge them by hand.",
        )


def _write_summary(workspace: Workspace, folder: Path) -> None:
    shutil.copyfile(folder / SUMMARY_FILE, folder / BEFORE_FILE)
    aside = folder / f".{SUMMARY_FILE}.partial"
    write_summary(workspace, aside)
    aside.replace(folder / SUMMARY_FILE)


def _amend(path: Path, done: Backfill) -> None:
    """Let `run.json` say what is left, and under `before` what was found."""
    found: dict[str, Any] = orjson.loads(path.read_bytes())
    applied = done.applied
    assert applied is not None  # noqa: S101 - only an apply is settled
    left: Mapping[str, Any] = {
        "certified": done.left.certified,
        "reasons": [asdict(reason) for reason in done.left.reasons],
        "kinds": done.left.kinds,
        "held": done.left.held,
        "unbilled": done.left.unbilled,
        "totals": done.left.totals,
        "money": done.left.money.document(),
    }
    applied_told = {
        "outcomes": applied.outcomes,
        "not_tried": applied.unsent,
        "verified": applied.verified,
        "not_verified": applied.not_verified,
        "on_record_only": applied.on_record_only,
        "counted": applied.counted,
        "only_shown": applied.only_shown,
        "not_counted": applied.not_counted,
    }
    document = {
        **found,
        **left,
        "exit_code": done.exit_code,
        "applied": applied_told,
        "before": {name: found[name] for name in left},
    }
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
    replace_file(path, [text, b"\n"])
