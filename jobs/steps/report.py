"""From a judged workspace to a run's files: the laws are checked, the statement made, the report written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from jobs import __version__
from jobs.adapters.metrics import metrics_text
from jobs.adapters.page import render
from jobs.adapters.run_folder import RunFolder
from jobs.adapters.workspace import Workspace
from jobs.core.certification import (
    Reason,
    SourceFacts,
    metric_reasons,
    metric_warnings,
    reasons_against,
    window_reasons,
)
from jobs.core.doubts import Elsewhere, Late, setting_doubts
from jobs.core.durations import in_words
from jobs.core.kinds import ChargeBy, HoldReason, Kind
from jobs.core.lago.billing_rules import Unbilled
from jobs.core.lago.filter_values import Chosen, undeclared_values
from jobs.core.laws import check_accounting, check_conservation, check_unbilled
from jobs.core.litellm.usage_evidence import MOST_NAMED, UsageEvidence
from jobs.core.money.statement import Money
from jobs.core.patterns import Explanation
from jobs.core.telling.metrics import Measured, SubscriptionTotal, bounded, findings_gauges
from jobs.core.telling.reports import DAILY_COLUMNS, DISCREPANCY_COLUMNS, SUMMARY_COLUMNS, USAGE_COLUMNS
from jobs.steps.ask_lago import ask_other_codes, ask_usage
from jobs.steps.causes import find_causes
from jobs.steps.counts import Counts, judge_counts
from jobs.steps.money import compared_properties, focus_lines, price_findings
from jobs.steps.page import PAGE_FILE, Findings, make_page
from jobs.steps.plan import PlanRequest, PlanSummary, Writing, choose_events, plan_worth, write_plan
from jobs.steps.reconcile_values import Doubt, Judged, Progress, Run, told_settings

METRICS_FILE, SUMMARY_FILE, RUN_FILE, FOCUS_FILE = "metrics.txt", "summary.csv", "run.json", "focus.csv"


@dataclass(frozen=True, slots=True)
class _Found:
    """What is known beyond the single discrepancies."""

    source: SourceFacts
    """What decides whether the sources are complete."""
    shared_keys: int
    """Keys that serve more than one end user."""
    possible_top_ups: int
    """Mismatched events that a top-up would complete."""
    causes: tuple[Explanation, ...]
    doubts: tuple[Doubt, ...]
    money: Money
    counts: Counts
    plan: PlanSummary


def report_run(
    judged: Judged,
    folder: RunFolder,
    progress: Progress,
    *,
    now: datetime,
    run_id: str,
    keep: Path | None = None,
) -> Run:
    """Check what was judged, and write the run's files.

    `keep` is a file for what the files are made from, for `jobs.steps.settle` once the plan was applied.
    """
    workspace, settings, reading, window_facts = judged.workspace, judged.settings, judged.reading, judged.window_facts
    progress.step("checking and reporting")
    request = PlanRequest(settings.window, settings.rules, settings.caps, settings.only)
    choose_events(workspace, request)
    workspace.run("collect_sides")
    told = ask_usage(workspace, settings, reading.catalogue, progress)
    money = price_findings(workspace, settings.rules, reading.catalogue, told)
    counts = judge_counts(workspace, settings, reading.catalogue, told, progress, now=now)
    writing = Writing(reading.layout, reading.bound, reading.catalogue)
    plan = write_plan(workspace, folder, request, writing, money.planned)
    causes = find_causes(
        workspace,
        settings.rules,
        settings.window,
        window_facts,
        logs_users_of_headers=judged.reading.schema.logs_users_of_headers,
    )
    (facts,) = workspace.rows("source_facts")
    found = _Found(
        shared_keys=facts.pop("shared_keys"),
        possible_top_ups=facts.pop("possible_top_ups"),
        source=SourceFacts(
            **facts,
            settled_until=now - settings.rules.settlement_lag,
            now=now,
            oldest_spend_log=reading.bounds.oldest_start,
            newest_spend_log=reading.bounds.newest_end,
            legacy_rows=reading.legacy_rows,
        ),
        causes=causes,
        doubts=_doubts(judged, causes, progress),
        money=money.found,
        counts=counts,
        plan=plan,
    )
    run = _conclude(judged, found, folder.path, run_id)
    _report(folder, judged, found.source, run)
    if keep is not None:
        with workspace.keeping(keep):
            workspace.run("keep_judgement")
    return run


def _doubts(judged: Judged, causes: tuple[Explanation, ...], progress: Progress) -> tuple[Doubt, ...]:
    """Return the settings that the findings speak against, each with the planned events that it could touch."""
    workspace = judged.workspace
    (matched,) = workspace.rows("count_matched")
    may_pin = judged.reading.schema.may_pin_end_users and judged.settings.rules.charge_by is ChargeBy.END_USER_ID
    elsewhere = [] if may_pin else [Elsewhere(**row) for row in workspace.rows("count_elsewhere")]
    late = [Late(**row) for row in workspace.rows("count_late")]
    other_codes = ask_other_codes(workspace, judged.settings, progress)
    found = []
    for doubt in setting_doubts(causes, judged.window_facts, matched["events"], elsewhere, late, other_codes):
        names = {"codes": doubt.codes, "models": doubt.models, "subscriptions": doubt.subscriptions}
        (touched,) = workspace.rows("count_touched", **{name: list(values) for name, values in names.items()})
        found.append(Doubt(doubt, touched["events"]))
    return tuple(found)


def _conclude(judged: Judged, beyond: _Found, path: Path, run_id: str) -> Run:
    workspace, settings, reading, window_facts = judged.workspace, judged.settings, judged.reading, judged.window_facts
    spend_logs = workspace.rows("count_spend_logs")
    dispositions: dict[str, int] = {}
    for row in spend_logs:
        dispositions[row["disposition"]] = dispositions.get(row["disposition"], 0) + row["spend_logs"]
    check_accounting(beyond.source.spend_logs_read, dispositions)
    check_conservation(workspace.records("summary_rows"))
    check_unbilled(workspace.rows("summary_totals"), workspace.rows("unbilled_counts"))
    counts = workspace.rows("kind_counts")
    kinds = {kind: sum(row["count"] for row in counts if row["kind"] == kind) for kind in Kind}
    held = {HoldReason(row["reason"]): row["count"] for row in counts if row["kind"] == Kind.HELD}
    unbilled = {Unbilled(row["reason"]): row["count"] for row in counts if row["kind"] == Kind.RECORDED_UNBILLED}
    first_seen = tuple(workspace.rows("first_seen_end_users"))
    (not_allowed,) = workspace.rows("count_not_allowed") if settings.rules.allowed is not None else [{"spend_logs": 0}]
    evidence = UsageEvidence(workspace.rows("unbilled_spend", most=MOST_NAMED), workspace.rows("unknown_call_types"))
    codes = {item.part.code for item in reading.bound}
    metered = [metric for metric in reading.catalogue.metrics if metric.code in codes]
    warnings = (
        *evidence.warnings(),
        *beyond.counts.warnings(),
        *metric_warnings(metered),
        *_warnings(judged, beyond),
        *_abuses(first_seen, not_allowed["spend_logs"]),
    )
    found = Findings(
        window=settings.window,
        reasons=(
            *(_doubt_reason(doubt) for doubt in beyond.doubts),
            *beyond.counts.reasons(),
            *window_reasons(window_facts, settings.rules.settlement_lag),
            *reasons_against(settings.window, beyond.source, kinds, held, unbilled),
            *evidence.reasons(),
            *metric_reasons(metered),
        ),
        warnings=warnings,
        spend_logs=tuple(spend_logs),
        causes=beyond.causes,
        plan=beyond.plan,
        money=beyond.money,
    )
    measured = Measured(
        window=settings.window,
        certified=not found.reasons,
        kinds=kinds,
        held=held,
        unbilled=unbilled,
        totals=subscription_totals(workspace, settings.metrics_subscriptions),
        planned=beyond.plan.events,
        money=beyond.money,
    )
    return Run(
        run_id=run_id,
        window=settings.window,
        folder=path,
        kinds=kinds,
        held=held,
        unbilled=unbilled,
        reasons=found.reasons,
        warnings=found.warnings,
        summary=tuple(workspace.rows("summary_head")),
        totals=tuple(workspace.rows("summary_totals")),
        spend_logs=found.spend_logs,
        causes=beyond.causes,
        window_facts=window_facts,
        first_seen=first_seen,
        plan=beyond.plan,
        doubts=beyond.doubts,
        money=beyond.money,
        counts=beyond.counts.document(),
        page=make_page(workspace, found),
        measured=measured,
        ends_in_the_future=beyond.source.ends_in_the_future,
        catalogue=reading.catalogue,
    )


def subscription_totals(workspace: Workspace, most: int) -> tuple[SubscriptionTotal, ...]:
    """Return the quantities of at most so many subscriptions of each code, and of all others together."""
    rows = workspace.rows("subscription_totals", most=most)
    totals = (
        SubscriptionTotal(
            row["subscription"],
            row["code"],
            expected=Decimal(row["expected_quantity"]),
            recorded=Decimal(row["recorded_quantity"]),
            missing=Decimal(row["missing_quantity"]),
            surplus=Decimal(row["surplus_quantity"]),
            at_stake=Decimal(row["at_stake"]),
        )
        for row in rows
    )
    return bounded(totals, most)


def _doubt_reason(doubt: Doubt) -> Reason:
    setting = doubt.setting
    text = f"{setting.variable} is probably wrong: {setting.text}"
    if doubt.touched:
        text += f"; {doubt.touched:,} planned events could be touched and are refused"
    return Reason("setting_in_doubt", text, setting.next_step)


def _warnings(judged: Judged, beyond: _Found) -> Iterator[str]:
    rules, reading, window_facts = judged.settings.rules, judged.reading, judged.window_facts
    if window_facts.late_events and window_facts.longest_delay <= rules.settlement_lag:
        yield (
            f"Events that came late and were matched all the same: {window_facts.late_events}, up to "
            f"{in_words(window_facts.longest_delay)} after the call. Raise RECONCILE_LATE if such delays are usual"
        )
    if rules.charge_by is ChargeBy.END_USER_ID and beyond.shared_keys and reading.schema.may_pin_end_users:
        yield (
            f"API keys that serve more than one end user: {beyond.shared_keys}. LiteLLM 1.60 to 1.90, whose schema "
            "this is, log a wrong end_user then: charge by key, team or user instead"
        )
    if beyond.possible_top_ups and not rules.top_up:
        yield (
            f"Events that bill less than was used and can be completed: {beyond.possible_top_ups}. Top-ups "
            "(RECONCILE_TOP_UP) would bill the difference"
        )
    if not all(row.payer_is_told for row in reading.catalogue.subscriptions):
        yield (
            "The key may not read customers: their billing periods are taken to begin at midnight of UTC, and their "
            "invoices to be final at once. Give it that permission in Lago"
        )
    chosen = (
        Chosen(
            row["code"],
            dict(compared_properties(row["code"], reading.bound, row["model"], row["dimensions"])),
            row["events"],
        )
        for row in judged.workspace.rows("chosen_prices")
    )
    yield from undeclared_values(chosen, reading.catalogue)
    if reading.dead_letters:
        yield (
            f"Events that Lago accepted and will never bill: {reading.dead_letters}. They lie in its ClickHouse table "
            "events_dead_letter, with the reason, and their calls are missing here: replay them there or let a "
            "backfill send them, never both"
        )


def _abuses(first_seen: tuple[Mapping[str, Any], ...], not_allowed: int) -> Iterator[str]:
    """Tell of what looks like a client that charges somebody else; what Lago has already can only be told."""
    others = sum(row["others"] for row in first_seen)
    if others:
        yield (
            f"End users that a key or team names for the first time, and that other keys named before: {others}"
            f"{' or more' if others == len(first_seen) < first_seen[0]['found'] else ''}. A client may charge somebody "
            "else: see first_seen in run.json; RECONCILE_ALLOWED_FILE says who may name whom"
        )
    if not_allowed:
        yield (
            f"Spend logs whose key and team may not name their subscription, and whose events Lago has: {not_allowed}. "
            "Find out who used the key; credit them in Lago"
        )


def _report(folder: RunFolder, judged: Judged, source: SourceFacts, run: Run) -> None:
    workspace, settings, reading = judged.workspace, judged.settings, judged.reading
    rows = {
        "discrepancies.csv": workspace.write_csv(
            folder.file("discrepancies.csv"), DISCREPANCY_COLUMNS, "discrepancies"
        ),
        SUMMARY_FILE: write_summary(workspace, folder.file(SUMMARY_FILE)),
        "usage.csv": workspace.write_csv(folder.file("usage.csv"), USAGE_COLUMNS, "usage_by_day"),
        "daily.csv": workspace.write_csv(folder.file("daily.csv"), DAILY_COLUMNS, "daily_differences"),
    }
    folder.write_lines(FOCUS_FILE, focus_lines(workspace, reading.catalogue, "focus_corrections"))
    folder.write_lines(PAGE_FILE, render(run.page))
    folder.write_lines(METRICS_FILE, [metrics_text(findings_gauges(run.measured))])
    folder.write_json(
        RUN_FILE,
        {
            "run_id": run.run_id,
            "version": __version__,
            "exit_code": run.exit_code,
            "started_at": source.now.astimezone(UTC),
            "window": {"start": settings.window.start, "end": settings.window.end},
            "certified": run.certified,
            "reasons": [asdict(reason) for reason in run.reasons],
            "warnings": run.warnings,
            "spend_logs": run.spend_logs,
            "kinds": run.kinds,
            "held": run.held,
            "unbilled": run.unbilled,
            "not_billed_by_lago": workspace.rows("unbilled_counts"),
            "totals": run.totals,
            "money": run.money.document(),
            "lago_counts": run.counts,
            "first_seen": run.first_seen,
            "unbilled_spend": workspace.rows("unbilled_spend", most=MOST_NAMED),
            "unknown_call_types": workspace.rows("unknown_call_types"),
            "late": {
                "events": run.window_facts.late_events,
                "longest_seconds": run.window_facts.longest_delay // timedelta(seconds=1),
            },
            "settings_in_doubt": [
                {"cause": doubt.setting.cause, "variable": doubt.setting.variable, "planned_events": doubt.touched}
                for doubt in run.doubts
            ],
            "causes": [_cause(explanation) for explanation in run.causes],
            "plan": {
                "sha256": run.plan.sha256,
                "events": run.plan.events,
                "worth": plan_worth(run.plan.worth),
                "caps_exceeded": run.plan.exceeded,
            },
            "sources": {
                **asdict(source),
                "postgres_version": reading.schema.server_version,
                "spend_log_columns": sorted(reading.schema.columns),
                "partitioned": reading.schema.partitioned,
                "has_start_time_index": reading.schema.has_start_time_index,
                "event_store": reading.catalogue.organization.event_store,
            },
            "rows": rows,
            "settings": told_settings(settings),
        },
    )


def _cause(explanation: Explanation) -> dict[str, Any]:
    return {
        "cause": explanation.cause,
        "events": explanation.events,
        "kinds": explanation.kinds,
        "missing_quantity": explanation.missing,
        "surplus_quantity": explanation.surplus,
        "tokens": explanation.tokens,
        "spend": f"{explanation.spend:f}",
        "subscriptions": explanation.subscription_count,
        "first_time": explanation.first_time and explanation.first_time.replace(tzinfo=UTC),
        "last_time": explanation.last_time and explanation.last_time.replace(tzinfo=UTC),
        "statement": explanation.statement,
        "next_step": explanation.next_step,
    }


def write_summary(workspace: Workspace, path: Path) -> int:
    """Write the rows of `summary.csv` to a file, and return their number."""
    return workspace.write_csv(path, SUMMARY_COLUMNS, "summary_rows", "summary_totals")
