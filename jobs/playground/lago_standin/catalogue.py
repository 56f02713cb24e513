"""Organisations, billable metrics, plans and subscriptions: what the API shows of the catalogue."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID, uuid5

from jobs.playground.lago_standin import answers
from jobs.playground.lago_standin.answers import Answer, ok
from jobs.playground.lago_standin.calls import Call
from jobs.playground.lago_standin.periods import current_period
from jobs.playground.lago_standin.queries import query
from jobs.playground.lago_standin.ruby_values import milliseconds_text, seconds_text

_STATUSES = ("active", "pending", "terminated", "canceled", "incomplete")


async def organization(call: Call) -> Answer:
    """Show the key's organisation; `events_store` only since 1.47."""
    tenant = call.tenant
    document: dict[str, Any] = {
        "lago_id": str(tenant.id),
        "name": tenant.name,
        "slug": re.sub(r"[^a-z0-9_]+", "-", tenant.name.lower()).strip("-"),
        "default_currency": tenant.default_currency,
        "created_at": seconds_text(tenant.created_at),
        "webhook_url": "",
        "webhook_urls": [],
        "country": None,
        "address_line1": None,
        "address_line2": None,
        "state": None,
        "zipcode": None,
        "email": None,
        "city": None,
        "legal_name": None,
        "legal_number": None,
        "timezone": "UTC",
        "net_payment_term": 0,
        "email_settings": [],
        "document_numbering": "per_customer",
        "document_number_prefix": f"{tenant.name[:3].upper()}-{str(tenant.id)[-4:].upper()}",
        "tax_identification_number": None,
        "finalize_zero_amount_invoice": True,
        "billing_configuration": {"invoice_footer": None, "invoice_grace_period": 0, "document_locale": "en"},
    }
    if tenant.at_least("1.47"):
        document["events_store"] = tenant.events_store
    return ok({"organization": document})


async def metrics(call: Call) -> Answer:
    """List billable metrics."""
    return await _list(call, "billable_metrics", "metrics", {"code": None}, metric_document)


async def metric(call: Call) -> Answer:
    """Show a billable metric by its code."""
    row = await _find(call, "standin_list_metrics", {"code": call.path["code"]})
    if row is None:
        raise answers.not_found("billable_metric_not_found")
    return ok({"billable_metric": metric_document(row, counted=False)})


async def plans(call: Call) -> Answer:
    """List plans with their charges."""
    page = answers.requested_page(call.parameter("page"), call.parameter("per_page"))
    rows, meta = await _rows(call, page, "plans", {"code": None})
    charges = await charges_of(call, [row["id"] for row in rows])
    return ok({"plans": [plan_document(row, charges) for row in rows], "meta": meta})


async def plan(call: Call) -> Answer:
    """Show a plan by its code, with its charges."""
    row = await _find(call, "standin_list_plans", {"code": call.path["code"]})
    if row is None:
        raise answers.not_found("plan_not_found")
    return ok({"plan": plan_document(row, await charges_of(call, [row["id"]]))})


async def subscriptions(call: Call) -> Answer:
    """List subscriptions: only active ones unless `status[]` says otherwise."""
    wanted = [status for status in call.query.getall("status[]", []) if status in _STATUSES]
    filters = {
        "statuses": wanted or ["active"],
        "external_id": call.parameter("external_id") or None,
        "external_customer_id": call.parameter("external_customer_id") or None,
        "plan_code": call.parameter("plan_code") or None,
        "id": None,
    }
    return await _list(call, "subscriptions", "subscriptions", filters, lambda row: subscription_document(call, row))


async def subscription(call: Call) -> Answer:
    """Show the newest subscription of an external id in one status, with its plan."""
    row = await find_subscription(call, call.path["external_id"], call.parameter("status") or "active")
    if row is None:
        raise answers.not_found("subscription_not_found")
    return ok({"subscription": await whole_subscription(call, row)})


async def whole_subscription(call: Call, row: dict[str, Any], *, entitled: bool = True) -> dict[str, Any]:
    """Return a subscription as it is shown alone: with its plan and, unless it just ended, its entitlements."""
    document = subscription_document(call, row) | {"applied_invoice_custom_sections": []}
    if entitled:
        document |= {"entitlements": [], "applicable_usage_thresholds": []}
    parameters = {"organization_id": call.tenant.id, "plan_id": row["plan_id"]}
    plan_row = await (await call.connection.execute(query("standin_plan"), parameters)).fetchone()
    if plan_row is not None:
        document["plan"] = plan_document(plan_row, await charges_of(call, [plan_row["id"]]))
        del document["plan"]["entitlements"]
    return document


async def find_subscription(
    call: Call,
    external_id: str | None,
    status: str,
    external_customer_id: str | None = None,
    *,
    lago_id: UUID | None = None,
) -> dict[str, Any] | None:
    """Return the newest subscription row of an external id (or the one of an id) in one status, or None."""
    filters = {
        "statuses": [status],
        "external_id": external_id,
        "external_customer_id": external_customer_id,
        "plan_code": None,
        "id": lago_id,
    }
    return await _find(call, "standin_list_subscriptions", filters)


async def charges_of(call: Call, plan_ids: list[UUID]) -> list[dict[str, Any]]:
    """Return the charge rows of some plans."""
    cursor = await call.connection.execute(query("standin_list_charges"), {"plan_ids": plan_ids})
    return await cursor.fetchall()


async def _find(call: Call, name: str, filters: dict[str, Any]) -> dict[str, Any] | None:
    parameters = filters | {"organization_id": call.tenant.id, "limit": 1, "offset": 0}
    return await (await call.connection.execute(query(name), parameters)).fetchone()


async def _rows(
    call: Call, page: answers.AskedPage, resource: str, filters: dict[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, int | None]]:
    parameters = filters | {"organization_id": call.tenant.id, "limit": page.size, "offset": page.offset}
    counted = await (await call.connection.execute(query(f"standin_count_{resource}"), parameters)).fetchone()
    meta = page.meta(counted["total"] if counted else 0)
    rows = await (await call.connection.execute(query(f"standin_list_{resource}"), parameters)).fetchall()
    return rows, meta


async def _list(call: Call, root: str, resource: str, filters: dict[str, Any], serialize: Any) -> Answer:
    page = answers.requested_page(call.parameter("page"), call.parameter("per_page"))
    rows, meta = await _rows(call, page, resource, filters)
    return ok({root: [serialize(row) for row in rows], "meta": meta})


def metric_document(row: dict[str, Any], *, counted: bool = True) -> dict[str, Any]:
    """Return a billable metric; a metric that is shown alone has no counters."""
    counters = {"active_subscriptions_count": 0, "draft_invoices_count": 0, "plans_count": 0} if counted else {}
    return {
        "lago_id": str(row["id"]),
        "name": row["name"],
        "code": row["code"],
        "description": row["description"],
        "aggregation_type": row["aggregation_type"],
        "weighted_interval": row["weighted_interval"],
        "recurring": row["recurring"],
        "rounding_function": row["rounding_function"],
        "rounding_precision": row["rounding_precision"],
        "created_at": seconds_text(row["created_at"]),
        "field_name": row["field_name"],
        "expression": row["expression"],
        "filters": [one | {"values": sorted(one["values"])} for one in row["filters"]],
    } | counters


def plan_document(row: dict[str, Any], charges: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a plan with those of the charges that are its own."""
    return {
        "lago_id": str(row["id"]),
        "name": row["name"],
        "invoice_display_name": None,
        "created_at": seconds_text(row["created_at"]),
        "code": row["code"],
        "interval": row["interval"],
        "description": None,
        "amount_cents": row["amount_cents"],
        "amount_currency": row["amount_currency"],
        "trial_period": None,
        "pay_in_advance": row["pay_in_advance"],
        "bill_charges_monthly": row["bill_charges_monthly"],
        "bill_fixed_charges_monthly": None,
        "customers_count": 0,
        "active_subscriptions_count": 0,
        "draft_invoices_count": 0,
        "parent_id": None,
        "pending_deletion": False,
        "charges": [_charge(charge) for charge in charges if charge["plan_id"] == row["id"]],
        "entitlements": [],
        "usage_thresholds": [],
        "applicable_usage_thresholds": [],
        "taxes": [],
    }


def _charge(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "lago_id": str(row["id"]),
        "lago_billable_metric_id": str(row["metric_id"]),
        "code": row["code"],
        "invoice_display_name": row["invoice_display_name"],
        "billable_metric_code": row["metric_code"],
        "created_at": seconds_text(row["created_at"]),
        "charge_model": row["charge_model"],
        "invoiceable": row["invoiceable"],
        "regroup_paid_fees": None,
        "pay_in_advance": row["pay_in_advance"],
        "prorated": row["prorated"],
        "min_amount_cents": row["min_amount_cents"],
        "accepts_target_wallet": False,
        "properties": _with_old_name(row["properties"]),
        "applied_pricing_unit": None,
        "lago_parent_id": None,
        "filters": [_filter(row, position, one) for position, one in enumerate(row["filters"])],
        "taxes": [],
    }


def _filter(charge: dict[str, Any], position: int, one: dict[str, Any]) -> dict[str, Any]:
    return {
        "lago_id": filter_id(charge, position),
        "charge_code": charge["code"],
        "invoice_display_name": one.get("invoice_display_name"),
        "properties": _with_old_name(one.get("properties") or {}),
        "values": one["values"],
    }


def filter_id(charge: dict[str, Any], position: int) -> str:
    """Return the id of one of a charge's filters."""
    return str(uuid5(charge["id"], str(position)))


def _with_old_name(properties: dict[str, Any]) -> dict[str, Any]:
    """Return a charge's properties with the pricing group keys under their former name too."""
    keys = properties.get("pricing_group_keys")
    return properties | ({"grouped_by": keys} if keys is not None else {})


def subscription_document(call: Call, row: dict[str, Any]) -> dict[str, Any]:
    """Return a subscription as lists show it; one that never began has no period."""
    period = current_period(row, call.tenant.now()) if row["started_at"] is not None else None
    return {
        "lago_id": str(row["id"]),
        "external_id": row["external_id"],
        "lago_customer_id": str(row["customer_id"]),
        "external_customer_id": row["external_customer_id"],
        "name": row["name"] or "",
        "plan_code": row["plan_code"],
        "plan_amount_cents": row["plan_amount_cents"],
        "plan_amount_currency": row["plan_amount_currency"],
        "status": row["status"],
        "billing_time": row["billing_time"],
        "subscription_at": seconds_text(row["subscription_at"]),
        "started_at": _started_at(call, row),
        "trial_ended_at": None,
        "ending_at": seconds_text(row["ending_at"]),
        "terminated_at": seconds_text(row["terminated_at"]),
        "canceled_at": seconds_text(row["canceled_at"]),
        "created_at": seconds_text(row["created_at"]),
        "previous_plan_code": row["previous_plan_code"],
        "next_plan_code": row["next_plan_code"],
        "downgrade_plan_date": None,
        "current_billing_period_started_at": seconds_text(period.start) if period else None,
        "current_billing_period_ending_at": seconds_text(period.end) if period else None,
        "on_termination_credit_note": None,
        "on_termination_invoice": row["on_termination_invoice"],
        "progressive_billing_disabled": False,
        "consolidate_invoice": True,
        "purchase_order_number": None,
        "cancellation_reason": None,
        "activated_at": seconds_text(row["started_at"]),
        "payment_method": {"payment_method_id": None, "payment_method_type": "provider"},
        "activation_rules": [],
    }


def _started_at(call: Call, row: dict[str, Any]) -> str | None:
    return (milliseconds_text if call.tenant.at_least("1.35") else seconds_text)(row["started_at"])
