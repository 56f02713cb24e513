"""Both sides of a run: spend logs and events at one time into one workspace, matched within each subscription."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from jobs.adapters.lago.catalogue import read_catalogue
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago.kept_slices import KeptSlices
from jobs.adapters.litellm_database import SpendLogs, open_spend_logs
from jobs.adapters.workspace import Workspace
from jobs.core.kinds import ChargeBy
from jobs.core.layout import Layout, lay_out
from jobs.core.litellm.call_types import READINGS
from jobs.core.litellm.spend_logs import DailyTable, SpendLogsBounds, SpendLogsSchema
from jobs.core.meters import bind
from jobs.core.window import Window, whole_days
from jobs.drivers.postgres import STANDBY_MAY_LAG
from jobs.errors import SettingError
from jobs.steps.event_source import EventsAsked, read_recorded_events
from jobs.steps.match import Sides, match_within, normalise_events
from jobs.steps.reconcile_values import Progress, Reading, ReconcileSettings
from jobs.steps.references import load_references

# LiteLLM's own daily totals, where it keeps some by the value that attributes.
_DAILY_TABLES = {
    ChargeBy.END_USER_ID: DailyTable.END_USER,
    ChargeBy.USER_ID: DailyTable.USER,
    ChargeBy.TEAM_ID: DailyTable.TEAM,
}
# Looking a spend log up by its id takes as long as passing by twenty or more of small metadata, or one of 4 KB.
_LOOK_UP_COST = 2


@dataclass(frozen=True, slots=True)
class _FoundSpendLogs:
    schema: SpendLogsSchema
    bounds: SpendLogsBounds
    legacy_rows: int | None


@contextmanager
def matched_workspace(
    settings: ReconcileSettings,
    folder: Path,
    progress: Progress,
    *,
    now: datetime,
    keeps_reading: bool = False,
) -> Iterator[tuple[Workspace, Reading]]:
    """Read both sides, match within each subscription, and yield workspace and reading.

    `keeps_reading` leaves what was read through the API in the output folder where this fails, for the next one.
    """
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
        with _kept_slices(settings, layout, now) if keeps_reading else nullcontext() as kept:
            with _reading_spend_logs(workspace, settings, layout, progress, now) as (spend_logs, reading):
                dead_letters: list[int] = []
                repeated: list[int] = []
                asked = events_asked(settings, dead_letters.append, repeated.append, kept)
                events = read_recorded_events(
                    settings.store, client, catalogue.organization, layout, asked, progress, now
                )
                workspace.load("load_listed_events", while_well(events, reading), properties=len(layout.property_names))
                drop_repeated_events(workspace, sum(repeated), progress)
                # The spend logs may still be coming: PostgreSQL needs longer for them.
                normalise_events(workspace, settings.rules, layout, catalogue, settings.window)
                found = reading.result()
                progress.step("matching")
                load_references(workspace, settings.rules, layout, catalogue, settings.unsendable, settings.sent_before)
                match_within(
                    workspace,
                    settings.rules,
                    layout,
                    catalogue,
                    settings.window,
                    Sides(
                        may_pin_end_users=found.schema.may_pin_end_users,
                        ids_are_unique=found.schema.request_ids_are_unique,
                    ),
                    read_marks=partial(load_marks, workspace, spend_logs, _all_marks(settings, spend_logs)),
                )
            yield (
                workspace,
                Reading(catalogue, bound, layout, found.schema, found.bounds, found.legacy_rows, sum(dead_letters)),
            )


def _kept_slices(
    settings: ReconcileSettings, layout: Layout, now: datetime
) -> AbstractContextManager[KeptSlices | None]:
    """Return what is kept of a reading through the API until the run has ended; None where a store is read."""
    if settings.store is not None:
        return nullcontext()
    window = settings.rules.read_window(settings.window)
    question = {
        "api_base": settings.lago.api_base,
        # Of an organization that Lago does not name, the key is all that tells it from others on the same host.
        "api_key": settings.lago.api_key,
        "window": [window.start, window.end],
        "properties": layout.property_names,
    }
    return KeptSlices(settings.output, question, now=now)


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
) -> Iterator[tuple[SpendLogs, Future[_FoundSpendLogs]]]:
    """Load the spend logs in a thread of their own; what goes wrong inside ends that.

    Their snapshot is taken before this yields: an event that arrives meanwhile is then seen, and not reported missing.
    It lasts until this is left, so that the metadata of a few spend logs can be asked for once both sides are matched.
    """
    with ExitStack() as opened, ThreadPoolExecutor(1, thread_name_prefix="spend-logs") as thread:
        spend_logs = opened.enter_context(opened_spend_logs(settings, progress, now))
        beside = opened.enter_context(workspace.beside())
        reading = thread.submit(_load_spend_logs, beside, settings, layout, spend_logs)
        try:
            yield spend_logs, reading
        finally:
            while not reading.done():
                spend_logs.cancel()
                wait([reading], timeout=1)


@contextmanager
def opened_spend_logs(settings: ReconcileSettings, progress: Progress, now: datetime) -> Iterator[SpendLogs]:
    """Open the snapshot that the whole run reads spend logs by."""
    with open_spend_logs(
        settings.database,
        statement_timeout=settings.statement_timeout,
        patience=settings.patience,
        complete_until=min(settings.window.end + settings.rules.settlement_lag, now - STANDBY_MAY_LAG),
        on_failed_attempt=lambda failed: progress.note(failed.text),
        note=progress.note,
    ) as spend_logs:
        spend_logs.require_zone(settings.clock)
        yield spend_logs


def _load_spend_logs(
    workspace: Workspace, settings: ReconcileSettings, layout: Layout, spend_logs: SpendLogs
) -> _FoundSpendLogs:
    rows = spend_logs.read(
        settings.rules.read_window(settings.window),
        clock=settings.clock,
        longest_call=settings.rules.longest_call,
        metadata_paths=[path.split(".") for path in layout.metadata_paths],
    )
    workspace.load("load_spend_logs", rows)
    load_marks(workspace, spend_logs, _all_marks(settings, spend_logs), "ask_about_readings", readings=list(READINGS))
    load_known_end_users(workspace, settings, spend_logs)
    daily = daily_totals_asked(settings, spend_logs.schema)
    if daily is not None:
        workspace.load("load_daily_totals", spend_logs.read_daily(*daily))
    return _FoundSpendLogs(
        spend_logs.schema,
        spend_logs.bounds(settings.clock),
        spend_logs.count_legacy(settings.window, clock=settings.clock, longest_call=settings.rules.longest_call),
    )


def _all_marks(settings: ReconcileSettings, spend_logs: SpendLogs) -> Callable[[], Iterator[bytes]]:
    window = settings.rules.read_window(settings.window)
    return partial(spend_logs.read_all_marks, window, clock=settings.clock, longest_call=settings.rules.longest_call)


def load_known_end_users(workspace: Workspace, settings: ReconcileSettings, spend_logs: SpendLogs) -> None:
    """Bring in who named which end user before the window, where new ones are told."""
    if settings.look_back and settings.rules.charge_by is ChargeBy.END_USER_ID:
        known = spend_logs.read_known_end_users(settings.window, clock=settings.clock, look_back=settings.look_back)
        workspace.load("load_known_end_users", known)


def daily_totals_asked(settings: ReconcileSettings, schema: SpendLogsSchema) -> tuple[DailyTable, date, date] | None:
    """Return which of LiteLLM's daily totals are comparable, with their first and last day; None where none are."""
    table = _DAILY_TABLES.get(settings.rules.charge_by)
    first_day, day_after = whole_days(settings.window)
    if table is None or table not in schema.daily_tables or first_day >= day_after:
        return None
    return table, first_day.date(), (day_after - timedelta(days=1)).date()


def load_marks(
    workspace: Workspace,
    spend_logs: SpendLogs,
    read_all: Callable[[], Iterator[bytes]],
    asked: str,
    **parameters: object,
) -> None:
    """Bring in what the metadata tells of the spend logs that the query of this name finds.

    `read_all` tells it of all of them, as `SpendLogs.read_all_marks` does: where most are asked about, that is faster.
    """
    workspace.run(asked, **parameters)
    (counts,) = workspace.rows("count_asked_about")
    if counts["asked"] * _LOOK_UP_COST <= counts["spend_logs"]:
        workspace.insert("spend_log_mark", spend_logs.read_marks(workspace.texts("asked_about")))
    else:
        workspace.load("load_marks", read_all())


def drop_repeated_events(workspace: Workspace, repeated: int, progress: Progress) -> None:
    """Leave each event once where so many were read again."""
    if repeated:
        progress.note(f"read {repeated:,} events again: others arrived beside them while they were read")
        workspace.run("drop_repeated_events")


def events_asked(
    settings: ReconcileSettings,
    on_dead_letters: Callable[[int], None],
    on_repeated: Callable[[int], None] = lambda _: None,
    kept: KeptSlices | None = None,
) -> EventsAsked:
    """Return which events a run needs; `on_dead_letters` is told how many more Lago will never bill."""
    return EventsAsked(
        window=settings.rules.read_window(settings.window),
        settled_at=settings.window.end + settings.rules.settlement_lag,
        statement_timeout=settings.statement_timeout,
        patience=settings.patience,
        kept=kept,
        on_repeated=on_repeated,
        on_dead_letters=on_dead_letters,
    )


def while_well(chunks: Iterator[bytes], beside: Future[Any]) -> Iterator[bytes]:
    """Yield the chunks, and raise what goes wrong beside them: reading them all may take hours."""
    for chunk in chunks:
        if beside.done():
            beside.result()
        yield chunk
