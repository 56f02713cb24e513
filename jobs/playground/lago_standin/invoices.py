"""Invoices and their fees: of a finalized period, and one-off ones that correct."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from jobs.core.lago.prices import currency_exponent
from jobs.playground.lago_standin import answers
from jobs.playground.lago_standin.answers import Answer, ok
from jobs.playground.lago_standin.calls import Call
from jobs.playground.lago_standin.catalogue import charges_of, filter_id, find_subscription
from jobs.playground.lago_standin.periods import ChargesPeriod, charges_period, local_date
from jobs.playground.lago_standin.queries import query
from jobs.playground.lago_standin.ruby_values import decimal_text, seconds_text
from jobs.playground.lago_standin.usage import Bucket, buckets, period_usage


async def finalize(call: Call, external_id: str, period: ChargesPeriod, at: datetime | None = None) -> dict[str, Any]:
    """Bill a range of a subscription by its external id, at this instant or now, and return the frozen usage."""
    return await finalize_period(call, await _subscription(call, external_id), period, at)


async def finalize_holding(call: Call, external_id: str, inside: datetime) -> dict[str, Any]:
    """Bill the period that holds an instant (UTC without zone), and return the frozen usage."""
    subscription = await _subscription(call, external_id)
    return await finalize_period(call, subscription, charges_period(subscription, inside.replace(tzinfo=UTC)))


async def _subscription(call: Call, external_id: str) -> dict[str, Any]:
    for status in ("active", "terminated"):
        if (found := await find_subscription(call, external_id, status)) is not None:
            return found
    raise answers.not_found("subscription_not_found")


async def finalize_last_period(call: Call, lago_id: UUID) -> None:
    """Bill the last period of a row that has just ended, as Lago does at once."""
    subscription = await find_subscription(call, None, "terminated", lago_id=lago_id)
    if subscription is not None:
        await finalize_period(call, subscription, charges_period(subscription, call.tenant.now()))


async def finalize_period(
    call: Call, subscription: dict[str, Any], period: ChargesPeriod, at: datetime | None = None
) -> dict[str, Any]:
    """Bill a period: freeze its usage and make its invoice; events in it that arrive later are never billed."""
    charges = await charges_of(call, [subscription["plan_id"]])
    usage = await period_usage(call, subscription, charges, period, cached=False)
    invoice_id = uuid4()
    fees = [
        fee for charge in charges for fee in await _charge_fees(call, subscription, charge, period, str(invoice_id))
    ]
    usage |= {"lago_invoice_id": str(invoice_id)}
    async with call.connection.transaction():
        parameters = {
            "organization_id": call.tenant.id,
            "external_subscription_id": subscription["external_id"],
            "charges_from": period.start,
            "charges_to": period.end,
            "finalized_at": at,
            "usage": Jsonb(usage),
        }
        await call.connection.execute(query("standin_finalize_period"), parameters)
        await _keep(
            call,
            invoice_id,
            "subscription",
            subscription["external_customer_id"],
            subscription["external_id"],
            subscription["plan_amount_currency"],
            fees,
        )
    return usage


async def create_one_off(call: Call) -> Answer:
    """Make a one-off invoice of add-ons, which is how a period that is billed is corrected."""
    sent = call.body.get("invoice") if isinstance(call.body, dict) else None
    if not isinstance(sent, dict) or not sent:
        raise answers.bad_request("invoice")
    customer_id = sent.get("external_customer_id")
    parameters = {"organization_id": call.tenant.id, "external_id": customer_id}
    if await (await call.connection.execute(query("standin_find_customer"), parameters)).fetchone() is None:
        raise answers.not_found("customer_not_found")
    currency = sent.get("currency") or call.tenant.default_currency
    invoice_id = uuid4()
    fees = [await _add_on_fee(call, one, str(invoice_id), str(customer_id), currency) for one in sent.get("fees") or []]
    if not fees:
        raise answers.invalid({"fees": ["value_is_mandatory"]})
    document = await _keep(call, invoice_id, "one_off", str(customer_id), None, currency, fees)
    return ok({"invoice": document | {"fees": fees}})


async def invoices(call: Call) -> Answer:
    """List invoices without their fees."""
    page = answers.requested_page(call.parameter("page"), call.parameter("per_page"))
    rows = await _found(call, None)
    shown = rows[page.offset : page.offset + page.size]
    return ok({"invoices": [row["document"] for row in shown], "meta": page.meta(len(rows))})


async def invoice(call: Call) -> Answer:
    """Show an invoice with its fees."""
    row = await _named(call)
    return ok({"invoice": row["document"] | {"fees": row["fees"]}})


async def void(call: Call) -> Answer:
    """Void a finalized invoice."""
    return await _changed(call, {"status": "voided"})


async def refresh(call: Call) -> Answer:
    """Refresh an invoice: a finalized one stays as it is."""
    return await _changed(call, {})


async def fees(call: Call) -> Answer:
    """List fees."""
    page = answers.requested_page(call.parameter("page"), call.parameter("per_page"))
    names = ("external_customer_id", "external_subscription_id", "fee_type", "billable_metric_code")
    parameters = {name: call.parameter(name) or None for name in names} | {"organization_id": call.tenant.id}
    rows = await (await call.connection.execute(query("standin_list_fees"), parameters)).fetchall()
    shown = rows[page.offset : page.offset + page.size]
    return ok({"fees": [row["document"] for row in shown], "meta": page.meta(len(rows))})


async def licensed(_call: Call) -> Answer:
    """Refuse what needs a licence."""
    raise answers.forbidden("feature_unavailable")


async def _found(call: Call, invoice_id: str | None) -> list[dict[str, Any]]:
    parameters = {
        "organization_id": call.tenant.id,
        "id": invoice_id,
        "external_customer_id": call.parameter("external_customer_id") or None,
        "invoice_type": call.parameter("invoice_type") or None,
    }
    return await (await call.connection.execute(query("standin_list_invoices"), parameters)).fetchall()


async def _named(call: Call) -> dict[str, Any]:
    rows = await _found(call, call.path["id"])
    if not rows:
        raise answers.not_found("invoice_not_found")
    return rows[0]


async def _changed(call: Call, changes: dict[str, Any]) -> Answer:
    row = await _named(call)
    document = row["document"] | changes
    parameters = {"organization_id": call.tenant.id, "id": document["lago_id"], "document": Jsonb(document)}
    await call.connection.execute(query("standin_replace_invoice"), parameters)
    return ok({"invoice": document | {"fees": row["fees"]}})


async def _keep(
    call: Call,
    invoice_id: UUID,
    invoice_type: str,
    external_customer_id: str,
    external_subscription_id: str | None,
    currency: str,
    lines: list[dict[str, Any]],
) -> dict[str, Any]:
    amount = sum(fee["amount_cents"] for fee in lines)
    now = seconds_text(call.tenant.now())
    document = {
        "lago_id": str(invoice_id),
        "number": f"{call.tenant.name[:3].upper()}-{str(invoice_id)[:4].upper()}-001",
        "issuing_date": f"{local_date(call.tenant.now().replace(tzinfo=None), 'UTC'):%Y-%m-%d}",
        "invoice_type": invoice_type,
        "status": "finalized",
        "payment_status": "pending",
        "currency": currency,
        "fees_amount_cents": amount,
        "coupons_amount_cents": 0,
        "credit_notes_amount_cents": 0,
        "sub_total_excluding_taxes_amount_cents": amount,
        "taxes_amount_cents": 0,
        "sub_total_including_taxes_amount_cents": amount,
        "total_amount_cents": amount,
        "created_at": now,
        "updated_at": now,
        "customer": {"external_id": external_customer_id},
        "subscriptions": [] if external_subscription_id is None else [{"external_id": external_subscription_id}],
    }
    parameters = {
        "id": invoice_id,
        "organization_id": call.tenant.id,
        "external_customer_id": external_customer_id,
        "external_subscription_id": external_subscription_id,
        "invoice_type": invoice_type,
        "document": Jsonb(document),
        "fees": Jsonb(lines),
    }
    await call.connection.execute(query("standin_create_invoice"), parameters)
    return document


async def _charge_fees(
    call: Call, subscription: dict[str, Any], charge: dict[str, Any], period: ChargesPeriod, invoice_id: str
) -> list[dict[str, Any]]:
    found = await buckets(call, subscription["external_id"], charge, period, subscription["timezone"])
    lines = [_charge_fee(subscription, charge, bucket, period, invoice_id) for bucket in found]
    short = charge["min_amount_cents"] - sum(line["amount_cents"] for line in lines)
    if short > 0:
        lines.append(
            _charge_fee(subscription, charge, Bucket(None, {}), period, invoice_id)
            | {
                "lago_true_up_parent_fee_id": lines[0]["lago_id"],
                "units": "1.0",
                "amount_cents": short,
                "precise_amount": _main_unit(Decimal(short), subscription["plan_amount_currency"]),
            }
        )
    return lines


def _charge_fee(
    subscription: dict[str, Any], charge: dict[str, Any], bucket: Bucket, period: ChargesPeriod, invoice_id: str
) -> dict[str, Any]:
    currency = subscription["plan_amount_currency"]
    position = bucket.filter_position
    amount = bucket.amount_cents(charge, currency)
    return _fee(
        invoice_id,
        {
            "type": "charge",
            "code": charge["metric_code"],
            "name": charge["metric_name"],
            "invoice_display_name": charge["invoice_display_name"] or charge["metric_name"],
            "lago_item_id": str(charge["metric_id"]),
            "item_type": "BillableMetric",
            "filters": None if position is None else charge["filters"][position]["values"],
            "grouped_by": bucket.grouped_by,
        },
        currency,
        Decimal(amount),
        bucket.units,
        (period.start, period.end),
    ) | {
        "lago_charge_id": str(charge["id"]),
        "lago_charge_filter_id": None if position is None else filter_id(charge, position),
        "lago_true_up_parent_fee_id": None,
        "lago_subscription_id": str(subscription["id"]),
        "external_subscription_id": subscription["external_id"],
        "lago_customer_id": str(subscription["customer_id"]),
        "external_customer_id": subscription["external_customer_id"],
        "total_aggregated_units": decimal_text(bucket.aggregated_units),
        "events_count": bucket.events_count,
        "pay_in_advance": charge["pay_in_advance"],
        "invoiceable": charge["invoiceable"],
    }


async def _add_on_fee(
    call: Call, sent: dict[str, Any], invoice_id: str, external_customer_id: str, currency: str
) -> dict[str, Any]:
    parameters = {"organization_id": call.tenant.id, "code": sent.get("add_on_code")}
    add_on = await (await call.connection.execute(query("standin_find_add_on"), parameters)).fetchone()
    if add_on is None:
        raise answers.not_found("add_on_not_found")
    unit = sent.get("unit_amount_cents", add_on["amount_cents"])
    if not isinstance(unit, int) and not str(unit).isdigit():
        raise answers.server_error()  # as Lago answers a text with a fraction
    try:
        units = Decimal(str(sent.get("units", "1")))
    except InvalidOperation as error:
        raise answers.invalid({"fees": ["units_must_be_a_number"]}) from error
    span = tuple(
        datetime.fromisoformat(text).replace(tzinfo=None) if (text := sent.get(name)) else None
        for name in ("from_datetime", "to_datetime")
    )
    item = {
        "type": "add_on",
        "code": add_on["code"],
        "name": add_on["name"],
        "invoice_display_name": sent.get("invoice_display_name") or add_on["name"],
        "lago_item_id": str(add_on["id"]),
        "item_type": "AddOn",
    }
    return _fee(invoice_id, item, currency, units * Decimal(str(unit)), units, (span[0], span[1])) | {
        "description": sent.get("description"),
        "external_customer_id": external_customer_id,
        "external_subscription_id": None,
    }


def _fee(
    invoice_id: str,
    item: dict[str, Any],
    currency: str,
    precise_cents: Decimal,
    units: Decimal,
    span: tuple[datetime | None, datetime | None],
) -> dict[str, Any]:
    amount = int(precise_cents.to_integral_value())
    each = precise_cents / units if units else Decimal(0)
    return {
        "lago_id": str(uuid4()),
        "lago_invoice_id": invoice_id,
        "item": item,
        "amount_cents": amount,
        "amount_currency": currency,
        "precise_amount": _main_unit(precise_cents, currency),
        "precise_unit_amount": _main_unit(round(each, 15), currency),
        "taxes_amount_cents": 0,
        "total_amount_cents": amount,
        "total_amount_currency": currency,
        "units": decimal_text(units),
        "events_count": None,
        "payment_status": "pending",
        "from_date": _offset_text(span[0]),
        "to_date": _offset_text(span[1]),
    }


def _main_unit(cents: Decimal, currency: str) -> str:
    return decimal_text(cents.scaleb(-currency_exponent(currency)))


def _offset_text(moment: datetime | None) -> str | None:
    """Write a fee's bound as Lago does: to the second, with the offset of UTC."""
    return None if moment is None else f"{moment:%Y-%m-%dT%H:%M:%S}+00:00"
