"""What the discrepancies are worth: prices the buckets that they change, and shares each one's worth among them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal
from typing import Any

from jobs.adapters.workspace import Workspace
from jobs.core.lago.billing_rules import BillingRules
from jobs.core.lago.prices import currency_exponent
from jobs.core.lago.values import Catalogue
from jobs.core.meters import BoundPart, bind
from jobs.core.model_names import ModelNames
from jobs.core.money.amounts import Split, by_currency
from jobs.core.money.pricing import Group, PricedBucket, Pricing, price
from jobs.core.money.statement import Money
from jobs.core.money.worth import Change, Unpriced
from jobs.core.rules import Rules
from jobs.core.telling.focus import FOCUS_COLUMNS, FocusCharge
from jobs.core.telling.reports import csv_lines
from jobs.core.window import naive
from jobs.steps.ask_lago import END, UsageAnswer
from jobs.steps.plan import model_spellings


@dataclass(frozen=True, slots=True)
class Priced:
    """What a window's discrepancies are worth, and what its plan would bill."""

    found: Money
    """All discrepancies."""
    planned: Money
    """What Lago would bill more once the plan is applied."""


def price_findings(
    workspace: Workspace,
    rules: Rules,
    catalogue: Catalogue,
    told: UsageAnswer,
) -> Priced:
    """Fill `finding_amount` with what each discrepancy is worth, and return the sums; what was priced is forgotten."""
    bound = bind(rules.parts, {metric.code: metric for metric in catalogue.metrics})
    spellings = model_spellings(bound, catalogue, ModelNames(dict(rules.aliases)))
    workspace.run("clear_amounts")
    billing = BillingRules(catalogue)
    workspace.insert(
        "usage_period",
        (
            (place, one.subscription, naive(one.start), naive(min(one.end, END)), one.is_open)
            for place, one in enumerate(told.periods)
        ),
    )
    workspace.run("group_sides")

    carrying = frozenset(item.part.code for item in bound if item.part.amount is not None)

    def priced(*, is_planned: bool) -> Pricing:
        rows = workspace.records("side_groups", is_planned=is_planned)
        groups = [group_of(row, bound, spellings) for row in rows]
        # What planned events carry is added up as they are written.
        carried = carrying if is_planned else frozenset[str]()
        groups = [one for one in groups if one.period is not None or not _is_carried(one, carried, billing)]
        without = {group.number: why_no_period(group, billing, told) for group in groups if group.period is None}
        return price(groups, told.periods, billing.metrics, told.charges, without, carried)

    found = priced(is_planned=False)
    _share(workspace, found)
    return Priced(_money(found), _money(priced(is_planned=True)))


def focus_lines(workspace: Workspace, catalogue: Catalogue, name: str) -> Iterator[bytes]:
    """Yield the lines of `focus.csv` from the query of this name, `focus_usage` or `focus_corrections`."""
    units = {metric.code: metric.field_name for metric in catalogue.metrics}
    customers = {row.external_id: row.external_customer_id or "" for row in catalogue.subscriptions}
    seller = catalogue.organization.name or "Lago"
    times = ("billing_start", "billing_end", "charge_start", "charge_end")
    charges = (
        FocusCharge(
            customer=customers[row["subscription"]],
            seller=seller,
            unit=units[row["code"]],
            **(row | {one: row[one].replace(tzinfo=UTC) for one in times}),
        )
        for row in workspace.records(name)
    )
    yield from csv_lines(FOCUS_COLUMNS, (charge.row() for charge in charges))


def _money(pricing: Pricing) -> Money:
    return Money(
        missing=by_currency((one.currency, one.amount) for one in pricing.buckets if one.is_missing),
        surplus=by_currency((one.currency, one.amount) for one in pricing.buckets if not one.is_missing),
        unpriced=pricing.unpriced_buckets,
    )


def group_of(row: Mapping[str, Any], bound: Sequence[BoundPart], spellings: Mapping[tuple[str, str], str]) -> Group:
    """Return the group that this row of `side_groups` or `billed_groups` tells; `spellings` as in `planned_event`."""
    code, model = row["code"], row["model"]
    if row["is_to_be_sent"]:
        model = spellings.get((code, row["model_key"]), model)
    return Group(
        number=row["number"],
        subscription=row["subscription"] or None,
        code=code,
        period=row["period"],
        is_missing=row["is_missing"],
        properties=dict(compared_properties(code, bound, model, row["dimensions"])),
        change=Change(Decimal(row["quantity"]), row["events"]),
        time=END if row["time"] is None else row["time"].replace(tzinfo=UTC),
    )


def compared_properties(
    code: str, bound: Sequence[BoundPart], model: str | None, compared: str | None
) -> Iterator[tuple[str, str | None]]:
    """Yield the properties that the meter compares by, which are all that is known of an event.

    `compared` is a JSON list: the model's key, then the other properties' texts.
    """
    dimensions = next((item.part.dimensions for item in bound if item.part.code == code), ())
    rest = iter(json.loads(compared or "[null]")[1:])
    for name, source in dimensions:
        yield name, model if source == "model" else next(rest, None)


def why_no_period(group: Group, billing: BillingRules, told: UsageAnswer) -> Unpriced:
    """Return why no period is told that holds the group's time."""
    name = group.subscription
    if name is None or not billing.has(name):
        return Unpriced.NO_SUBSCRIPTION
    if group.time < END and billing.span(name, group.time).row is None:
        return Unpriced.NO_SUBSCRIPTION
    if told.failure:
        return Unpriced.NOT_TOLD
    return Unpriced.NO_PERIOD if name in told.asked else Unpriced.NOT_ASKED


def _is_carried(group: Group, carried: frozenset[str], billing: BillingRules) -> bool:
    """Tell whether nothing is charged for a group but the amounts that its events carry."""
    name = group.subscription or ""
    if group.code not in carried:
        return False
    row = billing.span(name, group.time).row if billing.has(name) and group.time < END else None
    pricing = None if row is None else billing.pricing(row, group.code)
    return pricing is not None and all(charge.charge_model == "dynamic" for charge in pricing.charges)


def _share(workspace: Workspace, pricing: Pricing) -> None:
    """Share the amount of each bucket among its discrepancies by quantity, so that they add up to it."""
    exponents = {one.currency: currency_exponent(one.currency) for one in pricing.buckets}
    workspace.insert("currency", exponents.items())
    workspace.insert("unpriced_group", ((number, reason.value) for number, reason in pricing.unpriced.items()))
    workspace.insert("bucket_group", _places(pricing.buckets))
    workspace.map_rows("bucket_sides", "bucket_share", Sharing().share)
    workspace.run("share_amounts")


def _places(buckets: Sequence[PricedBucket]) -> Iterator[tuple[int, str, int, int]]:
    for place, bucket in enumerate(buckets):
        for number in bucket.groups:
            yield place, bucket.currency, bucket.amount, number


class Sharing:
    """Shares one bucket after another, each discrepancy, or part of a report's usage, as it comes."""

    def __init__(self) -> None:
        self._place = -1
        self._split = Split(0, Decimal(1), 1)

    def share(
        self,
        place: int,
        currency: str,
        amount: int,
        finding_id: int,
        is_missing: bool,
        quantity: Decimal,
        whole: Decimal,
        parts: int,
    ) -> tuple[int, bool, str, int]:
        """Return the row of `bucket_share` for this row of `bucket_sides` or `billed_parts`."""
        if place != self._place:
            self._place, self._split = place, Split(amount, whole, parts)
        return finding_id, is_missing, currency, self._split.share(quantity)
