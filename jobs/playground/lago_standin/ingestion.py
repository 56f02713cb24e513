"""The events endpoints that write: create and batch, for both event stores.

A batch costs one statement where its ids are new: nothing is asked about keys and metrics that is known already, and
PostgreSQL gets one text per column. Only a batch that the unique index refuses is looked at event by event.
"""

from __future__ import annotations

import secrets
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any, NamedTuple

from psycopg import errors
from psycopg.types.json import Jsonb

from jobs.playground.lago_standin import answers
from jobs.playground.lago_standin.answers import Answer, ok
from jobs.playground.lago_standin.calls import Call, Metric, Tenant
from jobs.playground.lago_standin.expressions import ExpressionError, evaluate
from jobs.playground.lago_standin.queries import query
from jobs.playground.lago_standin.ruby_values import (
    InvalidFormatError,
    UnrescuedError,
    amount_attribute,
    clickhouse_decimal,
    decimal_text,
    event_microseconds,
    go_value,
    is_blank,
    iso8601_milliseconds,
    seconds_text,
    string_attribute,
    timestamp_text,
)

_ALREADY_EXISTS = {"transaction_id": ["value_already_exist"]}
_BAD_TIMESTAMP = {"timestamp": ["invalid_format"]}
# A start at random keeps two stand-ins on one database apart.
_BLOCKS = count(secrets.randbits(47))


class NewEvent(NamedTuple):
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
        named = (("transaction_id", self.transaction_id), ("code", self.code))
        return {name: ["value_is_mandatory"] for name, text in named if is_blank(text)}

    def string_properties(self) -> dict[str, str]:
        """Return the properties as ClickHouse's Map(String, String) holds them."""
        return {name: clickhouse_text(value) for name, value in self.properties.items()}


def clickhouse_text(value: object) -> str:
    """Return one property as ClickHouse's raw table shows it: strings as they are, the rest as JSON text."""
    if value is None:
        return ""
    return value if isinstance(value, str) else answers.encode(value).decode()


def billed_value(properties: dict[str, Any], field_name: str | None) -> str:
    """Return the text that the events-processor takes as an event's quantity; a count takes 1."""
    return "1" if field_name is None else go_value(properties.get(field_name))


def amount_text(amount: Decimal | None) -> str | None:
    """Write `precise_total_amount_cents`."""
    return None if amount is None else decimal_text(amount)


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
    if listed and isinstance(listed, dict):
        raise answers.server_error()
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
    return await _insert_new(call, events) or await _insert_all(call, events)


async def _metrics(call: Call, sent: list[dict[str, Any]]) -> dict[str, Metric]:
    known = call.known.metrics.setdefault(call.tenant.id, {})
    codes = {code for one in sent if (code := string_attribute(one.get("code"))) and "\x00" not in code}
    if codes <= known.keys():
        return known
    parameters = {"organization_id": call.tenant.id, "codes": sorted(codes)}
    cursor = await call.connection.execute(query("standin_metrics_by_code"), parameters)
    known |= {row["code"]: Metric(row["field_name"], row["expression"]) for row in await cursor.fetchall()}
    return known


def _read(tenant: Tenant, sent: dict[str, Any], *, as_float: bool) -> NewEvent:
    instant = event_microseconds(sent.get("timestamp"), tenant.now, as_float=as_float)
    properties = sent.get("properties")
    return NewEvent(
        string_attribute(sent.get("transaction_id")),
        string_attribute(sent.get("code")),
        string_attribute(sent.get("external_subscription_id")),
        instant,
        properties if isinstance(properties, dict) else {},
        amount_attribute(sent.get("precise_total_amount_cents")),
    )


def _reads_floats(tenant: Tenant) -> bool:
    return not tenant.at_least("1.48")


def _expressed(event: NewEvent, metrics: dict[str, Metric]) -> NewEvent:
    metric = metrics.get(event.code or "")
    if metric is None or metric.expression is None or metric.field_name is None:
        return event
    value = decimal_text(evaluate(metric.expression, event.properties))
    return event._replace(properties=event.properties | {metric.field_name: value})


def _single(tenant: Tenant, sent: dict[str, Any], metrics: dict[str, Metric]) -> NewEvent:
    try:
        event = _read(tenant, sent, as_float=_reads_floats(tenant))
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
    as_float = _reads_floats(tenant)
    for index, one in enumerate(sent):
        try:
            event = _read(tenant, one, as_float=as_float)
        except InvalidFormatError:
            failures[str(index)] = _BAD_TIMESTAMP
            continue
        try:
            events.append(_expressed(event, metrics))
        except ExpressionError as error:
            failures[str(index)] = str(error)
        if is_blank(event.transaction_id) or is_blank(event.code):
            failures[str(index)] = event.missing()
    if failures:
        raise answers.invalid(failures)
    return events


async def _insert_new(call: Call, events: list[NewEvent]) -> Answer | None:
    """Insert a batch whose ids are all new; return None, and leave nothing stored, where they are not."""
    if len({event.transaction_id for event in events}) < len(events):
        return None
    ids, created_at = _ids(len(events)), datetime.now(UTC)
    parameters = _arrays(call.tenant, events) | {"ids": _text_array(ids), "created_at": created_at}
    try:
        await call.connection.execute(query("standin_insert_new_events"), parameters)
    except errors.UniqueViolation:
        return None
    _post_process(call, events)
    shown = seconds_text(created_at)
    return ok({"events": [_document(event, id_, shown) for event, id_ in zip(events, ids, strict=True)]})


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
                "values": _text_array(values),
                "decimal_values": _text_array([str(clickhouse_decimal(value)) for value in values]),
            }
            await call.connection.execute(query("standin_enrich"), parameters)
        if unknown:
            await call.connection.execute(query("standin_dead_letter"), _arrays(call.tenant, unknown))
    _post_process(call, known)


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
        "transaction_ids": _text_array([event.transaction_id for event in events]),
        "codes": _text_array([event.code for event in events]),
        "external_subscription_ids": _text_array([event.external_subscription_id for event in events]),
        "timestamps": _text_array([timestamp_text(event.microseconds) for event in events]),
        "properties": _text_array(
            [answers.encode(event.string_properties() if stringly else event.properties).decode() for event in events]
        ),
        "amounts": _text_array([None if event.amount is None else str(event.amount) for event in events]),
    }


def _text_array(texts: list[str] | list[str | None]) -> str:
    """Write a PostgreSQL array of texts, twenty times as fast as psycopg writes a list."""
    given = [text for text in texts if text is not None]
    joined = "\x00".join(given)
    if joined.count("\x00") >= max(1, len(given)):
        raise UnrescuedError("a text with a NUL, which PostgreSQL refuses")
    escaped = joined.replace("\\", "\\\\").replace('"', '\\"')
    if given and len(given) == len(texts):
        return '{"' + escaped.replace("\x00", '","') + '"}'
    quoted = iter(escaped.split("\x00"))
    return "{" + ",".join("NULL" if text is None else f'"{next(quoted)}"' for text in texts) + "}"


def _ids(how_many: int) -> list[str]:
    """Return so many UUIDs that lie together and after earlier ones, which spares their index random places."""
    block = f"{next(_BLOCKS):012x}"
    common = f"{block[:8]}-{block[8:]}-4000-8000-"
    return [f"{common}{number:012x}" for number in range(how_many)]


def _document(event: NewEvent, lago_id: str | None, created_at: str | None) -> dict[str, Any]:
    amount = event.amount if lago_id else event.amount or Decimal(0)
    return {
        "lago_id": lago_id,
        "transaction_id": event.transaction_id,
        "lago_customer_id": None,
        "code": event.code,
        "timestamp": iso8601_milliseconds(event.microseconds),
        "precise_total_amount_cents": amount_text(amount),
        "properties": event.properties,
        "lago_subscription_id": None,
        "external_subscription_id": event.external_subscription_id,
        "created_at": created_at,
    }
