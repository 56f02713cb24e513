"""Asks Lago what it has counted of the subscriptions that a window touches, and where events are that a call lacks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from jobs.adapters.lago.catalogue import read_own_charges
from jobs.adapters.lago.event_counts import list_codes
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago.usage_periods import UsageAsked, read_usage_periods
from jobs.adapters.workspace import Workspace
from jobs.core.doubts import OtherCode
from jobs.core.lago.values import Catalogue, Charge, LagoConnection
from jobs.core.money.usage import PeriodUsage
from jobs.core.window import Window
from jobs.errors import LagoError
from jobs.steps.reconcile_values import Progress, ReconcileSettings

# Each is a request.
_MOST_CALLS_ASKED, _MOST_PAYERS_ASKED, _CALLS_OF_A_PAYER = 10, 5, 3
_Asked = tuple[str, str]
END = datetime(9999, 12, 31, tzinfo=UTC)
"""Stands for a time that is not known."""


@dataclass(frozen=True, slots=True)
class UsageAnswer:
    """What Lago told of its usage."""

    periods: tuple[PeriodUsage, ...]
    """The periods of those that were asked for."""
    asked: frozenset[str]
    """Whose usage was asked for."""
    charges: Mapping[str, Charge]
    """All charges by Lago's id, those of subscriptions' own plans among them."""
    failure: str = ""
    """Why nothing was told, where Lago did not answer."""


def ask_usage(
    workspace: Workspace, settings: ReconcileSettings, catalogue: Catalogue, progress: Progress
) -> UsageAnswer:
    """Ask Lago what it has counted of the subscriptions that the window touches, those with most at stake first.

    A Lago that does not answer is told, and fails no run.
    """
    touched = workspace.records("touched_subscriptions", start=settings.window.start.replace(tzinfo=None))
    return ask_usage_of(touched, settings.lago, settings.usage_subscriptions, catalogue, progress)


def ask_usage_of(
    touched: Iterable[Mapping[str, Any]], lago: LagoConnection, most: int, catalogue: Catalogue, progress: Progress
) -> UsageAnswer:
    """Ask Lago what it has counted of the first of these subscriptions, `most` at most; each since its own time."""
    customers = {
        row.external_id: row.external_customer_id
        for row in catalogue.subscriptions
        if row.external_customer_id is not None and row.started_at is not None
    }
    concerned = [row for row in touched if row["subscription"] in customers]
    asked = [
        UsageAsked(str(customers[row["subscription"]]), row["subscription"], row["since"].replace(tzinfo=UTC))
        for row in concerned[:most]
    ]
    charges = {charge.lago_id: charge for plan in catalogue.plans for charge in plan.charges}
    names = frozenset(one.subscription for one in asked)
    if not asked:
        return UsageAnswer((), names, charges)
    if len(asked) < len(concerned):
        progress.note(f"asking for the usage of {len(asked):,} of {len(concerned):,} subscriptions")
    try:
        with LagoClient(lago) as client:
            periods = read_usage_periods(client, asked)
            strange = {
                one.subscription
                for one in periods
                if one.is_open and any(bucket.charge_id not in charges for bucket in one.buckets)
            }
            for name in sorted(strange):
                charges |= {charge.lago_id: charge for charge in read_own_charges(client, name)}
    except LagoError as error:
        progress.note(f"nothing is priced: {error}")
        return UsageAnswer((), names, charges, str(error))
    return UsageAnswer(periods, names, charges)


def ask_other_codes(workspace: Workspace, settings: ReconcileSettings, progress: Progress) -> tuple[OtherCode, ...]:
    """Return the codes of which Lago has nothing, for all or for a payer, with the code that has the calls' events.

    An event is a call's where one of its properties is what the call used, at the call's time and of its subscription.
    A Lago that does not answer is told, and fails no run.
    """
    missing = workspace.rows(
        "unheard_events", most=_MOST_CALLS_ASKED, most_of_payer=_CALLS_OF_A_PAYER, most_payers=_MOST_PAYERS_ASKED
    )
    if not missing:
        return ()
    asked, found = Counter[_Asked](), defaultdict[_Asked, Counter[str]](Counter)
    tolerance = settings.rules.tolerance
    early, late = (timedelta(microseconds=us) for us in (tolerance.early_us, tolerance.late_us))
    try:
        with LagoClient(settings.lago) as client:
            for row in missing:
                at = row["time"].replace(tzinfo=UTC)
                beside = Window(at - early, at + late)
                codes = list_codes(client, row["subscription"], beside, row["quantity"])
                about = row["code"], row["payer"] or ""
                asked[about] += 1
                found[about].update(codes - {row["code"]})
    except LagoError as error:
        progress.note(f"other codes were not looked at: {error}")
    # Sets of texts have another order in each process: of several that have as many, the first by name.
    return tuple(
        OtherCode(code, payer, other, -calls, asked[code, payer])
        for (code, payer), counted in sorted(found.items())
        for calls, other in sorted((-calls, other) for other, calls in counted.items())[:1]
    )
