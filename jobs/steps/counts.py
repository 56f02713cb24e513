"""Compares what Lago says it has counted with what is recorded: sums of whole billing periods, and never events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from jobs.adapters.lago.event_counts import count_listed_events, list_few_events
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago_clickhouse_store import sum_clickhouse_events
from jobs.adapters.lago_postgres_store import sum_stored_events
from jobs.adapters.workspace import Workspace
from jobs.core.certification import Reason
from jobs.core.figures import counted, plain
from jobs.core.lago.billing_rules import BillingRules
from jobs.core.lago.store import PostgresStore, Store, checked_organization_id
from jobs.core.lago.sums import SumAsked
from jobs.core.lago.values import Catalogue, Charge
from jobs.core.money.counting import (
    CountDifference,
    RecordedSum,
    count_differences,
    deciding_properties,
    is_judged,
    listed_sums,
    place_of,
)
from jobs.core.money.usage import PeriodUsage
from jobs.core.window import Window
from jobs.errors import LagoError, SourceError
from jobs.steps.ask_lago import UsageAnswer
from jobs.steps.reconcile_values import Progress, ReconcileSettings

# Lago counts what it has taken within seconds or minutes; what is this new proves nothing.
_RECENT = timedelta(hours=1)
_MOST_TOLD = 5
# Five requests at Lago's usual page; of more events their number is asked for.
_MOST_ADDED_UP = 5_000
_STEP_VOIDED = "Make it anew in Lago; where it was voided on purpose, nothing of that period is billed."
_STEP = "Look at these in Lago: whether its workers run, and what it does not bill; credit or charge by hand."


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the comparison."""

    compared: int = 0
    """Billing periods of a subscription and metric that were compared."""
    by_units: int = 0
    """Those of them of which units were compared; of the others only numbers of events."""
    differences: tuple[CountDifference, ...] = ()
    """Where Lago counts something else."""
    voided: tuple[PeriodUsage, ...] = ()
    """Periods whose invoice was voided, and of which there is no other."""

    def reasons(self) -> tuple[Reason, ...]:
        """Return why the window is not certified: rules and Lago do not agree on what is billed, or it was undone."""
        text = _text(one.text for one in self.differences if one.is_exact)
        found = [Reason("counted_otherwise", text, _STEP)] if text else []
        periods = _text(f"{one.subscription!r} from {one.start:%Y-%m-%d %H:%M}" for one in self.voided)
        if periods:
            found.append(Reason("invoice_voided", f"the invoice was voided of subscription {periods}", _STEP_VOIDED))
        return tuple(found)

    def warnings(self) -> tuple[str, ...]:
        """Return what a person should know where numbers of events alone prove nothing about this window."""
        text = _text(one.text for one in self.differences if not one.is_exact)
        return (text,) if text else ()

    def document(self) -> Mapping[str, object]:
        """Return it as `run.json` tells it."""
        return {
            "compared": self.compared,
            "by_units": self.by_units,
            "differences": [
                asdict(one) | {"told": plain(one.told), "recorded": plain(one.recorded)} for one in self.differences
            ],
            "voided": [{"subscription": one.subscription, "start": one.start.isoformat()} for one in self.voided],
        }


def _text(texts: Iterable[str]) -> str:
    listed = [*texts]
    more = len(listed) - _MOST_TOLD
    rest = [f"and {counted(more, 'more difference')} (run.json)"] if more > 0 else []
    return "; ".join([*listed[:_MOST_TOLD], *rest])


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
    told: UsageAnswer,
    progress: Progress,
    *,
    now: datetime,
) -> Counts:
    """Return where Lago counts something else than what is recorded, of the periods that it told.

    From Lago's own store sums are read and compared bucket by bucket. Through the API Lago lists a period's events
    where they are few, and these are added up; of more it tells how many. A source that does not answer is told, and
    fails no run.
    """
    billing = BillingRules(catalogue)
    codes = sorted({part.code for part in settings.rules.parts})
    undone = voided_periods(told.periods)
    asked = [
        _Asked(place, period, code, charges)
        for place, period in enumerate(told.periods)
        for code in codes
        if (charges := _judged(billing, told, period, code)) and not _is_draft(billing, period, now)
    ]
    if not asked:
        return Counts(voided=undone)
    names = deciding_properties(charge for one in asked for charge in one.charges)
    sums_asked = [_sum_asked(one, billing) for one in asked]
    recent_since = now - _RECENT
    try:
        if settings.store is None:
            counts = _through_api(workspace, settings, catalogue, told, asked, sums_asked, names, recent_since)
            return replace(counts, voided=undone)
        rows = _stored_sums(settings, settings.store, catalogue, sums_asked, names, recent_since)
    except (LagoError, SourceError) as error:
        progress.note(f"Lago's own count is not compared: {error}")
        return Counts(voided=undone)
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
    differences = count_differences(told.periods, sums, codes, billing.metrics, told.charges)
    return Counts(len(asked), len(asked), differences, undone)


def voided_periods(periods: Iterable[PeriodUsage]) -> tuple[PeriodUsage, ...]:
    """Return the periods whose only invoices were voided, each once, in order of subscription and time."""
    statuses: dict[tuple[str, datetime], list[PeriodUsage]] = {}
    for one in periods:
        if one.invoice_id:
            statuses.setdefault((one.subscription, one.start), []).append(one)
    return tuple(
        found[0] for _, found in sorted(statuses.items()) if {one.invoice_status for one in found} == {"voided"}
    )


def _judged(billing: BillingRules, told: UsageAnswer, period: PeriodUsage, code: str) -> tuple[Charge, ...]:
    found = (told.charges.get(charge_id) for charge_id in period.units(code))
    return tuple(one for one in found if one is not None and is_judged(billing.metrics.get(code), one, period))


def _is_draft(billing: BillingRules, period: PeriodUsage, now: datetime) -> bool:
    """Tell whether what was told of a period will be counted anew: a draft shows what it was made of."""
    closes_at = _closes_at(billing, period)
    return period.invoice_status == "draft" or (closes_at is not None and closes_at > now)


def _sum_asked(one: _Asked, billing: BillingRules) -> SumAsked:
    field = billing.metrics[one.code].field_name
    return SumAsked(one.place, one.period.subscription, one.code, field, one.window, _closes_at(billing, one.period))


def _closes_at(billing: BillingRules, period: PeriodUsage) -> datetime | None:
    """Return after which instant an event comes too late for an invoiced period."""
    if period.is_open:
        return None
    # Its edges may belong to the rows before and after it.
    return billing.span(period.subscription, period.start + (period.end - period.start) / 2).closes_at


def _stored_sums(
    settings: ReconcileSettings,
    store: Store,
    catalogue: Catalogue,
    asked: Sequence[SumAsked],
    names: Sequence[str],
    recent_since: datetime,
) -> list[dict[str, Any]]:
    organization_id = checked_organization_id(store, catalogue.organization)
    if isinstance(store, PostgresStore):
        return sum_stored_events(
            store.database,
            organization_id=organization_id,
            asked=asked,
            property_names=names,
            recent_since=recent_since,
            statement_timeout=settings.statement_timeout,
            patience=settings.patience,
        )
    return sum_clickhouse_events(
        store,
        organization_id=organization_id,
        asked=asked,
        property_names=names,
        recent_since=recent_since,
        statement_timeout=settings.statement_timeout,
    )


def _through_api(
    workspace: Workspace,
    settings: ReconcileSettings,
    catalogue: Catalogue,
    told: UsageAnswer,
    asked: Sequence[_Asked],
    sums_asked: Sequence[SumAsked],
    names: Sequence[str],
    recent_since: datetime,
) -> Counts:
    """Compare units where Lago lists a period's events, and else numbers of events, which prove less.

    ClickHouse organizations list an event once per sending, so their numbers prove nothing at all.
    """
    billing = BillingRules(catalogue)
    unbilled = {(row["subscription"], row["code"]): row["events"] for row in workspace.rows("unbilled_by_payer")}
    fields = {asked.field for asked in sums_asked if asked.field is not None}
    wanted = tuple(dict.fromkeys((*names, *fields)))
    with LagoClient(settings.lago) as client:

        def compared(pair: tuple[_Asked, SumAsked]) -> tuple[bool, list[CountDifference]] | None:
            one, sum_asked = pair
            listing = list_few_events(client, sum_asked.subscription, one.code, one.window, wanted, _MOST_ADDED_UP)
            if listing.events is not None:
                sums = listed_sums(sum_asked, listing.events, names, recent_since)
                shown = [replace(found, period=0) for found in sums]
                return True, [*count_differences([one.period], shown, [one.code], billing.metrics, told.charges)]
            # Two filters of one charge may both count an event, so that its number says nothing.
            if catalogue.organization.event_store == "clickhouse" or all(len(it.filters) > 1 for it in one.charges):
                return None

            def settled() -> int:
                until = min(one.period.end, recent_since)
                if until <= one.period.start:
                    return 0
                return count_listed_events(client, sum_asked.subscription, one.code, Window(one.period.start, until))

            known = unbilled.get((sum_asked.subscription, one.code), 0)
            found = _of_events(one, listing.total, settled, known)
            return False, [] if found is None else [found]

        executor = ThreadPoolExecutor(client.connection.concurrency, thread_name_prefix="lago-counts")
        try:
            done = [one for one in executor.map(compared, zip(asked, sums_asked, strict=True)) if one is not None]
        finally:
            executor.shutdown(cancel_futures=True)
    by_units = sum(1 for is_exact, _ in done if is_exact)
    return Counts(len(done), by_units, tuple(sorted((found for _, some in done for found in some), key=place_of)))


def _of_events(one: _Asked, every: int, settled: Callable[[], int], unbilled: int) -> CountDifference | None:
    """Return the difference in numbers of events; None where they agree, or differ by what is known or new."""
    charge = next(charge for charge in one.charges if len(charge.filters) < 2)
    told = sum(bucket.counted.events for bucket in one.period.buckets if bucket.charge_id == charge.lago_id)
    if told == every or settled() - unbilled <= told <= every:
        return None
    likely = (
        "it lists fewer than it has counted: some were deleted since"
        if told > every
        else "the others carry no number that it bills, or came too late for their invoice"
    )
    return CountDifference(
        one.period.subscription, one.code, one.period.start, "", "events", Decimal(told), Decimal(every), likely
    )
