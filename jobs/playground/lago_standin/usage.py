"""Current and past usage, and what Lago would bill: all from one query."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from jobs.core.lago.prices import UsedBucket, charged_amount
from jobs.playground.lago_standin import answers
from jobs.playground.lago_standin.answers import Answer, ok
from jobs.playground.lago_standin.calls import Call
from jobs.playground.lago_standin.catalogue import charges_of, find_subscription
from jobs.playground.lago_standin.periods import ChargesPeriod, charges_period, local_date
from jobs.playground.lago_standin.queries import query
from jobs.playground.lago_standin.ruby_values import decimal_text, seconds_text

_ALL_VALUES = "__ALL_FILTER_VALUES__"


@dataclass(frozen=True, slots=True)
class Bucket:
    """What one charge filter and pricing group amounts to."""

    filter_position: int | None
    """Which of the charge's filters, from 0; None is the default bucket."""
    grouped_by: dict[str, str | None]
    """The pricing group's keys and values; empty without pricing groups."""
    events_count: int = 0
    """Events that count, or the aggregation itself for a unique count."""
    aggregated_units: Decimal = Decimal(0)
    """The metric's quantity; of a weighted sum the sum without weights."""
    units: Decimal = Decimal(0)
    """The metric's quantity as billed."""
    priced_units: Decimal = Decimal(0)
    """The quantity that the price is for: prorated where the charge is."""
    precise_amount: Decimal = Decimal(0)
    """What the events say they cost, in the currency's smallest unit."""
    quantities: Sequence[Decimal] = ()
    """Each event's quantity, oldest first; only where the price needs them."""

    def properties(self, charge: Mapping[str, Any]) -> dict[str, Any]:
        """Return the prices that hold for this bucket: its filter's, or the charge's."""
        own: dict[str, Any] = charge["properties"]
        if self.filter_position is None:
            return own
        return charge["filters"][self.filter_position].get("properties") or own

    def amount_cents(self, charge: Mapping[str, Any], currency: str) -> int:
        """Return what the bucket costs."""
        used = UsedBucket(self.priced_units, self.events_count, tuple(self.quantities), self.precise_amount)
        return charged_amount(charge["charge_model"], self.properties(charge), used, currency)


@dataclass(frozen=True, slots=True)
class Sum:
    """Buckets added up."""

    units: Decimal
    """As billed."""
    aggregated_units: Decimal
    """As `Bucket.aggregated_units`."""
    events_count: int
    """Events that count."""
    amount_cents: int
    """Price in the currency's smallest unit, each bucket rounded on its own."""

    def document(self) -> dict[str, Any]:
        """Return the fields that every level of usage shows."""
        return {
            "units": decimal_text(self.units),
            "total_aggregated_units": decimal_text(self.aggregated_units),
            "events_count": self.events_count,
            "amount_cents": self.amount_cents,
            "pricing_unit_details": None,
        }


async def current_usage(call: Call) -> Answer:
    """Answer what an active subscription has used in its current period."""
    external_id = call.parameter("external_subscription_id") or ""
    await _require_customer(call)
    subscription = await find_subscription(call, external_id, "active", call.path["external_customer_id"])
    if subscription is None:
        raise answers.not_allowed("no_active_subscription")
    if (call.parameter("full_usage") or "false") == "true":
        raise answers.not_allowed("full_usage_not_allowed")
    charges = await _wanted_charges(call, subscription)
    period = charges_period(subscription, call.tenant.now())
    usage = await period_usage(call, subscription, charges, period, cached=True)
    if call.parameter("skip_grouping") == "true":
        usage["charges_usage"] = [charge | {"grouped_usage": []} for charge in usage["charges_usage"]]
    return ok({"customer_usage": usage})


async def past_usage(call: Call) -> Answer:
    """Answer what was billed for a subscription's finalized periods, newest first."""
    external_id = call.parameter("external_subscription_id")
    if not external_id:
        raise answers.invalid({"external_subscription_id": ["value_is_mandatory"]})
    code = call.parameter("billable_metric_code")
    if code is not None:
        await require_metric(call, code)
    page = answers.requested_page(call.parameter("page"), call.parameter("per_page"))
    parameters = {
        "organization_id": call.tenant.id,
        "external_customer_id": call.path["external_customer_id"],
        "external_subscription_id": external_id,
        "periods_count": int(text) if (text := call.parameter("periods_count") or "").isdigit() else None,
    }
    rows = await (await call.connection.execute(query("standin_past_usage"), parameters)).fetchall()
    meta = page.meta(len(rows))
    shown = rows[page.offset : page.offset + page.size]
    return ok({"usage_periods": [_of_metric(row["usage"], code) for row in shown], "meta": meta})


async def require_metric(call: Call, code: str) -> dict[str, Any]:
    """Return a metric's row by its code, or refuse with 404."""
    parameters = {"organization_id": call.tenant.id, "code": code, "limit": 1, "offset": 0}
    row = await (await call.connection.execute(query("standin_list_metrics"), parameters)).fetchone()
    if row is None:
        raise answers.not_found("billable_metric_not_found")
    return row | {"metric_code": row["code"]}


async def buckets(
    call: Call,
    external_subscription_id: str,
    charge: Mapping[str, Any],
    period: ChargesPeriod,
    zone: str = "UTC",
) -> list[Bucket]:
    """Return what is billed for one subscription and charge over a period, by charge filter and pricing group."""
    group_keys = charge["properties"].get("pricing_group_keys") or []
    filters = [
        {
            "values": _accepted(one["values"], charge["metric_filters"]),
            "group_keys": (one.get("properties") or {}).get("pricing_group_keys") or group_keys,
        }
        for one in charge["filters"]
    ]
    parameters = {
        "events_store": call.tenant.events_store,
        "deduplication": call.tenant.deduplication,
        "organization_id": call.tenant.id,
        "external_subscription_id": external_subscription_id,
        "code": charge["metric_code"],
        "field_name": charge["field_name"],
        "aggregation_type": charge["aggregation_type"],
        "recurring": charge["recurring"],
        "pay_in_advance": charge["pay_in_advance"],
        "prorated": charge["prorated"] and charge["recurring"],
        "rounding_function": charge["rounding_function"],
        "rounding_precision": charge["rounding_precision"] or 0,
        "each_quantity": charge["charge_model"] == "percentage",
        "from": period.start,
        "to": period.end,
        "zone": zone,
        "period_days": period.length_in_days,
        "filters": json.dumps(filters),
        "group_keys": json.dumps(group_keys),
    }
    cursor = await call.connection.execute(query("standin_usage"), parameters)
    found = [Bucket(**row) for row in await cursor.fetchall()]
    # A bucket without an event is a bucket too, of the group of nothing, and may have its price.
    used = {bucket.filter_position for bucket in found}
    for position in (*range(len(filters)), None):
        if position not in used:
            keys = group_keys if position is None else filters[position]["group_keys"]
            found.append(Bucket(position, dict.fromkeys(keys)))
    return found


def _accepted(values: dict[str, list[str]], declared: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return a charge filter's values, all declared ones where it asks for all."""
    every = {one["key"]: one["values"] for one in declared}
    return {key: every.get(key, []) if given == [_ALL_VALUES] else given for key, given in values.items()}


async def period_usage(
    call: Call, subscription: dict[str, Any], charges: list[dict[str, Any]], period: ChargesPeriod, *, cached: bool
) -> dict[str, Any]:
    """Return the usage of some charges of a subscription over a period, as the API shows it."""
    usages = []
    for charge in charges:
        key = (call.tenant.id, subscription["external_id"], charge["metric_code"])
        caching = cached and call.tenant.usage_cache_lag_seconds is not None
        usage = call.usage_cache.find(key, charge["id"]) if caching else None
        if usage is None:
            usage = await _charge_usage(call, subscription, charge, period)
            if caching:
                call.usage_cache.keep(key, charge["id"], usage)
        usages.append(usage)
    amount = sum(usage["amount_cents"] for usage in usages)
    return {
        "from_datetime": seconds_text(period.start),
        "to_datetime": seconds_text(period.end),
        "issuing_date": f"{local_date(period.end, subscription['timezone']):%Y-%m-%d}",
        "lago_invoice_id": None,
        "currency": subscription["plan_amount_currency"],
        "amount_cents": amount,
        "taxes_amount_cents": 0,
        "total_amount_cents": amount,
        "charges_usage": usages,
    }


async def _require_customer(call: Call) -> None:
    parameters = {"organization_id": call.tenant.id, "external_id": call.path["external_customer_id"]}
    if await (await call.connection.execute(query("standin_find_customer"), parameters)).fetchone() is None:
        raise answers.not_found("resource_not_found")


async def _wanted_charges(call: Call, subscription: dict[str, Any]) -> list[dict[str, Any]]:
    charges = await charges_of(call, [subscription["plan_id"]])
    wanted = {
        "id": call.parameter("charge_id") or call.parameter("filter_by_charge_id"),
        "code": call.parameter("charge_code") or call.parameter("filter_by_charge_code"),
        "metric_code": call.parameter("billable_metric_code"),
    }
    wanted = {column: value for column, value in wanted.items() if value}
    found = [charge for charge in charges if all(str(charge[column]) == value for column, value in wanted.items())]
    if wanted and not found:
        raise answers.not_found("charge_not_found")
    return found


async def _charge_usage(
    call: Call, subscription: dict[str, Any], charge: dict[str, Any], period: ChargesPeriod
) -> dict[str, Any]:
    found = await buckets(call, subscription["external_id"], charge, period, subscription["timezone"])
    currency = subscription["plan_amount_currency"]
    groups = []
    for bucket in found:
        if bucket.grouped_by and bucket.grouped_by not in groups:
            groups.append(bucket.grouped_by)
    return _sum(charge, found, currency).document() | {
        "amount_currency": currency,
        "charge": {
            "lago_id": str(charge["id"]),
            "code": charge["code"],
            "charge_model": charge["charge_model"],
            "invoice_display_name": charge["invoice_display_name"],
        },
        "billable_metric": {
            "lago_id": str(charge["metric_id"]),
            "name": charge["metric_name"],
            "code": charge["metric_code"],
            "aggregation_type": charge["aggregation_type"],
        },
        "filters": _filter_usages(charge, found, currency, (*range(len(charge["filters"])), None)),
        "grouped_usage": [_group_usage(charge, group, found, currency) for group in groups],
        "presentation_breakdowns": [],
    }


def _group_usage(
    charge: dict[str, Any], group: dict[str, str | None], found: list[Bucket], currency: str
) -> dict[str, Any]:
    members = [bucket for bucket in found if bucket.grouped_by == group]
    positions = tuple(bucket.filter_position for bucket in members)
    return _sum(charge, members, currency).document() | {
        "grouped_by": group,
        "filters": _filter_usages(charge, members, currency, positions),
        "presentation_breakdowns": [],
    }


def _filter_usages(
    charge: dict[str, Any], found: list[Bucket], currency: str, positions: tuple[int | None, ...]
) -> list[dict[str, Any]]:
    """List these charge filters, None for the default bucket; nothing for a charge without filters."""
    filters: list[dict[str, Any]] = charge["filters"]
    if not filters:
        return []
    return [
        _sum(charge, [bucket for bucket in found if bucket.filter_position == position], currency).document()
        | {
            "invoice_display_name": None if position is None else filters[position].get("invoice_display_name"),
            "values": None if position is None else filters[position]["values"],
            "presentation_breakdowns": [],
        }
        for position in positions
    ]


def _sum(charge: dict[str, Any], found: list[Bucket], currency: str) -> Sum:
    return Sum(
        units=sum((bucket.units for bucket in found), Decimal(0)),
        aggregated_units=sum((bucket.aggregated_units for bucket in found), Decimal(0)),
        events_count=sum(bucket.events_count for bucket in found),
        amount_cents=sum(bucket.amount_cents(charge, currency) for bucket in found),
    )


def _of_metric(usage: dict[str, Any], code: str | None) -> dict[str, Any]:
    if code is None:
        return usage
    kept = [charge for charge in usage["charges_usage"] if charge["billable_metric"]["code"] == code]
    return usage | {"charges_usage": kept}
