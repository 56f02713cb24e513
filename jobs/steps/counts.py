"""Compares what Lago says it has counted with what is recorded: sums of whole billing periods, and never events."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from jobs.adapters.lago.event_counts import count_listed_events
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago_postgres_store import SumAsked, sum_stored_events
from jobs.adapters.workspace import Workspace
from jobs.core.certification import Reason
from jobs.core.figures import counted, plain
from jobs.core.lago.billing_rules import BillingRules
from jobs.core.lago.store import PostgresStore, checked_organization_id
from jobs.core.lago.values import Catalogue, Charge
from jobs.core.money.counting import (
    CountDifference,
    RecordedSum,
    count_differences,
    deciding_properties,
    is_judged,
)
from jobs.core.money.usage import PeriodUsage
from jobs.core.window import Window
from jobs.errors import LagoError, SourceError
from jobs.steps.ask_usage import Told
from jobs.steps.reconcile_values import Progress, ReconcileSettings

# Lago counts what it has taken within seconds or minutes; what is this new proves nothing.
_RECENT = timedelta(hours=1)
_MOST_TOLD = 5
_STEP = "Look at these in Lago: whether its workers run, and what it does not bill; credit or charge by hand."


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the comparison."""

    compared: int = 0
    """Billing periods of a subscription and metric that were compared."""
    differences: tuple[CountDifference, ...] = ()
    """Where Lago counts something else."""
    are_exact: bool = False
    """The sums are of exactly the events that the rules say are billed; otherwise only numbers of events are known."""

    def reasons(self) -> tuple[Reason, ...]:
        """Return why the window is not certified: the rules and Lago do not agree on what is billed."""
        if not self.are_exact or not self.differences:
            return ()
        return (Reason("counted_otherwise", self._text(), _STEP),)

    def warnings(self) -> tuple[str, ...]:
        """Return what a person should know where numbers of events alone prove nothing about this window."""
        return (self._text(),) if self.differences and not self.are_exact else ()

    def _text(self) -> str:
        listed = [one.text for one in self.differences[:_MOST_TOLD]]
        more = len(self.differences) - len(listed)
        return "; ".join([*listed, *([f"and {counted(more, 'more difference')} (run.json)"] if more else [])])

    def document(self) -> Mapping[str, object]:
        """Return it as `run.json` tells it."""
        return {
            "compared": self.compared,
            "by": "units" if self.are_exact else "events",
            "differences": [
                asdict(one) | {"told": plain(one.told), "recorded": plain(one.recorded)} for one in self.differences
            ],
        }


@dataclass(frozen=True, slots=True)
class _Asked:
    place: int
    period: PeriodUsage
    code: str
    charges: tuple[Charge, ...]

    @property
    def window(self) -> Window:
        return Window(self.period.start, self.period.end)


def judge_counts(
    workspace: Workspace,
    settings: ReconcileSettings,
    catalogue: Catalogue,
    told: Told,
    progress: Progress,
    *,
    now: datetime,
) -> Counts:
    """Return where Lago counts something else than what is recorded, of the periods that it told.

    From Lago's PostgreSQL sums are read and compared bucket by bucket; through the API Lago is asked how many events it
    lists. A ClickHouse lists copies and is not compared. A source that does not answer is told, and fails no run.
    """
    billing = BillingRules(catalogue)
    codes = sorted({part.code for part in settings.rules.parts})
    asked = [
        _Asked(place, period, code, charges)
        for place, period in enumerate(told.periods)
        for code in codes
        if (charges := _judged(billing, told, period, code))
    ]
    if not asked:
        return Counts()
    try:
        if isinstance(settings.store, PostgresStore):
            return _by_units(settings, settings.store, catalogue, told, asked, billing, now)
        if settings.store is None and catalogue.organization.event_store == "postgres":
            return _by_events(workspace, settings, asked, now)
    except (LagoError, SourceError) as error:
        progress.note(f"Lago's own count is not compared: {error}")
        return Counts()
    progress.note("Lago's own count is not compared: its ClickHouse lists copies of events")
    return Counts()


def _judged(billing: BillingRules, told: Told, period: PeriodUsage, code: str) -> tuple[Charge, ...]:
    found = (told.charges.get(charge_id) for charge_id in period.units(code))
    return tuple(one for one in found if one is not None and is_judged(billing.metrics.get(code), one, period))


def _by_units(
    settings: ReconcileSettings,
    store: PostgresStore,
    catalogue: Catalogue,
    told: Told,
    asked: Sequence[_Asked],
    billing: BillingRules,
    now: datetime,
) -> Counts:
    names = deciding_properties(charge for one in asked for charge in one.charges)
    rows = sum_stored_events(
        store.database,
        organization_id=checked_organization_id(store, catalogue.organization),
        asked=[
            SumAsked(
                one.place,
                one.period.subscription,
                one.code,
                billing.metrics[one.code].field_name,
                one.window,
                _closes_at(billing, one.period),
            )
            for one in asked
        ],
        property_names=names,
        recent_since=now - _RECENT,
        statement_timeout=settings.statement_timeout,
        patience=settings.patience,
    )
    sums = [
        RecordedSum(
            row["place"],
            row["code"],
            dict(zip(names, json.loads(row["deciding"]), strict=True)),
            row["events"],
            Decimal(row["quantity"]),
            row["recent_events"],
            Decimal(row["recent_quantity"]),
        )
        for row in rows
    ]
    codes = sorted({one.code for one in asked})
    return Counts(
        len(asked), count_differences(told.periods, sums, codes, billing.metrics, told.charges), are_exact=True
    )


def _closes_at(billing: BillingRules, period: PeriodUsage) -> datetime | None:
    """Return after which instant an event comes too late for an invoiced period."""
    if period.is_open:
        return None
    # Its edges may belong to the rows before and after it.
    return billing.span(period.subscription, period.start + (period.end - period.start) / 2).closes_at


def _by_events(workspace: Workspace, settings: ReconcileSettings, asked: Sequence[_Asked], now: datetime) -> Counts:
    unbilled = {(row["subscription"], row["code"]): row["events"] for row in workspace.rows("unbilled_by_payer")}
    # Two filters of one charge may both count an event, so that its number says nothing.
    simple = [one for one in asked if any(len(charge.filters) < 2 for charge in one.charges)]
    with LagoClient(settings.lago) as client:

        def listed(one: _Asked, until: datetime) -> int:
            if until <= one.period.start:
                return 0
            return count_listed_events(client, one.period.subscription, one.code, Window(one.period.start, until))

        executor = ThreadPoolExecutor(client.connection.concurrency, thread_name_prefix="lago-counts")
        try:
            found = executor.map(
                lambda one: _of_events(one, listed, unbilled.get((one.period.subscription, one.code), 0), now), simple
            )
            return Counts(len(simple), tuple(one for one in found if one is not None))
        finally:
            executor.shutdown(cancel_futures=True)


def _of_events(
    one: _Asked, listed: Callable[[_Asked, datetime], int], unbilled: int, now: datetime
) -> CountDifference | None:
    """Return the difference in numbers of events; None where they agree, or differ by what is known or new."""
    charge = next(charge for charge in one.charges if len(charge.filters) < 2)
    told = sum(bucket.counted.events for bucket in one.period.buckets if bucket.charge_id == charge.lago_id)
    every = listed(one, one.period.end)
    if told == every:
        return None
    settled = listed(one, min(one.period.end, now - _RECENT))
    if settled - unbilled <= told <= every:
        return None
    likely = (
        "it lists fewer than it has counted: some were deleted since"
        if told > every
        else "the others carry no number that it bills, or came too late for their invoice"
    )
    return CountDifference(
        one.period.subscription, one.code, one.period.start, "", "events", Decimal(told), Decimal(every), likely
    )
