"""Use case: read both sides, match them, report. Never writes to Lago."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from jobs.adapters.lago.catalogue import read_catalogue
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.litellm_database import Patience, SpendLogs, open_spend_logs
from jobs.adapters.metrics import metrics_text
from jobs.adapters.page import render
from jobs.adapters.run_folder import RunFolder
from jobs.adapters.workspace import Workspace
from jobs.causes import find_causes
from jobs.core.caps import Caps, PlanFilter
from jobs.core.causes import Explanation
from jobs.core.certification import Reason, SourceFacts, reasons_against
from jobs.core.database_settings import DatabaseSettings
from jobs.core.kinds import ChargeBy, HoldReason, Kind
from jobs.core.lago_values import Catalogue, LagoConnection, Organization
from jobs.core.laws import check_accounting, check_conservation
from jobs.core.layout import Layout, lay_out
from jobs.core.meters import BoundPart, bind
from jobs.core.metrics import Measured, SubscriptionTotal, bounded, findings_gauges
from jobs.core.page import Page
from jobs.core.reports import DAILY_COLUMNS, DISCREPANCY_COLUMNS, SUMMARY_COLUMNS, USAGE_COLUMNS
from jobs.core.rules import Rules
from jobs.core.shard import WHOLE, Shard, spend_log_shard
from jobs.core.spend_log_values import DailyTable, SourceClock, SpendLogsBounds, SpendLogsSchema
from jobs.core.store_values import Store
from jobs.core.window import Window
from jobs.errors import SettingError
from jobs.event_source import EventsAsked, read_recorded_events
from jobs.matching import judge_left_over, load_references, match_within, naive, whole_days
from jobs.planning import PlanRequest, PlanSummary, write_plan
from jobs.postgres import STANDBY_MAY_LAG
from jobs.report_page import PAGE_FILE, Findings, make_page

METRICS_FILE = "metrics.txt"
# LiteLLM's own daily totals, where it keeps some by the value that attributes.
_DAILY_TABLES = {
    ChargeBy.END_USER_ID: DailyTable.END_USER,
    ChargeBy.USER_ID: DailyTable.USER,
    ChargeBy.TEAM_ID: DailyTable.TEAM,
}


@dataclass(frozen=True, slots=True)
class ReconcileSettings:
    """What one run is asked to do."""

    window: Window
    """What is judged."""
    rules: Rules
    """How spend logs become expected events and how these are matched."""
    caps: Caps
    """The most that a plan may hold."""
    memory_limit: str
    """Of the workspace, such as `1GB`."""
    output: Path
    """The folder that the run's folder is put into."""
    database: DatabaseSettings
    """LiteLLM's database."""
    clock: SourceClock
    """How to read its times."""
    statement_timeout: timedelta
    """The longest query there."""
    patience: Patience
    """How long to try to connect."""
    lago: LagoConnection
    """Lago's API."""
    store: Store | None = None
    """Lago's own store, where recorded events are read from it and not through the API."""
    only: PlanFilter = field(default_factory=PlanFilter)
    """Which part of what is missing goes into the plan."""
    sent_before: tuple[tuple[str, int], ...] = ()
    """(id, timestamp in milliseconds) of events that earlier runs sent or may have sent."""
    unsendable: tuple[str, ...] = ()
    """Ids that Lago has refused before because it keeps a deleted event of that id."""
    look_back: timedelta = timedelta(0)
    """How far before the window an end user counts as known to a key or team; zero tells no new ones."""
    threads: int | None = None
    """Of the workspace; all cores where None."""
    shard: Shard = WHOLE
    """Which subscriptions this process works on."""
    scratch: Path | None = None
    """The folder for working files, where they shall not lie in the output folder."""
    metrics_subscriptions: int = 20
    """Subscriptions that metrics tell one by one, of each code."""


class Progress(Protocol):
    """Where a run says what it is doing."""

    def step(self, name: str) -> None:
        """Begin the step of this name."""

    def note(self, text: str) -> None:
        """Say something about the step."""

    def count(self, done: int, total: int | None) -> None:
        """Say how far the step is; `total` is None while it is not known."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a run found, for the caller to show; the folder holds everything."""

    run_id: str
    window: Window
    folder: Path
    kinds: Mapping[Kind, int]
    """Discrepancies by kind: events, or spend logs for `unattributed`."""
    held: Mapping[HoldReason, int]
    """Held events by reason."""
    reasons: tuple[Reason, ...]
    """Why the window is not certified; empty if it is."""
    warnings: tuple[str, ...]
    """What a person should know besides."""
    summary: tuple[Mapping[str, Any], ...]
    """The rows of `summary.csv` with the most discrepancies, at most 15."""
    totals: tuple[Mapping[str, Any], ...]
    """Its TOTAL rows, one per code."""
    spend_logs: tuple[Mapping[str, Any], ...]
    """Spend logs and tokens by disposition and reason."""
    causes: tuple[Explanation, ...]
    """Why the discrepancies came about, the most frequent cause first; each discrepancy counts under one."""
    first_seen: tuple[Mapping[str, Any], ...]
    """End users that a key or team names for the first time, the suspicious ones first, at most 100."""
    plan: PlanSummary
    """What could be sent."""
    page: Page
    """What `report.html` says."""
    measured: Measured
    """What `metrics.txt` says."""
    ends_in_the_future: bool
    """The source's clock or time zone cannot be right, so nothing may be sent."""
    catalogue: Catalogue
    """What Lago knows, as the run read it."""

    @property
    def certified(self) -> bool:
        """Tell whether the window is certified."""
        return not self.reasons

    @property
    def billing_discrepancies(self) -> int:
        """Count the discrepancies but for held events of no quantity, which bill nothing."""
        return sum(self.kinds.values()) - self.held.get(HoldReason.ZERO_QUANTITY, 0)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a run has read, besides the rows in its workspace."""

    catalogue: Catalogue
    """What Lago knows."""
    bound: tuple[BoundPart, ...]
    """The meter, bound to Lago's metrics."""
    layout: Layout
    """Where its values stand in the workspace."""
    schema: SpendLogsSchema
    """The spend-log table that was found."""
    bounds: SpendLogsBounds
    """Its first and last times."""
    legacy_rows: int | None
    """The window's rows in the table that partitioning has put aside; None where it may not be read."""
    dead_letters: int = 0
    """Events of what was read that Lago accepted and will never bill, where the source tells."""


@dataclass(frozen=True, slots=True)
class _FoundSpendLogs:
    schema: SpendLogsSchema
    bounds: SpendLogsBounds
    legacy_rows: int | None


def reconcile(settings: ReconcileSettings, progress: Progress, *, now: datetime, run_id: str) -> Run:
    """Judge the window and leave the run's folder; raise an error of `jobs.errors` and leave nothing."""
    with RunFolder(settings.output, folder_name(settings.window, run_id), settings.scratch) as folder:
        for left in folder.removed:
            progress.note(f"removed {left}, which a run that was killed had left unfinished")
        with judged_workspace(settings, folder.scratch, progress, now=now) as (workspace, reading):
            run = report_run(workspace, settings, reading, folder, progress, now=now, run_id=run_id)
        folder.discard_scratch()
    return run


def report_run(
    workspace: Workspace,
    settings: ReconcileSettings,
    reading: Reading,
    folder: RunFolder,
    progress: Progress,
    *,
    now: datetime,
    run_id: str,
) -> Run:
    """Check what was judged, and write the run's files."""
    progress.step("checking and reporting")
    facts = _facts(workspace, settings, reading, now)
    plan = write_plan(
        workspace,
        folder,
        settings.rules,
        reading.layout,
        reading.bound,
        reading.catalogue,
        PlanRequest(settings.window, settings.caps, settings.only),
    )
    pinning = reading.schema.may_pin_end_users
    causes = find_causes(workspace, settings.rules, settings.window, may_pin_end_users=pinning)
    run = _conclude(workspace, settings, reading, facts, causes, plan, folder.path, run_id)
    _report(folder, workspace, settings, reading, facts, run, now)
    return run


@contextmanager
def judged_workspace(
    settings: ReconcileSettings, folder: Path, progress: Progress, *, now: datetime
) -> Iterator[tuple[Workspace, Reading]]:
    """Read both sides into a workspace in this folder, judge the window, and yield both."""
    if settings.shard != WHOLE:
        raise SettingError(
            "RECONCILE_SHARD is set, and a shard sees only a part of the subscriptions",
            "Leave it out, or run `reconcile` without --apply in every shard and `merge` after them",
        )
    with matched_workspace(settings, folder, progress, now=now) as (workspace, reading):
        pinning = reading.schema.may_pin_end_users
        judge_left_over(workspace, settings.rules, settings.window, now, may_pin_end_users=pinning)
        yield workspace, reading


@contextmanager
def matched_workspace(
    settings: ReconcileSettings, folder: Path, progress: Progress, *, now: datetime
) -> Iterator[tuple[Workspace, Reading]]:
    """Read both sides, or the shard's part of them, match within each subscription, and yield workspace and reading."""
    refuse_future(settings.window, now)
    with (
        LagoClient(settings.lago) as client,
        Workspace(folder, memory_limit=settings.memory_limit, threads=settings.threads) as workspace,
    ):
        progress.step("reading Lago's catalogue")
        catalogue = read_catalogue(client)
        bound = bind(settings.rules.parts, {metric.code: metric for metric in catalogue.metrics})
        layout = lay_out(bound, settings.rules.charge_by_path, settings.rules.id_template)
        progress.step("reading spend logs and Lago's events")
        with _reading_spend_logs(workspace, settings, layout, progress, now) as spend_logs:
            dead_letters = _read_events(
                workspace, settings, layout, client, catalogue.organization, progress, now, spend_logs
            )
            found = spend_logs.result()
        progress.step("matching")
        load_references(workspace, settings.rules, layout, catalogue, settings.unsendable, settings.sent_before)
        match_within(
            workspace,
            settings.rules,
            layout,
            catalogue,
            settings.window,
            ids_are_unique=found.schema.request_ids_are_unique,
        )
        yield workspace, Reading(catalogue, bound, layout, found.schema, found.bounds, found.legacy_rows, dead_letters)


def refuse_future(window: Window, now: datetime) -> None:
    """Raise `SettingError` where the window is not over yet."""
    if window.end > now:
        raise SettingError(
            f"the window ends {window.end.isoformat()}, which is in the future (it is {now.isoformat()})",
            "Give --to an instant that has passed, best one that is older than the settlement lag",
        )


@contextmanager
def _reading_spend_logs(
    workspace: Workspace, settings: ReconcileSettings, layout: Layout, progress: Progress, now: datetime
) -> Iterator[Future[_FoundSpendLogs]]:
    """Load the spend logs in a thread of their own; what goes wrong inside ends that.

    Their snapshot is taken before this yields: an event that arrives meanwhile is then seen, and not reported missing.
    """
    with ExitStack() as opened, ThreadPoolExecutor(1, thread_name_prefix="spend-logs") as thread:
        spend_logs = opened.enter_context(
            open_spend_logs(
                settings.database,
                statement_timeout=settings.statement_timeout,
                patience=settings.patience,
                complete_until=min(settings.window.end + settings.rules.settlement_lag, now - STANDBY_MAY_LAG),
                on_failed_attempt=lambda failed: progress.note(failed.text),
                note=progress.note,
            )
        )
        spend_logs.require_zone(settings.clock)
        reading = thread.submit(_load_spend_logs, workspace, settings, layout, spend_logs, opened.pop_all())
        try:
            yield reading
        finally:
            while not reading.done():
                spend_logs.cancel()
                wait([reading], timeout=1)


def _load_spend_logs(
    workspace: Workspace, settings: ReconcileSettings, layout: Layout, spend_logs: SpendLogs, opened: ExitStack
) -> _FoundSpendLogs:
    with opened:
        workspace.load(
            "load_spend_logs",
            spend_logs.read(
                settings.rules.read_window(settings.window),
                clock=settings.clock,
                longest_call=settings.rules.longest_call,
                metadata_paths=[path.split(".") for path in layout.metadata_paths],
                part=spend_log_shard(settings.shard, settings.rules),
            ),
        )
        # What is compared with all spend logs, one shard reads for all.
        reads_for_all = settings.shard.index == 0
        if reads_for_all and settings.look_back and settings.rules.charge_by is ChargeBy.END_USER_ID:
            known = spend_logs.read_known_end_users(settings.window, clock=settings.clock, look_back=settings.look_back)
            workspace.load("load_known_end_users", known)
        table = _DAILY_TABLES.get(settings.rules.charge_by)
        first_day, day_after = whole_days(settings.window)
        if reads_for_all and first_day < day_after and table in spend_logs.schema.daily_tables:
            last_day = day_after - timedelta(days=1)
            workspace.load("load_daily_totals", spend_logs.read_daily(table, first_day.date(), last_day.date()))
        return _FoundSpendLogs(
            spend_logs.schema,
            spend_logs.bounds(settings.clock),
            spend_logs.count_legacy(settings.window, clock=settings.clock, longest_call=settings.rules.longest_call),
        )


def _read_events(
    workspace: Workspace,
    settings: ReconcileSettings,
    layout: Layout,
    client: LagoClient,
    organization: Organization,
    progress: Progress,
    now: datetime,
    spend_logs: Future[_FoundSpendLogs],
) -> int:
    """Read the recorded events while all is well with the spend logs.

    Return how many more Lago accepted and will never bill, where the source can tell.
    """
    dead_letters: list[int] = []
    asked = EventsAsked(
        window=settings.rules.read_window(settings.window),
        shard=settings.shard,
        settled_at=settings.window.end + settings.rules.settlement_lag,
        statement_timeout=settings.statement_timeout,
        patience=settings.patience,
        on_dead_letters=dead_letters.append,
    )
    events = read_recorded_events(settings.store, client, organization, layout, asked, progress, now)
    events = while_well(events, spend_logs)
    workspace.load("load_listed_events", events, shard=settings.shard.index, shards=settings.shard.count)
    return sum(dead_letters)


def while_well(chunks: Iterator[bytes], beside: Future[Any]) -> Iterator[bytes]:
    """Yield the chunks, and raise what goes wrong beside them: reading them all may take hours."""
    for chunk in chunks:
        if beside.done():
            beside.result()
        yield chunk


def _facts(workspace: Workspace, settings: ReconcileSettings, reading: Reading, now: datetime) -> dict[str, Any]:
    (counted,) = workspace.rows(
        "source_facts",
        start=naive(settings.window.start),
        end=naive(settings.window.end),
    )
    return {
        **counted,
        "settled_until": now - settings.rules.settlement_lag,
        "now": now,
        "oldest_spend_log": reading.bounds.oldest_start,
        "newest_spend_log": reading.bounds.newest_end,
        "legacy_rows": reading.legacy_rows,
    }


def _conclude(
    workspace: Workspace,
    settings: ReconcileSettings,
    reading: Reading,
    facts: dict[str, Any],
    causes: tuple[Explanation, ...],
    plan: PlanSummary,
    path: Path,
    run_id: str,
) -> Run:
    spend_logs = workspace.rows("count_spend_logs")
    dispositions: dict[str, int] = {}
    for row in spend_logs:
        dispositions[row["disposition"]] = dispositions.get(row["disposition"], 0) + row["spend_logs"]
    check_accounting(facts["spend_logs_read"], dispositions)
    check_conservation(workspace.records("summary_rows"))
    counts = workspace.rows("kind_counts")
    kinds = {kind: sum(row["count"] for row in counts if row["kind"] == kind) for kind in Kind}
    held = {HoldReason(row["reason"]): row["count"] for row in counts if row["kind"] == Kind.HELD}
    shared_keys, events_without_quantity = facts.pop("shared_keys"), facts.pop("events_without_quantity")
    first_seen = tuple(workspace.rows("first_seen_end_users"))
    (not_allowed,) = workspace.rows("count_not_allowed") if settings.rules.allowed is not None else [{"spend_logs": 0}]
    warnings = (
        *_warnings(settings.rules, reading, shared_keys, events_without_quantity),
        *_abuses(first_seen, not_allowed["spend_logs"]),
    )
    found = Findings(
        window=settings.window,
        reasons=reasons_against(settings.window, SourceFacts(**facts), kinds, held),
        warnings=warnings,
        spend_logs=tuple(spend_logs),
        causes=causes,
        plan=plan,
    )
    measured = Measured(
        window=settings.window,
        certified=not found.reasons,
        kinds=kinds,
        held=held,
        totals=subscription_totals(workspace, settings.metrics_subscriptions),
        planned=plan.events,
    )
    return Run(
        run_id=run_id,
        window=settings.window,
        folder=path,
        kinds=kinds,
        held=held,
        reasons=found.reasons,
        warnings=found.warnings,
        summary=tuple(workspace.rows("summary_head")),
        totals=tuple(workspace.rows("summary_totals")),
        spend_logs=found.spend_logs,
        causes=causes,
        first_seen=first_seen,
        plan=plan,
        page=make_page(workspace, found),
        measured=measured,
        ends_in_the_future=SourceFacts(**facts).ends_in_the_future,
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


def _warnings(rules: Rules, reading: Reading, shared_keys: int, events_without_quantity: int) -> Iterator[str]:
    if rules.charge_by is ChargeBy.END_USER_ID and shared_keys and reading.schema.may_pin_end_users:
        yield (
            f"API keys that serve more than one end user: {shared_keys}. LiteLLM 1.60 to 1.90, whose schema this "
            "is, log a wrong end_user then: charge by key, team or user instead"
        )
    if events_without_quantity and not rules.top_up:
        yield (
            f"Events that reached Lago without the property it bills: {events_without_quantity}. Top-ups "
            "(RECONCILE_TOP_UP) would bill the difference"
        )
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


def _report(
    folder: RunFolder,
    workspace: Workspace,
    settings: ReconcileSettings,
    reading: Reading,
    facts: dict[str, Any],
    run: Run,
    now: datetime,
) -> None:
    rows = {
        "discrepancies.csv": folder.write_csv(
            "discrepancies.csv", DISCREPANCY_COLUMNS, workspace.frames("discrepancies")
        ),
        "summary.csv": folder.write_csv("summary.csv", SUMMARY_COLUMNS, _with_totals(workspace)),
        "usage.csv": folder.write_csv("usage.csv", USAGE_COLUMNS, workspace.frames("usage_by_day")),
        "daily.csv": folder.write_csv("daily.csv", DAILY_COLUMNS, workspace.frames("daily_differences")),
    }
    folder.write_lines(PAGE_FILE, render(run.page))
    folder.write_lines(METRICS_FILE, [metrics_text(findings_gauges(run.measured))])
    folder.write_json(
        "run.json",
        {
            "run_id": run.run_id,
            "started_at": now.astimezone(UTC),
            "window": {"start": settings.window.start, "end": settings.window.end},
            "certified": run.certified,
            "reasons": [asdict(reason) for reason in run.reasons],
            "warnings": run.warnings,
            "spend_logs": run.spend_logs,
            "kinds": run.kinds,
            "held": run.held,
            "totals": run.totals,
            "first_seen": run.first_seen,
            "causes": [_cause(explanation) for explanation in run.causes],
            "plan": {"sha256": run.plan.sha256, "events": run.plan.events, "caps_exceeded": run.plan.exceeded},
            "sources": {
                **facts,
                "postgres_version": reading.schema.server_version,
                "spend_log_columns": sorted(reading.schema.columns),
                "partitioned": reading.schema.partitioned,
                "has_start_time_index": reading.schema.has_start_time_index,
                "event_store": reading.catalogue.organization.event_store,
            },
            "rows": rows,
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


def _with_totals(workspace: Workspace) -> Iterator[Any]:
    yield from workspace.frames("summary_rows")
    yield from workspace.frames("summary_totals")


def folder_name(window: Window, run_id: str) -> str:
    """Return the name of a run's folder."""
    return f"{window.compact}-{run_id}"
