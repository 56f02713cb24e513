"""Current and past usage, and what Lago would bill: all from one query."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from psycopg.types.json import Jsonb

from jobs.adapters.lago_standin import answers
from jobs.adapters.lago_standin.answers import Answer, ok
from jobs.adapters.lago_standin.calls import Call
from jobs.adapters.lago_standin.catalogue import charges_of, find_subscription
from jobs.adapters.lago_standin.periods import ChargesPeriod, charges_period
from jobs.adapters.lago_standin.ruby_values import decimal_text, seconds_text
from jobs.queries import query


@dataclass(frozen=True, slots=True)
class Bucket:
    """What one charge filter and pricing group amounts to."""

    filter_position: int | None
    """Which of the charge's filters, from 0; None is the default bucket."""
    grouped_by: dict[str, str | None]
    """The pricing group's keys and values; empty without pricing groups."""
    events_count: int
    """Events that count, or the aggregation itself for a unique count."""
    aggregated_units: Decimal
    """The metric's quantity before rounding."""
    units: Decimal
    """The metric's quantity as billed."""


@dataclass(frozen=True, slots=True)
class Sum:
    """Buckets added up."""

    units: Decimal
    """As billed."""
    aggregated_units: Decimal
    """Before rounding."""
    events_count: int
    """Events that count."""
    amount_cents: int
    """Price in cents."""


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
    return ok({"customer_usage": await period_usage(call, subscription, charges, period, cached=True)})


async def past_usage(call: Call) -> Answer:
    """Answer what was billed for a subscription's finalized periods, newest first."""
    external_id = call.parameter("external_subscription_id")
    if not external_id:
        raise answers.invalid({"external_subscription_id": ["value_is_mandatory"]})
    await _require_customer(call)
    code = call.parameter("billable_metric_code")
    if code is not None:
        await require_metric(call, code)
    page = answers.requested_page(call.parameter("page"), call.parameter("per_page"))
    parameters = {
        "organization_id": call.tenant.id,
        "external_subscription_id": external_id,
        "periods_count": int(text) if (text := call.parameter("periods_count") or "").isdigit() else None,
    }
    rows = await (await call.connection.execute(query("standin_past_usage"), parameters)).fetchall()
    meta = page.meta(len(rows))
    shown = rows[page.offset : page.offset + page.size]
    return ok({"usage_periods": [_of_metric(row["usage"], code) for row in shown], "meta": meta})


async def finalize(call: Call, external_id: str, charges_from: datetime, charges_to: datetime) -> dict[str, Any]:
    """Bill a period: freeze its usage, so that later events in it are stored and listed but never billed."""
    subscription = await find_subscription(call, external_id, "active") or await find_subscription(
        call, external_id, "terminated"
    )
    if subscription is None:
        raise answers.not_found("subscription_not_found")
    charges = await charges_of(call, [subscription["plan_id"]])
    usage = await period_usage(call, subscription, charges, ChargesPeriod(charges_from, charges_to), cached=False)
    parameters = {
        "organization_id": call.tenant.id,
        "external_subscription_id": external_id,
        "charges_from": charges_from,
        "charges_to": charges_to,
        "usage": Jsonb(usage),
    }
    await call.connection.execute(query("standin_finalize_period"), parameters)
    return usage


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
    metric: Mapping[str, Any],
    period: ChargesPeriod,
    *,
    filters: list[dict[str, list[str]]],
    group_keys: list[str],
) -> list[Bucket]:
    """Return what is billed for one subscription and metric over a period, by charge filter and pricing group."""
    parameters = {
        "events_store": call.tenant.events_store,
        "deduplication": call.tenant.deduplication,
        "organization_id": call.tenant.id,
        "external_subscription_id": external_subscription_id,
        "code": metric["metric_code"],
        "field_name": metric["field_name"],
        "aggregation_type": metric["aggregation_type"],
        "recurring": metric["recurring"],
        "rounding_function": metric["rounding_function"],
        "rounding_precision": metric["rounding_precision"] or 0,
        "from": period.start,
        "to": period.end,
        "filters": json.dumps(filters),
        "group_keys": json.dumps(group_keys),
    }
    cursor = await call.connection.execute(query("standin_usage"), parameters)
    return [Bucket(**row) for row in await cursor.fetchall()]


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
        "issuing_date": f"{period.end:%Y-%m-%d}",
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
    filters: list[dict[str, Any]] = charge["filters"]
    found = await buckets(
        call,
        subscription["external_id"],
        charge,
        period,
        filters=[one["values"] for one in filters],
        group_keys=charge["properties"].get("pricing_group_keys") or [],
    )
    total = _sum(charge, found)
    groups = []
    for bucket in found:
        if bucket.grouped_by and bucket.grouped_by not in groups:
            groups.append(bucket.grouped_by)
    return {
        "units": decimal_text(total.units),
        "total_aggregated_units": decimal_text(total.aggregated_units),
        "events_count": total.events_count,
        "amount_cents": total.amount_cents,
        "amount_currency": subscription["plan_amount_currency"],
        "pricing_unit_details": None,
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
        "filters": _filter_usages(charge, found),
        "grouped_usage": [_group_usage(charge, group, found) for group in groups],
        "presentation_breakdowns": [],
    }


def _group_usage(charge: dict[str, Any], group: dict[str, str | None], found: list[Bucket]) -> dict[str, Any]:
    members = [bucket for bucket in found if bucket.grouped_by == group]
    total = _sum(charge, members)
    return {
        "amount_cents": total.amount_cents,
        "pricing_unit_details": None,
        "events_count": total.events_count,
        "units": decimal_text(total.units),
        "total_aggregated_units": decimal_text(total.aggregated_units),
        "grouped_by": group,
        "filters": _filter_usages(charge, members),
        "presentation_breakdowns": [],
    }


def _filter_usages(charge: dict[str, Any], found: list[Bucket]) -> list[dict[str, Any]]:
    """List every charge filter and then the default bucket; nothing for a charge without filters."""
    filters: list[dict[str, Any]] = charge["filters"]
    if not filters:
        return []
    usages: list[dict[str, Any]] = []
    for position in (*range(len(filters)), None):
        total = _sum(charge, [bucket for bucket in found if bucket.filter_position == position])
        usages.append(
            {
                "units": decimal_text(total.units),
                "total_aggregated_units": decimal_text(total.aggregated_units),
                "amount_cents": total.amount_cents,
                "pricing_unit_details": None,
                "events_count": total.events_count,
                "invoice_display_name": None if position is None else filters[position].get("invoice_display_name"),
                "values": None if position is None else filters[position]["values"],
                "presentation_breakdowns": [],
            }
        )
    return usages


def _sum(charge: dict[str, Any], found: list[Bucket]) -> Sum:
    return Sum(
        units=sum((bucket.units for bucket in found), Decimal(0)),
        aggregated_units=sum((bucket.aggregated_units for bucket in found), Decimal(0)),
        events_count=sum(bucket.events_count for bucket in found),
        amount_cents=sum(_amount_cents(charge, bucket) for bucket in found),
    )


def _amount_cents(charge: dict[str, Any], bucket: Bucket) -> int:
    """Price a bucket; only the standard charge model has a price here."""
    if charge["charge_model"] != "standard":
        return 0
    properties = charge["properties"]
    if bucket.filter_position is not None:
        properties = charge["filters"][bucket.filter_position].get("properties") or properties
    cents = bucket.units * Decimal(str(properties.get("amount", "0"))) * 100
    return int(cents.quantize(Decimal(1), rounding=ROUND_HALF_UP))


def _of_metric(usage: dict[str, Any], code: str | None) -> dict[str, Any]:
    if code is None:
        return usage
    kept = [charge for charge in usage["charges_usage"] if charge["billable_metric"]["code"] == code]
    return usage | {"charges_usage": kept}
