"""What Lago bills for a report's usage: prices the buckets that it counts in, and shares each among its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from jobs.adapters.lago.catalogue import read_catalogue
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.workspace import Workspace
from jobs.core.lago.billing_rules import BillingRules
from jobs.core.lago.prices import currency_exponent
from jobs.core.lago.values import Catalogue, LagoConnection
from jobs.core.layout import Layout
from jobs.core.meters import BoundPart, bind
from jobs.core.model_names import ModelNames
from jobs.core.money.amounts import by_currency
from jobs.core.money.pricing import PricedBucket, bill
from jobs.core.money.revenue import Revenue, RevenueSum
from jobs.core.money.worth import Unpriced
from jobs.core.rules import Rules
from jobs.core.window import Window, naive
from jobs.steps.ask_lago import END, ask_usage_of
from jobs.steps.match import meter_spend_logs
from jobs.steps.money import Sharing, group_of, why_no_period
from jobs.steps.plan import model_spellings
from jobs.steps.reconcile_values import Progress


@dataclass(frozen=True, slots=True)
class RevenueAsked:
    """Where revenue is asked for."""

    lago: LagoConnection
    """Whose prices."""
    most: int
    """How many subscriptions' usage is asked for."""


@dataclass(frozen=True, slots=True)
class BoundMeter:
    """The meter, bound to what Lago bills."""

    catalogue: Catalogue
    """Lago's plans, metrics and subscriptions."""
    bound: tuple[BoundPart, ...]
    """The meter's parts."""


def bind_meter(asked: RevenueAsked, rules: Rules) -> BoundMeter:
    """Read what Lago bills, and bind the meter to it; raise `LagoError` where Lago does not answer."""
    with LagoClient(asked.lago) as client:
        catalogue = read_catalogue(client)
    return BoundMeter(catalogue, tuple(bind(rules.parts, {metric.code: metric for metric in catalogue.metrics})))


def bill_usage(
    workspace: Workspace,
    asked: RevenueAsked,
    rules: Rules,
    meter: BoundMeter,
    layout: Layout,
    window: Window,
    progress: Progress,
) -> tuple[PricedBucket, ...]:
    """Fill `usage_revenue` with what Lago bills for each row of the report, and return its buckets."""
    workspace.insert("meter_part", layout.part_rows)
    meter_spend_logs(workspace, layout)
    used = workspace.rows("used_subscriptions", start=naive(window.start), end=naive(window.end))
    told = ask_usage_of(used, asked.lago, asked.most, meter.catalogue, progress)
    workspace.insert(
        "usage_period",
        (
            (place, one.subscription, naive(one.start), naive(min(one.end, END)), one.is_open)
            for place, one in enumerate(told.periods)
        ),
    )
    workspace.run("group_usage")
    billing = BillingRules(meter.catalogue)
    spellings = model_spellings(meter.bound, meter.catalogue, ModelNames(dict(rules.aliases)))
    groups = [group_of(row, meter.bound, spellings) for row in workspace.records("billed_groups")]
    without = {group.number: why_no_period(group, billing, told) for group in groups if group.period is None}
    pricing = bill(groups, told.periods, billing.metrics, told.charges, without)
    currencies = {one.currency for one in pricing.buckets}
    workspace.insert("currency", ((code, currency_exponent(code)) for code in sorted(currencies)))
    workspace.insert("unpriced_group", ((number, reason.value) for number, reason in pricing.unpriced.items()))
    workspace.insert("billed_bucket", _places(pricing.buckets))
    workspace.map_rows("billed_parts", "bucket_share", Sharing().share)
    workspace.run("share_revenue")
    return pricing.buckets


def revenue_of(workspace: Workspace, buckets: Sequence[PricedBucket]) -> Revenue:
    """Return the sums of what was billed, once the report's rows stand in `usage_row`."""
    billed: dict[tuple[str, str], dict[str, int]] = {}
    margins: dict[tuple[str, str], Decimal] = {}
    for row in workspace.records("revenue_sums"):
        line = row["grouped_by"], row["name"]
        billed.setdefault(line, {})[row["currency"]] = row["amount"]
        if row["margin"] is not None:
            margins[line] = row["margin"]
    whole = by_currency((one.currency, one.amount) for one in buckets)
    told = billed.get(("total", ""), {})
    return Revenue(
        sums={line: RevenueSum(amounts, margins.get(line)) for line, amounts in billed.items()},
        elsewhere={currency: rest for currency, amount in whole.items() if (rest := amount - told.get(currency, 0))},
        unpriced={Unpriced(row["reason"]): row["lines"] for row in workspace.records("unpriced_usage")},
    )


def _places(buckets: Sequence[PricedBucket]) -> Iterator[tuple[int, str, int, str, int]]:
    for place, bucket in enumerate(buckets):
        for number in bucket.groups:
            yield place, bucket.currency, bucket.amount, f"{bucket.units:f}", number
