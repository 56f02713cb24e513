"""Use case: read both sides, match them, report. Never writes to Lago."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from jobs.adapters.lago.catalogue import read_catalogue
from jobs.adapters.lago.events import read_events
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.litellm_database import Patience, open_spend_logs
from jobs.adapters.run_folder import RunFolder
from jobs.adapters.workspace import Workspace
from jobs.core.assignment import Tolerance
from jobs.core.certification import Reason, SourceFacts, reasons_against
from jobs.core.kinds import ChargeBy, HoldReason, Kind
from jobs.core.lago_values import Catalogue, LagoConnection
from jobs.core.laws import check_accounting, check_conservation
from jobs.core.layout import Layout, lay_out
from jobs.core.meters import MeterPart, bind
from jobs.core.model_names import ModelNames, event_model
from jobs.core.reports import DAILY_COLUMNS, DISCREPANCY_COLUMNS, SUMMARY_COLUMNS, USAGE_COLUMNS
from jobs.core.spend_log_values import DailyTable, DatabaseSettings, SourceClock, SpendLogsBounds, SpendLogsSchema
from jobs.core.window import Window
from jobs.errors import SettingError

# Calls after these names read or manage; LiteLLM logs some of them with the usage of the call they refer to
# (litellm.constants.NON_INFERENCE_CALL_TYPES, 1.109), so billing them would bill that call twice.
NOT_INFERENCE = tuple(
    prefix + name
    for prefix in ("", "a")
    for name in (
        *("get_responses", "delete_responses", "cancel_responses"),
        *("vector_store_create", "vector_store_retrieve", "vector_store_list", "vector_store_update"),
        *("vector_store_delete", "vector_store_file_create", "vector_store_file_list", "vector_store_file_retrieve"),
        *("vector_store_file_content", "vector_store_file_update", "vector_store_file_delete", "list_input_items"),
    )
)

# Stages 2 to 4 of the matching, and the query that says what equal content is in each.
STAGES = {"content": "candidates_by_content", "elsewhere": "candidates_elsewhere", "near": "candidates_near"}

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
    parts: tuple[MeterPart, ...]
    """The meter."""
    charge_by: ChargeBy
    """Which value of a spend log names its subscription."""
    charge_by_path: str | None
    """The dotted metadata path of that value, if it comes from there."""
    tolerance: Tolerance
    """How far from a call's end its event may lie."""
    settlement_lag: timedelta
    """How long after it ended a spend log is left alone."""
    longest_call: timedelta
    """The longest a call can last; both sides are read this much beyond the window."""
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
    mapping: tuple[tuple[str, str], ...] | None = None
    """(source value, subscription) pairs of the mapping file; None where values are subscriptions."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Model names by other spellings of them."""
    bill_cache_hits: bool = True
    """Whether cache hits should have events."""
    id_template: str | None = None
    """How the sender derives transaction ids, if it does."""
    threads: int | None = None
    """Of the workspace; all cores where None."""


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

    @property
    def certified(self) -> bool:
        """Tell whether the window is certified."""
        return not self.reasons

    @property
    def discrepancies_remain(self) -> bool:
        """Tell whether any discrepancy is left that bills something; a held event of no quantity bills nothing."""
        return sum(self.kinds.values()) > self.held.get(HoldReason.ZERO_QUANTITY, 0)


@dataclass(frozen=True, slots=True)
class _Source:
    """What is kept of LiteLLM's database once it has been read."""

    schema: SpendLogsSchema
    bounds: SpendLogsBounds
    legacy_rows: int | None


def reconcile(settings: ReconcileSettings, progress: Progress, *, now: datetime, run_id: str) -> Run:
    """Judge the window and leave the run's folder; raise an error of `jobs.errors` and leave nothing."""
    _refuse_future(settings.window, now)
    name = f"{_compact(settings.window.start)}-{_compact(settings.window.end)}-{run_id}"
    with LagoClient(settings.lago) as client, RunFolder(settings.output, name) as folder:
        progress.step("reading Lago's catalogue")
        catalogue = read_catalogue(client)
        layout = lay_out(
            bind(settings.parts, {metric.code: metric for metric in catalogue.metrics}),
            settings.charge_by_path,
            settings.id_template,
        )
        with Workspace(folder.scratch, memory_limit=settings.memory_limit, threads=settings.threads) as workspace:
            # Spend logs first: an event that arrives between the two readings is then seen, and not reported missing.
            progress.step("reading spend logs")
            source = _read_spend_logs(workspace, settings, layout, progress)
            progress.step("reading Lago's events")
            _read_events(workspace, settings, layout, client, progress)
            _load_references(workspace, settings, layout, catalogue)
            progress.step("matching")
            _match(workspace, settings, layout, catalogue, now)
            progress.step("checking and reporting")
            facts = _facts(workspace, settings, source, now)
            run = _conclude(workspace, settings, facts, folder.path, run_id)
            _report(folder, workspace, settings, source.schema, catalogue, facts, run, now)
        folder.discard_scratch()
    return run


def _refuse_future(window: Window, now: datetime) -> None:
    if window.end > now:
        raise SettingError(
            f"the window ends {window.end.isoformat()}, which is in the future (it is {now.isoformat()})",
            "Give --to an instant that has passed, best one that is older than the settlement lag",
        )


def _read_window(settings: ReconcileSettings) -> Window:
    return settings.window.widened(settings.longest_call, settings.longest_call)


def _read_spend_logs(
    workspace: Workspace, settings: ReconcileSettings, layout: Layout, progress: Progress
) -> _Source:
    with open_spend_logs(
        settings.database,
        statement_timeout=settings.statement_timeout,
        patience=settings.patience,
        on_failed_attempt=lambda failed: progress.note(
            f"attempt {failed.number} of {failed.attempts} to reach PostgreSQL at {failed.address} failed: {failed.reason}"
        ),
    ) as spend_logs:
        spend_logs.require_zone(settings.clock)
        workspace.load(
            "load_spend_logs",
            spend_logs.read(
                _read_window(settings),
                clock=settings.clock,
                longest_call=settings.longest_call,
                metadata_paths=[path.split(".") for path in layout.metadata_paths],
            ),
        )
        table = _DAILY_TABLES.get(settings.charge_by)
        first_day, day_after = _whole_days(settings.window)
        if table in spend_logs.schema.daily_tables and first_day < day_after:
            last_day = day_after - timedelta(days=1)
            workspace.load("load_daily_totals", spend_logs.read_daily(table, first_day.date(), last_day.date()))
        return _Source(
            spend_logs.schema,
            spend_logs.bounds(settings.clock),
            spend_logs.count_legacy(settings.window, clock=settings.clock, longest_call=settings.longest_call),
        )


def _read_events(
    workspace: Workspace, settings: ReconcileSettings, layout: Layout, client: LagoClient, progress: Progress
) -> None:
    events = read_events(
        client,
        codes=tuple(str(row[0]) for row in layout.code_rows),
        window=_read_window(settings),
        property_names=layout.property_names,
        progress=progress.count,
    )
    workspace.load("load_listed_events", events)


def _load_references(
    workspace: Workspace, settings: ReconcileSettings, layout: Layout, catalogue: Catalogue
) -> None:
    workspace.insert("meter_part", layout.part_rows)
    workspace.insert("metered_code", layout.code_rows)
    names = ModelNames(settings.aliases)
    workspace.map_rows(
        "spend_log_models",
        "spend_log_model",
        lambda model, provider: (model, provider, sent := event_model(model, provider), names.key(sent)),
    )
    workspace.map_rows("listed_event_models", "model_name", lambda model: (model, names.key(model)))
    workspace.map_rows(
        "daily_models",
        "daily_model",
        lambda model, provider: (model, provider, names.key(event_model(model or "", provider))),
    )
    workspace.insert("attribution", settings.mapping or ())
    workspace.insert("not_inference", ((name,) for name in NOT_INFERENCE))
    workspace.insert(
        "subscription_row",
        (
            (
                row.external_id,
                row.plan_code,
                row.status,
                _naive(row.started_at),
                _naive(row.terminated_at),
                _naive(row.current_period_started_at),
            )
            for row in catalogue.subscriptions
        ),
    )
    workspace.insert(
        "charge",
        (
            (plan.code, charge.metric_code, charge.pay_in_advance)
            for plan in catalogue.plans
            for charge in plan.charges
        ),
    )


def _whole_days(window: Window) -> tuple[datetime, datetime]:
    """Return the UTC days that lie wholly in the window: the daily tables count by the day of a call's start."""
    midnight = window.start.replace(hour=0, minute=0, second=0, microsecond=0)
    first_day = midnight if midnight == window.start else midnight + timedelta(days=1)
    return first_day, window.end.replace(hour=0, minute=0, second=0, microsecond=0)


def _match(
    workspace: Workspace, settings: ReconcileSettings, layout: Layout, catalogue: Catalogue, now: datetime
) -> None:
    edges = {"start": _naive(settings.window.start), "end": _naive(settings.window.end)}
    reach = {"early_us": settings.tolerance.early_us, "late_us": settings.tolerance.late_us}
    workspace.run(
        "account_spend_logs",
        charge_by=settings.charge_by.value,
        charge_by_place=layout.charge_by_place,
        has_attribution_file=settings.mapping is not None,
        bill_cache_hits=settings.bill_cache_hits,
        bills_spend=layout.bills_spend,
        **edges,
    )
    workspace.run("meter_spend_logs")
    workspace.run(
        "normalise_listed_events",
        collapses_duplicates=catalogue.organization.event_store == "clickhouse",
        **edges,
    )
    workspace.run("pair_by_transaction_id", with_template=settings.id_template is not None)
    read = _read_window(settings)
    workspace.match(STAGES, settings.tolerance, _microseconds(read.start), _microseconds(read.end))
    workspace.run(
        "judge_expected_events",
        charge_by=settings.charge_by.value,
        settled_until=_naive(now - settings.settlement_lag),
        **reach,
    )
    workspace.run("judge_recorded_events")
    workspace.run("summarise")
    first_day, day_after = _whole_days(settings.window)
    workspace.run("compare_daily_totals", first_day=_naive(first_day), day_after=_naive(day_after))


def _facts(
    workspace: Workspace, settings: ReconcileSettings, source: _Source, now: datetime
) -> dict[str, Any]:
    (counted,) = workspace.rows(
        "source_facts",
        start=_naive(settings.window.start),
        end=_naive(settings.window.end),
        now=_naive(now),
    )
    return {
        **counted,
        "settled_until": now - settings.settlement_lag,
        "oldest_spend_log": source.bounds.oldest_start,
        "legacy_rows": source.legacy_rows,
    }


def _conclude(
    workspace: Workspace, settings: ReconcileSettings, facts: dict[str, Any], path: Path, run_id: str
) -> Run:
    spend_logs = workspace.rows("count_spend_logs")
    dispositions: dict[str, int] = {}
    for row in spend_logs:
        dispositions[row["disposition"]] = dispositions.get(row["disposition"], 0) + row["spend_logs"]
    check_accounting(facts["spend_logs_read"], dispositions)
    for frame in workspace.frames("summary_rows"):
        check_conservation(frame.to_dict("records"))
    counts = workspace.rows("kind_counts")
    kinds = {kind: sum(row["count"] for row in counts if row["kind"] == kind) for kind in Kind}
    held = {HoldReason(row["reason"]): row["count"] for row in counts if row["kind"] == Kind.HELD}
    shared_keys, events_without_quantity = facts.pop("shared_keys"), facts.pop("events_without_quantity")
    return Run(
        run_id=run_id,
        window=settings.window,
        folder=path,
        kinds=kinds,
        held=held,
        reasons=reasons_against(settings.window, SourceFacts(**facts), kinds, held),
        warnings=tuple(_warnings(settings, shared_keys, events_without_quantity)),
        summary=tuple(workspace.rows("summary_head")),
        totals=tuple(workspace.rows("summary_totals")),
        spend_logs=tuple(spend_logs),
    )


def _warnings(settings: ReconcileSettings, shared_keys: int, events_without_quantity: int) -> Iterator[str]:
    if settings.charge_by is ChargeBy.END_USER_ID and shared_keys:
        yield (
            f"{shared_keys} API keys serve more than one end user: LiteLLM 1.60 to 1.90 then log a wrong end_user; "
            "with such a version charge by key, team or user instead"
        )
    if events_without_quantity:
        yield (
            f"{events_without_quantity} events reached Lago without the property it bills; top-ups would bill the "
            "difference"
        )


def _report(
    folder: RunFolder,
    workspace: Workspace,
    settings: ReconcileSettings,
    schema: SpendLogsSchema,
    catalogue: Catalogue,
    facts: dict[str, Any],
    run: Run,
    now: datetime,
) -> None:
    rows = {
        "discrepancies.csv": folder.write_csv("discrepancies.csv", DISCREPANCY_COLUMNS, workspace.frames("discrepancies")),
        "summary.csv": folder.write_csv("summary.csv", SUMMARY_COLUMNS, _with_totals(workspace)),
        "usage.csv": folder.write_csv("usage.csv", USAGE_COLUMNS, workspace.frames("usage_by_day")),
        "daily.csv": folder.write_csv("daily.csv", DAILY_COLUMNS, workspace.frames("daily_differences")),
    }
    folder.write_json(
        "run.json",
        {
            "run_id": run.run_id,
            "started_at": now.astimezone(UTC),
            "window": {"start": settings.window.start, "end": settings.window.end},
            "certified": run.certified,
            "reasons": [{"code": reason.code, "text": reason.text} for reason in run.reasons],
            "warnings": run.warnings,
            "spend_logs": run.spend_logs,
            "kinds": run.kinds,
            "held": run.held,
            "totals": run.totals,
            "sources": {
                **facts,
                "postgres_version": schema.server_version,
                "spend_log_columns": sorted(schema.columns),
                "partitioned": schema.partitioned,
                "has_start_time_index": schema.has_start_time_index,
                "event_store": catalogue.organization.event_store,
            },
            "rows": rows,
        },
    )


def _with_totals(workspace: Workspace) -> Iterator[Any]:
    yield from workspace.frames("summary_rows")
    yield from workspace.frames("summary_totals")


def _naive(instant: datetime | None) -> datetime | None:
    """Return the instant in UTC without a zone, as the workspace keeps times."""
    return None if instant is None else instant.astimezone(UTC).replace(tzinfo=None)


def _microseconds(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _compact(instant: datetime) -> str:
    return instant.strftime("%Y%m%dT%H%M%SZ")
