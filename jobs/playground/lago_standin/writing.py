"""The catalogue's endpoints that write: metrics, plans, customers, subscriptions and add-ons, made and deleted.

What is checked is what an event's way to an invoice depends on; of Lago's many other refusals only a few are here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from psycopg import errors
from psycopg.types.json import Jsonb

from jobs.core.lago.prices import known_charge_models
from jobs.playground.lago_standin import answers, catalogue, invoices
from jobs.playground.lago_standin.answers import Answer, ok
from jobs.playground.lago_standin.calls import Call
from jobs.playground.lago_standin.queries import query
from jobs.playground.lago_standin.ruby_values import seconds_text

_AGGREGATIONS = ("count_agg", "sum_agg", "max_agg", "unique_count_agg", "weighted_sum_agg", "latest_agg")
_INTERVALS = ("weekly", "monthly", "quarterly", "semiannual", "yearly")
_LICENSED = "graduated_percentage_requires_premium_license"
_PERIODS_A_YEAR = {"weekly": 52, "monthly": 12, "quarterly": 4, "semiannual": 2, "yearly": 1}
_EVENTS_OUTLIVE_METRICS_SINCE = "1.51.1"

Document = dict[str, Any]


async def create_metric(call: Call) -> Answer:
    """Make a billable metric."""
    sent = _sent(call, "billable_metric")
    failures = _missing(sent, "name", "code")
    if sent.get("aggregation_type") not in _AGGREGATIONS:
        failures["aggregation_type"] = ["value_is_invalid"]
    if failures:
        raise answers.invalid(failures)
    row = await insert_metric(call, sent)
    return ok({"billable_metric": catalogue.metric_document(row)})


async def insert_metric(call: Call, sent: Mapping[str, Any]) -> Document:
    """Store a billable metric and return its row."""
    parameters = {
        "organization_id": call.tenant.id,
        "name": sent.get("name") or sent["code"],
        "code": sent["code"],
        "description": sent.get("description"),
        "aggregation_type": sent["aggregation_type"],
        "field_name": sent.get("field_name"),
        "filters": Jsonb(sent.get("filters") or []),
        "expression": sent.get("expression"),
        "recurring": bool(sent.get("recurring")),
        "rounding_function": sent.get("rounding_function"),
        "rounding_precision": sent.get("rounding_precision"),
    }
    return await _insert(call, "standin_create_metric", parameters, "code")


async def delete_metric(call: Call) -> Answer:
    """Destroy a billable metric: its charges go with it; up to 1.51.0 its events too."""
    parameters = {"organization_id": call.tenant.id, "code": call.path["code"]}
    row = await _first(call, "standin_list_metrics", parameters | {"limit": 1, "offset": 0})
    if row is None:
        raise answers.not_found("billable_metric_not_found")
    await destroy_metric(call, call.path["code"])
    return ok({"billable_metric": catalogue.metric_document(row)})


async def destroy_metric(call: Call, code: str) -> None:
    """Destroy a billable metric as the organisation's release does."""
    keeps = call.tenant.at_least(_EVENTS_OUTLIVE_METRICS_SINCE)
    parameters = {"organization_id": call.tenant.id, "code": code}
    await call.connection.execute(query("standin_forget_metric" if keeps else "standin_destroy_metric"), parameters)


async def create_plan(call: Call) -> Answer:
    """Make a plan with its charges."""
    sent = _sent(call, "plan")
    failures = _missing(sent, "name", "code")
    if sent.get("interval") not in _INTERVALS:
        failures["interval"] = ["value_is_invalid"]
    charges = [(await _charged_metric(call, one), one) for one in sent.get("charges") or []]
    for _, one in charges:
        if one.get("charge_model") == "graduated_percentage":
            failures["charge_model"] = [_LICENSED]
        elif one.get("charge_model") not in known_charge_models():
            failures["charge_model"] = ["value_is_invalid"]
    if failures:
        raise answers.invalid(failures)
    plan_id = await insert_plan(call, sent, charges)
    row = await _first(call, "standin_plan", {"organization_id": call.tenant.id, "plan_id": plan_id})
    return ok({"plan": catalogue.plan_document(row or {}, await catalogue.charges_of(call, [plan_id]))})


async def insert_plan(call: Call, sent: Mapping[str, Any], charges: list[tuple[str, Document]]) -> UUID:
    """Store a plan with its charges, each named by its metric's code, and return its id."""
    async with call.connection.transaction():
        parameters = {
            "organization_id": call.tenant.id,
            "name": sent.get("name") or sent["code"],
            "code": sent["code"],
            "interval": sent["interval"],
            "amount_cents": sent.get("amount_cents") or 0,
            "amount_currency": sent.get("amount_currency"),
            "pay_in_advance": bool(sent.get("pay_in_advance")),
            "bill_charges_monthly": sent.get("bill_charges_monthly"),
        }
        plan_id = UUID((await _insert(call, "standin_create_plan", parameters, "code"))["id"])
        used: set[str] = set()
        for position, (metric_code, charge) in enumerate(charges):
            code = charge.get("code") or (metric_code if metric_code not in used else f"{metric_code}_{position}")
            used.add(code)
            parameters = {
                "organization_id": call.tenant.id,
                "plan_id": plan_id,
                "position": position,
                "metric_code": metric_code,
                "code": code,
                "charge_model": charge.get("charge_model", "standard"),
                "pay_in_advance": charge.get("pay_in_advance", False),
                "prorated": charge.get("prorated", False),
                "invoiceable": charge.get("invoiceable", True),
                "invoice_display_name": charge.get("invoice_display_name"),
                "min_amount_cents": charge.get("min_amount_cents") or 0,
                "properties": Jsonb(charge.get("properties", {"amount": "0"})),
                "filters": Jsonb(charge.get("filters") or []),
            }
            if await _first(call, "standin_create_charge", parameters) is None:
                raise ValueError(f"there is no metric {metric_code!r} to charge for")
    return plan_id


async def delete_plan(call: Call) -> Answer:
    """Delete a plan, which ends its subscriptions."""
    parameters = {"organization_id": call.tenant.id, "code": call.path["code"]}
    row = await _first(call, "standin_list_plans", parameters | {"limit": 1, "offset": 0})
    if row is None:
        raise answers.not_found("plan_not_found")
    await _end_all(call, plan=call.path["code"], customer=None)
    await call.connection.execute(query("standin_delete_plan"), parameters)
    return ok({"plan": catalogue.plan_document(row, await catalogue.charges_of(call, [row["id"]]))})


async def create_customer(call: Call) -> Answer:
    """Make a customer, or change the one that has this external id."""
    sent = _sent(call, "customer")
    if failures := _missing(sent, "external_id"):
        raise answers.invalid(failures)
    return ok({"customer": _customer(await insert_customer(call, sent))})


async def insert_customer(call: Call, sent: Mapping[str, Any]) -> Document:
    """Store a customer and return its row."""
    parameters = {name: sent.get(name) for name in ("external_id", "name", "currency", "timezone")}
    parameters["invoice_grace_period"] = (sent.get("billing_configuration") or {}).get("invoice_grace_period")
    return await _insert(
        call, "standin_create_customer", parameters | {"organization_id": call.tenant.id}, "external_id"
    )


async def customers(call: Call) -> Answer:
    """List customers, newest first."""
    page = answers.requested_page(call.parameter("page"), call.parameter("per_page"))
    parameters = {"organization_id": call.tenant.id, "external_id": None, "limit": page.size, "offset": page.offset}
    counted = await (await call.connection.execute(query("standin_count_customers"), parameters)).fetchone()
    rows = await (await call.connection.execute(query("standin_list_customers"), parameters)).fetchall()
    meta = page.meta(counted["total"] if counted else 0)
    return ok({"customers": [_customer(row) for row in rows], "meta": meta})


async def customer(call: Call) -> Answer:
    """Show a customer."""
    row = await _found_customer(call)
    return ok({"customer": _customer(row)})


async def delete_customer(call: Call) -> Answer:
    """Delete a customer, which ends its subscriptions."""
    row = await _found_customer(call)
    await _end_all(call, plan=None, customer=row["external_id"])
    parameters = {"organization_id": call.tenant.id, "external_id": row["external_id"]}
    await call.connection.execute(query("standin_delete_customer"), parameters)
    return ok({"customer": _customer(row)})


async def create_subscription(call: Call) -> Answer:
    """Subscribe a customer; with another plan under a running external id, change to a dearer plan at once.

    A start in the past is the start, unless a row of this external id ended: then, and after a change, it is now.
    """
    sent = _sent(call, "subscription")
    if failures := _missing(sent, "external_customer_id", "plan_code"):
        raise answers.invalid(failures)
    customer = str(sent["external_customer_id"])
    external_id = str(sent.get("external_id") or customer)
    parameters = {"organization_id": call.tenant.id, "code": sent["plan_code"], "limit": 1, "offset": 0}
    plan = await _first(call, "standin_list_plans", parameters)
    if plan is None:
        raise answers.not_found("plan_not_found")
    if (
        await _first(call, "standin_find_customer", {"organization_id": call.tenant.id, "external_id": customer})
        is None
    ):
        await insert_customer(call, {"external_id": customer})
    running = await catalogue.find_subscription(call, external_id, "active")
    if running is not None and running["plan_code"] == plan["code"]:
        return ok({"subscription": await catalogue.whole_subscription(call, running)})
    now = call.tenant.now().replace(tzinfo=None)
    asked = _moment(sent.get("subscription_at")) or now
    before = running or await catalogue.find_subscription(call, external_id, "terminated")
    starts, previous = (now if before else asked), None
    status = "pending" if asked > now else "active"
    if running is not None:
        previous = running["id"]
        asked = running["subscription_at"]
        status = (
            "active"
            if _yearly(plan["amount_cents"], plan["interval"])
            >= _yearly(running["plan_amount_cents"], running["plan_interval"])
            else "pending"
        )
        if status == "active":
            await end_subscription(call, previous, now)
    row = {
        "external_id": external_id,
        "customer": customer,
        "plan": plan["code"],
        "name": sent.get("name"),
        "status": status,
        "billing_time": sent.get("billing_time") or "calendar",
        "subscription_at": asked,
        "started_at": starts if status == "active" else None,
        "ending_at": _moment(sent.get("ending_at")),
        "on_termination_invoice": sent.get("on_termination_invoice"),
        "created_at": now,
        "previous_subscription_id": previous,
    }
    lago_id = await insert_subscription(call, row)
    made = await catalogue.find_subscription(call, None, status, lago_id=lago_id)
    return ok({"subscription": await catalogue.whole_subscription(call, made or {})})


async def insert_subscription(call: Call, row: Mapping[str, Any]) -> UUID:
    """Store a subscription row and return its id; `ValueError` where customer or plan are unknown."""
    optional = (
        "name",
        "subscription_at",
        "started_at",
        "terminated_at",
        "canceled_at",
        "ending_at",
        "on_termination_invoice",
        "created_at",
        "previous_subscription_id",
        "current_period_started_at",
        "current_period_ending_at",
    )
    parameters = dict.fromkeys(optional) | {"billing_time": "calendar", "organization_id": call.tenant.id} | dict(row)
    stored = await _first(call, "standin_create_subscription", parameters)
    if stored is None:
        raise ValueError(f"there is no customer {row['customer']!r} or no plan {row['plan']!r}")
    return UUID(stored["id"])


async def delete_subscription(call: Call) -> Answer:
    """End a subscription: an active one is terminated and billed, a pending one canceled."""
    status = call.parameter("status") or "active"
    row = await catalogue.find_subscription(call, call.path["external_id"], status)
    if row is None or status not in ("active", "pending", "incomplete"):
        raise answers.not_found("subscription_not_found")
    await end_subscription(call, row["id"], call.tenant.now().replace(tzinfo=None))
    ended = await catalogue.find_subscription(
        call, None, "terminated" if status == "active" else "canceled", lago_id=row["id"]
    )
    return ok({"subscription": await catalogue.whole_subscription(call, ended or row, entitled=False)})


async def end_subscription(call: Call, lago_id: UUID, at: datetime) -> None:
    """End a row, and bill the last period of one that ran."""
    row = await _first(call, "standin_end_subscription", {"id": lago_id, "at": at})
    if row is not None and row["on_termination_invoice"] == "generate":
        await invoices.finalize_last_period(call, lago_id)


async def create_add_on(call: Call) -> Answer:
    """Make an add-on, which must cost something."""
    sent = _sent(call, "add_on")
    failures = _missing(sent, "name", "code")
    amount = sent.get("amount_cents")
    if not isinstance(amount, int) or amount <= 0:
        failures["amount_cents"] = ["value_is_out_of_range"]
    if failures:
        raise answers.invalid(failures)
    parameters = {
        "organization_id": call.tenant.id,
        "code": sent["code"],
        "name": sent["name"],
        "amount_cents": amount,
        "amount_currency": sent.get("amount_currency") or call.tenant.default_currency,
    }
    row = await _insert(call, "standin_create_add_on", parameters, "code")
    shown = {name: row[name] for name in ("name", "code", "amount_cents", "amount_currency")}
    return ok({"add_on": {"lago_id": str(row["id"]), **shown, "created_at": seconds_text(row["created_at"])}})


async def _end_all(call: Call, *, plan: str | None, customer: str | None) -> None:
    parameters = {"organization_id": call.tenant.id, "plan": plan, "customer": customer}
    rows = await (await call.connection.execute(query("standin_live_subscriptions"), parameters)).fetchall()
    for row in rows:
        await end_subscription(call, row["id"], call.tenant.now().replace(tzinfo=None))


async def _charged_metric(call: Call, charge: Document) -> str:
    """Return the code of the metric that a charge names, by its id or by its code."""
    parameters = {"organization_id": call.tenant.id, "code": charge.get("billable_metric_code")}
    wanted = charge.get("billable_metric_id")
    rows = await call.connection.execute(
        query("standin_list_metrics"),
        parameters | {"limit": None if wanted else 1, "offset": 0} | ({"code": None} if wanted else {}),
    )
    for row in await rows.fetchall():
        if wanted is None or str(row["id"]) == wanted:
            return str(row["code"])
    raise answers.not_found("billable_metrics_not_found")


async def _found_customer(call: Call) -> Document:
    parameters = {"organization_id": call.tenant.id, "external_id": call.path["external_customer_id"]}
    row = await _first(call, "standin_list_customers", parameters | {"limit": 1, "offset": 0})
    if row is None:
        raise answers.not_found("customer_not_found")
    return row


async def _first(call: Call, name: str, parameters: Mapping[str, Any]) -> Document | None:
    return await (await call.connection.execute(query(name), parameters)).fetchone()


async def _insert(call: Call, name: str, parameters: Mapping[str, Any], unique: str) -> Document:
    """Run an insertion and return its row; another request must not go on with what was known before."""
    try:
        row = await _first(call, name, parameters)
    except errors.UniqueViolation as error:
        raise answers.invalid({unique: ["value_already_exist"]}) from error
    call.known.metrics.pop(call.tenant.id, None)
    return row or {}


def _sent(call: Call, root: str) -> Document:
    sent = call.body.get(root) if isinstance(call.body, dict) else None
    if not isinstance(sent, dict) or not sent:
        raise answers.bad_request(root)
    return sent


def _missing(sent: Document, *names: str) -> dict[str, list[str]]:
    return {name: ["value_is_mandatory"] for name in names if sent.get(name) in (None, "")}


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)


def _yearly(amount_cents: int, interval: str) -> int:
    return amount_cents * _PERIODS_A_YEAR[interval]


def _customer(row: Document) -> Document:
    return {
        "lago_id": row["id"],
        "external_id": row["external_id"],
        "name": row["name"],
        "currency": row["currency"],
        "timezone": None if row["timezone"] == "UTC" else row["timezone"],
        "applicable_timezone": row["timezone"],
        "billing_configuration": {"invoice_grace_period": row["invoice_grace_period"]},
        "created_at": seconds_text(row["created_at"]),
    }
