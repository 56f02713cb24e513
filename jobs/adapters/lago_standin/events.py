"""The events endpoints: create, batch, list, show and enriched, for both event stores."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from psycopg import errors
from psycopg.types.json import Jsonb

from jobs.adapters.lago_standin import answers
from jobs.adapters.lago_standin.answers import Answer, ok
from jobs.adapters.lago_standin.calls import Call, Tenant
from jobs.adapters.lago_standin.expressions import ExpressionError, evaluate
from jobs.adapters.lago_standin.ruby_values import (
    InvalidFormatError,
    amount_attribute,
    clickhouse_decimal,
    date_filter,
    decimal_text,
    event_microseconds,
    go_value,
    is_blank,
    iso8601_milliseconds,
    string_attribute,
    timestamp_text,
)
from jobs.queries import query

_ALREADY_EXISTS = {"transaction_id": ["value_already_exist"]}
_BAD_TIMESTAMP = {"timestamp": ["invalid_format"]}


@dataclass(frozen=True, slots=True)
class Metric:
    """What ingestion knows of a billable metric."""

    field_name: str | None
    """The property it aggregates; None for a count."""
    expression: str | None
    """Arithmetic that fills the property, if the metric has one."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event as it was sent, its parameters cast as Lago casts them."""

    transaction_id: str | None
    """The idempotency key."""
    code: str | None
    """The billable metric's code."""
    external_subscription_id: str | None
    """The subscription's external id."""
    microseconds: int
    """When it happened: microseconds since 1970."""
    properties: dict[str, Any]
    """Any JSON object."""
    amount: Decimal | None
    """`precise_total_amount_cents`."""

    def missing(self) -> dict[str, list[str]]:
        """Return the model's presence errors."""
        absent = [name for name in ("transaction_id", "code") if is_blank(getattr(self, name))]
        return {name: ["value_is_mandatory"] for name in absent}

    def string_properties(self) -> dict[str, str]:
        """Return the properties as ClickHouse's Map(String, String) holds them."""
        return {name: clickhouse_text(value) for name, value in self.properties.items()}


def clickhouse_text(value: object) -> str:
    """Return one property as ClickHouse's raw table shows it: strings as they are, the rest as JSON text."""
    if value is None:
        return ""
    return value if isinstance(value, str) else answers.encode(value).decode()


async def create(call: Call) -> Answer:
    """Take one event."""
    sent = call.body.get("event") if isinstance(call.body, dict) else None
    if sent is None or sent in ({}, "", []):
        raise answers.bad_request("event")
    if not isinstance(sent, dict):
        raise answers.server_error()
    metrics = await _metrics(call, [sent])
    event = _single(call.tenant, sent, metrics)
    if call.tenant.events_store == "clickhouse":
        await _ingest(call, [event], metrics)
        return ok({"event": _document(event, None, None)})
    missing = event.missing()
    if missing:
        raise answers.invalid(missing)
    try:
        cursor = await call.connection.execute(query("standin_insert_event"), _columns(call.tenant, event))
    except errors.UniqueViolation as error:
        raise answers.invalid(_ALREADY_EXISTS) from error
    row = await cursor.fetchone()
    _post_process(call, [event])
    return ok({"event": _document(event, row["id"], row["created_at"])}) if row else ok({})


async def batch(call: Call) -> Answer:
    """Take a batch: all or nothing since 1.39, errors by the position among the objects sent."""
    listed = call.body.get("events") if isinstance(call.body, dict) else None
    sent = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    if not sent:
        raise answers.invalid({"events": ["no_events"]})
    if len(sent) > call.tenant.events_batch_max_length:
        raise answers.invalid({"events": ["too_many_events"]})
    metrics = await _metrics(call, sent)
    events = _validated(call.tenant, sent, metrics)
    if call.tenant.events_store == "clickhouse":
        await _ingest(call, events, metrics)
        return ok({"events": [_document(event, None, None) for event in events]})
    if not call.tenant.at_least("1.39"):
        return await _insert_each(call, events)
    return await _insert_all(call, events)


async def listing(call: Call) -> Answer:
    """List events, newest first: what PostgreSQL holds, or what ClickHouse took in raw."""
    page = answers.requested_page(call.parameter("page"), call.parameter("per_page"))
    filters = await _filters(call)
    if call.tenant.events_store == "clickhouse":
        counting, reading = "standin_count_events_raw", "standin_list_events_raw"
    else:
        counting = "standin_count_events"
        reading = "standin_list_events" if call.tenant.at_least("1.48") else "standin_list_events_unstable"
    meta, rows = await _page(call, page, filters, counting, reading)
    return ok({"events": [_listed(row) for row in rows], "meta": meta})


async def show(call: Call) -> Answer:
    """Show one event by its transaction id."""
    name = "standin_show_event_raw" if call.tenant.events_store == "clickhouse" else "standin_show_event"
    parameters = {"organization_id": call.tenant.id, "transaction_id": call.path["transaction_id"]}
    row = await (await call.connection.execute(query(name), parameters)).fetchone()
    if row is None:
        raise answers.not_found("event_not_found")
    return ok({"event": _listed(row)})


async def enriched(call: Call) -> Answer:
    """List what the events-processor enriched; PostgreSQL organisations have no such endpoint."""
    if not call.tenant.at_least("1.36"):
        raise answers.not_found("resource_not_found")
    if call.tenant.events_store != "clickhouse":
        raise answers.forbidden("endpoint_not_available")
    page = answers.requested_page(call.parameter("page"), call.parameter("per_page"))
    filters = await _filters(call)
    meta, rows = await _page(call, page, filters, "standin_count_events_enriched", "standin_list_events_enriched")
    events = [
        row
        | {
            "decimal_value": decimal_text(row["decimal_value"]),
            "precise_total_amount_cents": _amount_text(row["precise_total_amount_cents"]),
        }
        for row in rows
    ]
    return ok({"events_enriched": events, "meta": meta}, {"X-Lago-Endpoint-Status": "beta"})


async def _metrics(call: Call, sent: list[dict[str, Any]]) -> dict[str, Metric]:
    codes = sorted({code for one in sent if (code := string_attribute(one.get("code"))) and "\x00" not in code})
    parameters = {"organization_id": call.tenant.id, "codes": codes}
    cursor = await call.connection.execute(query("standin_metrics_by_code"), parameters)
    return {row["code"]: Metric(row["field_name"], row["expression"]) for row in await cursor.fetchall()}


def _read(tenant: Tenant, sent: dict[str, Any]) -> NewEvent:
    instant = event_microseconds(sent.get("timestamp"), tenant.now(), as_float=not tenant.at_least("1.48"))
    properties = sent.get("properties")
    return NewEvent(
        transaction_id=string_attribute(sent.get("transaction_id")),
        code=string_attribute(sent.get("code")),
        external_subscription_id=string_attribute(sent.get("external_subscription_id")),
        microseconds=instant,
        properties=properties if isinstance(properties, dict) else {},
        amount=amount_attribute(sent.get("precise_total_amount_cents")),
    )


def _expressed(event: NewEvent, metrics: dict[str, Metric]) -> NewEvent:
    metric = metrics.get(event.code or "")
    if metric is None or metric.expression is None or metric.field_name is None:
        return event
    value = decimal_text(evaluate(metric.expression, event.properties))
    return replace(event, properties=event.properties | {metric.field_name: value})


def _single(tenant: Tenant, sent: dict[str, Any], metrics: dict[str, Metric]) -> NewEvent:
    try:
        event = _read(tenant, sent)
    except InvalidFormatError as error:
        raise answers.invalid(_BAD_TIMESTAMP) from error
    if any("\x00" in (text or "") for text in (event.transaction_id, event.code, event.external_subscription_id)):
        raise answers.invalid(_BAD_TIMESTAMP)  # Lago reports every ArgumentError as a bad timestamp
    try:
        return _expressed(event, metrics)
    except ExpressionError as error:
        raise answers.invalid(str(error)) from error


def _validated(tenant: Tenant, sent: list[dict[str, Any]], metrics: dict[str, Metric]) -> list[NewEvent]:
    events: list[NewEvent] = []
    failures: dict[str, object] = {}
    for index, one in enumerate(sent):
        try:
            event = _read(tenant, one)
        except InvalidFormatError:
            failures[str(index)] = _BAD_TIMESTAMP
            continue
        try:
            events.append(_expressed(event, metrics))
        except ExpressionError as error:
            failures[str(index)] = str(error)
        missing = event.missing()
        if missing:
            failures[str(index)] = missing
    if failures:
        raise answers.invalid(failures)
    return events


async def _insert_all(call: Call, events: list[NewEvent]) -> Answer:
    async with call.connection.transaction():
        cursor = await call.connection.execute(query("standin_insert_events"), _arrays(call.tenant, events))
        # Lago looks results up by transaction id alone, so equal ids under two subscriptions are confused here too.
        inserted = {row["transaction_id"]: row for row in await cursor.fetchall()}
        rows = [inserted.pop(event.transaction_id, None) for event in events]
        duplicates = {str(index): _ALREADY_EXISTS for index, row in enumerate(rows) if row is None}
        if duplicates:
            raise answers.invalid(duplicates)
    _post_process(call, events)
    found = zip(events, (row or {} for row in rows), strict=True)
    return ok({"events": [_document(event, row.get("id"), row.get("created_at")) for event, row in found]})


async def _insert_each(call: Call, events: list[NewEvent]) -> Answer:
    """Below 1.39 a refused batch keeps its other events, and nothing post-processes them."""
    cursor = await call.connection.execute(query("standin_insert_events"), _arrays(call.tenant, events))
    rows = await cursor.fetchall()
    inserted = Counter((row["external_subscription_id"], row["transaction_id"]) for row in rows)
    duplicates: dict[str, object] = {}
    for index, event in enumerate(events):
        key = (event.external_subscription_id, event.transaction_id)
        if inserted[key] == 0:
            duplicates[str(index)] = _ALREADY_EXISTS
        inserted[key] -= 1
    if duplicates:
        raise answers.invalid(duplicates)
    _post_process(call, events)
    found = zip(events, rows, strict=True)
    return ok({"events": [_document(event, row["id"], row["created_at"]) for event, row in found]})


async def _ingest(call: Call, events: list[NewEvent], metrics: dict[str, Metric]) -> None:
    known = [event for event in events if event.code in metrics]
    unknown = [event for event in events if event.code not in metrics]
    async with call.connection.transaction():
        await call.connection.execute(query("standin_ingest_raw"), _arrays(call.tenant, events))
        if known:
            values = [billed_value(event.properties, metrics[event.code or ""].field_name) for event in known]
            parameters = _arrays(call.tenant, known) | {
                "values": values,
                "decimal_values": [str(clickhouse_decimal(value)) for value in values],
            }
            await call.connection.execute(query("standin_enrich"), parameters)
        if unknown:
            await call.connection.execute(query("standin_dead_letter"), _arrays(call.tenant, unknown))
    _post_process(call, known)


def billed_value(properties: dict[str, Any], field_name: str | None) -> str:
    """Return the text that the events-processor takes as an event's quantity; a count takes 1."""
    return "1" if field_name is None else go_value(properties.get(field_name))


def _post_process(call: Call, events: list[NewEvent]) -> None:
    lag = call.tenant.usage_cache_lag_seconds
    if lag is None:
        return
    for subscription, code in {(event.external_subscription_id or "", event.code or "") for event in events}:
        call.usage_cache.expire((call.tenant.id, subscription, code), lag)


def _columns(tenant: Tenant, event: NewEvent) -> dict[str, Any]:
    return {
        "organization_id": tenant.id,
        "transaction_id": event.transaction_id,
        "code": event.code,
        "external_subscription_id": event.external_subscription_id,
        "timestamp": timestamp_text(event.microseconds),
        "properties": Jsonb(event.properties, dumps=answers.encode),
        "precise_total_amount_cents": event.amount,
    }


def _arrays(tenant: Tenant, events: list[NewEvent]) -> dict[str, Any]:
    stringly = tenant.events_store == "clickhouse"
    return {
        "organization_id": tenant.id,
        "visibility_delay_seconds": tenant.visibility_delay_seconds,
        "transaction_ids": [event.transaction_id for event in events],
        "codes": [event.code for event in events],
        "external_subscription_ids": [event.external_subscription_id for event in events],
        "timestamps": [timestamp_text(event.microseconds) for event in events],
        "properties": [
            answers.encode(event.string_properties() if stringly else event.properties).decode() for event in events
        ],
        "amounts": [None if event.amount is None else str(event.amount) for event in events],
    }


def _document(event: NewEvent, lago_id: str | None, created_at: str | None) -> dict[str, Any]:
    amount = event.amount if lago_id else event.amount or Decimal(0)
    return {
        "lago_id": lago_id,
        "transaction_id": event.transaction_id,
        "lago_customer_id": None,
        "code": event.code,
        "timestamp": iso8601_milliseconds(event.microseconds),
        "precise_total_amount_cents": _amount_text(amount),
        "properties": event.properties,
        "lago_subscription_id": None,
        "external_subscription_id": event.external_subscription_id,
        "created_at": created_at,
    }


def _listed(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"precise_total_amount_cents": _amount_text(row["precise_total_amount_cents"])}


def _amount_text(amount: Decimal | None) -> str | None:
    return None if amount is None else decimal_text(amount)


async def _page(
    call: Call, page: answers.Page, filters: dict[str, Any], counting: str, reading: str
) -> tuple[dict[str, int | None], list[dict[str, Any]]]:
    total = (await (await call.connection.execute(query(counting), filters)).fetchone() or {"total": 0})["total"]
    meta = page.meta(total)
    parameters = filters | {"limit": page.size, "offset": page.offset}
    return meta, await (await call.connection.execute(query(reading), parameters)).fetchall()


async def _filters(call: Call) -> dict[str, Any]:
    subscription = call.parameter("external_subscription_id")
    filters: dict[str, Any] = {
        "organization_id": call.tenant.id,
        "code": call.parameter("code") or None,
        "external_subscription_id": subscription or None,
        "timestamp_from": None,
        "timestamp_to": None,
    }
    failures: dict[str, list[str]] = {}
    for name in ("timestamp_from", "timestamp_to"):
        text = call.parameter(name)
        if text:
            try:
                filters[name] = date_filter(text)
            except InvalidFormatError:
                failures[name] = ["invalid_date"]
    since_start = call.parameter("timestamp_from_started_at") if call.tenant.at_least("1.35") else None
    if since_start is not None:
        failures |= _started_at_failures(since_start, subscription, call.parameter("timestamp_from"))
    if failures:
        raise answers.invalid(failures)
    if since_start == "true":
        filters["timestamp_from"] = await _newest_start(call, subscription)
    return filters


def _started_at_failures(
    since_start: str, subscription: str | None, timestamp_from: str | None
) -> dict[str, list[str]]:
    if since_start not in ("true", "false"):
        return {"timestamp_from_started_at": ["must be one of: true, false"]}
    if since_start == "false":
        return {}
    failures: dict[str, list[str]] = {}
    if timestamp_from:
        failures["timestamp_from"] = ["cannot be used with timestamp_from_started_at"]
    if not subscription:
        failures["external_subscription_id"] = ["required with timestamp_from_started_at"]
    return failures


async def _newest_start(call: Call, subscription: str | None) -> str | None:
    parameters = {"organization_id": call.tenant.id, "external_subscription_id": subscription}
    row = await (await call.connection.execute(query("standin_newest_subscription"), parameters)).fetchone()
    return None if row is None or row["started_at"] is None else str(row["started_at"])
