"""Use case: report usage per subscription, model and day or month, from LiteLLM's PostgreSQL alone.

Where revenue is asked for, Lago is asked what it bills for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from jobs.adapters.litellm_database import Patience, open_spend_logs
from jobs.adapters.page.usage import render_usage
from jobs.adapters.run_folder import RunFolder
from jobs.adapters.workspace import Workspace
from jobs.core.certification import Reason, SourceFacts, source_reasons
from jobs.core.database.settings import DatabaseSettings
from jobs.core.laws import check_accounting
from jobs.core.layout import Layout, lay_out
from jobs.core.litellm.spend_logs import SourceClock, SpendLogsBounds, SpendLogsSchema
from jobs.core.money.pricing import PricedBucket
from jobs.core.money.revenue import Revenue
from jobs.core.periods import DaySpan, PeriodLength
from jobs.core.rules import Rules
from jobs.core.telling.reports import COMPARISON_COLUMNS, USAGE_REPORT_COLUMNS
from jobs.core.telling.usage_values import (
    CACHED,
    COMPARED,
    REASONING,
    USAGE_OBJECTS,
    Change,
    UsageSum,
    change,
    comparison_texts,
    plain,
)
from jobs.core.window import Window, naive
from jobs.reconcile import folder_name
from jobs.steps.match import account
from jobs.steps.money import focus_lines
from jobs.steps.read import load_marks, refuse_future
from jobs.steps.reconcile_values import Progress
from jobs.steps.references import load_accounting
from jobs.steps.revenue import RevenueAsked, bill_usage, bind_meter, revenue_of

# A page that lists more is not read; usage.csv has all.
_MOST_ON_PAGE = 100


@dataclass(frozen=True, slots=True)
class UsageSettings:
    """What a usage report has to hold."""

    days: DaySpan
    """The days to report."""
    by: PeriodLength
    """What it adds up over."""
    compare: bool
    """Whether to compare with the same days of an earlier month."""
    token_parts: bool
    """Whether to read cached and reasoning tokens out of the metadata."""
    rules: Rules
    """Who is charged for a spend log, and what is excluded; the same as for reconciling. The meter is for revenue."""
    memory_limit: str
    """Of the workspace, such as `1GB`."""
    output: Path
    """The folder that the report's folder is put into."""
    database: DatabaseSettings
    """LiteLLM's database."""
    clock: SourceClock
    """How to read its times."""
    statement_timeout: timedelta
    """The longest query there."""
    patience: Patience
    """How long to try to connect."""
    threads: int | None = None
    """Of the workspace; all cores where None."""
    scratch: Path | None = None
    """Where the workspace lies; in the report's folder where None."""
    revenue: RevenueAsked | None = None
    """Where to ask what the usage is billed at; None if revenue is not wanted."""

    @property
    def read(self) -> Window:
        """Return the time from the first day that is compared to the last one that is reported."""
        window = self.days.window
        return Window(self.days.previous().window.start, window.end) if self.compare else window


@dataclass(frozen=True, slots=True)
class Usage:
    """The figures of a usage report that the caller shows; the folder holds everything."""

    run_id: str
    settings: UsageSettings
    folder: Path
    reasons: tuple[Reason, ...]
    """Why the spend logs may be incomplete; empty if nothing shows that they are."""
    total: UsageSum
    """Over everything that was not excluded."""
    sums: Mapping[str, tuple[UsageSum, ...]]
    """By `period` in order of time; by `subscription` and `model`, the greatest spend first."""
    dispositions: tuple[Mapping[str, Any], ...]
    """Spend logs and tokens that are attributed, unattributed, or excluded under a reason."""
    changes: Mapping[str, Change]
    """How the totals moved against the compared days; empty where nothing was compared."""
    revenue: Revenue | None = None
    """What Lago bills for it; None where that was not asked for."""

    @property
    def complete(self) -> bool:
        """Tell whether the spend logs hold everything about these days."""
        return not self.reasons


def usage(settings: UsageSettings, progress: Progress, *, now: datetime, run_id: str) -> Usage:
    """Report the days and leave the report's folder; raise an error of `jobs.errors` and leave nothing."""
    window = settings.days.window
    refuse_future(window, now)
    with RunFolder(settings.output, f"{folder_name(window, run_id)}-usage", settings.scratch) as folder:
        for left in folder.removed:
            progress.note(f"removed {left}, which a run that was killed had left unfinished")
        with Workspace(folder.scratch, memory_limit=settings.memory_limit, threads=settings.threads) as workspace:
            meter = None
            if settings.revenue is not None:
                progress.step("reading Lago's catalogue")
                meter = bind_meter(settings.revenue, settings.rules)
            also = USAGE_OBJECTS if settings.token_parts else ()
            layout = lay_out(meter.bound if meter else (), settings.rules.charge_by_path, None, also)
            progress.step("reading spend logs")
            schema, bounds, legacy_rows = _read_spend_logs(workspace, settings, layout, progress)
            progress.step("adding up")
            _account(workspace, settings, schema, layout)
            buckets: tuple[PricedBucket, ...] = ()
            if settings.revenue is not None and meter is not None:
                progress.step("asking Lago what it bills")
                buckets = bill_usage(
                    workspace, settings.revenue, settings.rules, meter, layout, settings.days.window, progress
                )
            workspace.run("report_usage")
            facts = _facts(workspace, settings, bounds, legacy_rows, now)
            revenue = None if meter is None else revenue_of(workspace, buckets)
            told = _conclude(workspace, settings, facts, folder.path, run_id, revenue)
            progress.step("reporting")
            if meter is not None:
                folder.write_lines("focus.csv", focus_lines(workspace, meter.catalogue, "focus_usage"))
            _report(folder, workspace, told, schema, facts, now)
        folder.discard_scratch()
    return told


def _read_spend_logs(
    workspace: Workspace, settings: UsageSettings, layout: Layout, progress: Progress
) -> tuple[SpendLogsSchema, SpendLogsBounds, int | None]:
    with open_spend_logs(
        settings.database,
        statement_timeout=settings.statement_timeout,
        patience=settings.patience,
        on_failed_attempt=lambda failed: progress.note(
            f"attempt {failed.number} of {failed.attempts} to reach {failed.address} failed: {failed.reason}"
        ),
    ) as spend_logs:
        spend_logs.require_zone(settings.clock)
        # Where a request id can stand twice, the first row has to be read too, which may lie before these days.
        unique = spend_logs.schema.request_ids_are_unique
        window = settings.read if unique else settings.rules.read_window(settings.read)
        longest_call = settings.rules.longest_call
        workspace.load(
            "load_spend_logs",
            spend_logs.read(
                window,
                clock=settings.clock,
                longest_call=longest_call,
                metadata_paths=[path.split(".") for path in layout.metadata_paths],
            ),
        )
        read_all = partial(spend_logs.read_all_marks, window, clock=settings.clock, longest_call=longest_call)
        load_marks(workspace, spend_logs, read_all, "ask_about_all")
        return (
            spend_logs.schema,
            spend_logs.bounds(settings.clock),
            spend_logs.count_legacy(settings.days.window, clock=settings.clock, longest_call=longest_call),
        )


def _account(workspace: Workspace, settings: UsageSettings, schema: SpendLogsSchema, layout: Layout) -> None:
    spans = {"report": settings.days} | ({"compared": settings.days.previous()} if settings.compare else {})
    workspace.insert(
        "reporting_period",
        (
            (span, period.name, naive(period.window.start), naive(period.window.end))
            for span, days in spans.items()
            for period in days.periods(settings.by)
        ),
    )
    load_accounting(workspace, settings.rules, charge_by_place=layout.charge_by_place)
    account(
        workspace,
        settings.rules,
        settings.read,
        charge_by_place=layout.charge_by_place,
        bills_spend=False,
        ids_are_unique=schema.request_ids_are_unique,
        excludes_internal_calls=True,
    )
    workspace.run(
        "add_up_usage",
        usage_places=[layout.metadata_paths.index(name) + 1 for name in USAGE_OBJECTS if settings.token_parts],
        cached=list(CACHED),
        reasoning=list(REASONING),
    )


def _facts(
    workspace: Workspace, settings: UsageSettings, bounds: SpendLogsBounds, legacy_rows: int | None, now: datetime
) -> SourceFacts:
    window = settings.days.window
    (counted,) = workspace.rows("usage_facts", start=naive(window.start), end=naive(window.end))
    return SourceFacts(
        **counted,
        settled_until=now - settings.rules.settlement_lag,
        now=now,
        oldest_spend_log=bounds.oldest_start,
        newest_spend_log=bounds.newest_end,
        legacy_rows=legacy_rows,
        recorded_events=0,
        unreadable_events=0,
        daily_requests=None,
        daily_differences=0,
    )


def _conclude(
    workspace: Workspace,
    settings: UsageSettings,
    facts: SourceFacts,
    path: Path,
    run_id: str,
    revenue: Revenue | None,
) -> Usage:
    dispositions = workspace.rows("usage_dispositions")
    counted: dict[str, int] = {}
    for row in dispositions:
        counted[row["disposition"]] = counted.get(row["disposition"], 0) + row["spend_logs"]
    check_accounting(facts.spend_logs_read, counted)
    total, sums = _sums(workspace, "report")
    changes: dict[str, Change] = {}
    if settings.compare:
        then, _ = _sums(workspace, "compared")
        changes = {name: change(getattr(total, name), getattr(then, name)) for name in COMPARED}
    return Usage(
        run_id=run_id,
        settings=settings,
        folder=path,
        reasons=source_reasons(settings.days.window, facts),
        total=total,
        sums=sums,
        dispositions=tuple(dispositions),
        changes=changes,
        revenue=revenue,
    )


def _sums(workspace: Workspace, span: str) -> tuple[UsageSum, dict[str, tuple[UsageSum, ...]]]:
    found: dict[str, list[UsageSum]] = {"total": [], "period": [], "subscription": [], "model": []}
    for row in workspace.records("usage_sums", span=span):
        found[row.pop("grouped_by")].append(UsageSum(**row))
    (total,) = found.pop("total")
    return total, {name: tuple(sums) for name, sums in found.items()}


def _report(
    folder: RunFolder, workspace: Workspace, told: Usage, schema: SpendLogsSchema, facts: SourceFacts, now: datetime
) -> None:
    settings = told.settings
    rows = {"usage.csv": workspace.write_csv(folder.file("usage.csv"), USAGE_REPORT_COLUMNS, "usage_texts")}
    workspace.run("write_usage", path=str(folder.file("usage.parquet")))
    if settings.compare:
        from jobs.adapters.frames import write_frames  # noqa: PLC0415 - pandas takes long to import, only for this

        compared = map(comparison_texts, workspace.records("compare_usage"))
        write_frames(folder.file("comparison.csv"), COMPARISON_COLUMNS, compared)
    folder.write_lines("usage.html", [_page(told)])
    folder.write_json(
        "run.json",
        {
            "run_id": told.run_id,
            "started_at": now.astimezone(UTC),
            "days": {"first": settings.days.first, "after": settings.days.after, "time_zone": str(settings.days.zone)},
            "window": {"start": settings.days.window.start, "end": settings.days.window.end},
            "by": settings.by,
            "complete": told.complete,
            "reasons": [asdict(reason) for reason in told.reasons],
            "spend_logs": told.dispositions,
            "total": _texts(told.total),
            "changes": {name: _moved(moved) for name, moved in told.changes.items()},
            "revenue": None if told.revenue is None else told.revenue.document(),
            "sources": {
                "oldest_spend_log": facts.oldest_spend_log,
                "newest_spend_log": facts.newest_spend_log,
                "postgres_version": schema.server_version,
                "partitioned": schema.partitioned,
                "has_start_time_index": schema.has_start_time_index,
            },
            "rows": rows,
        },
    )


def _texts(line: UsageSum) -> dict[str, str | None]:
    """Return a line's figures as text: a sum may be beyond what readers of JSON hold exactly."""
    figures = {field.name: getattr(line, field.name) for field in fields(line) if field.name != "name"}
    return {name: None if figure is None else plain(figure) for name, figure in figures.items()}


def _moved(moved: Change) -> dict[str, str | None]:
    return {
        "absolute": plain(moved.absolute),
        "percent": None if moved.percent is None else plain(moved.percent),
    }


def _page(told: Usage) -> bytes:
    settings = told.settings
    return render_usage(
        days=settings.days,
        last=settings.days.after - timedelta(days=1),
        by=settings.by.value,
        compared=settings.days.previous() if settings.compare else None,
        told=told,
        most=_MOST_ON_PAGE,
        unattributed=_unattributed(told.dispositions),
    )


def _unattributed(dispositions: Iterable[Mapping[str, Any]]) -> int:
    return sum(row["spend_logs"] for row in dispositions if row["disposition"] == "unattributed")
