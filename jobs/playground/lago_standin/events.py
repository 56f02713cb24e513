"""The events endpoints that read: list, show and enriched, for both event stores."""

from __future__ import annotations

from typing import Any

from jobs.playground.lago_standin import answers
from jobs.playground.lago_standin.answers import Answer, ok
from jobs.playground.lago_standin.calls import Call
from jobs.playground.lago_standin.ingestion import amount_text
from jobs.playground.lago_standin.queries import query
from jobs.playground.lago_standin.ruby_values import InvalidFormatError, date_filter, decimal_text


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
            "precise_total_amount_cents": amount_text(row["precise_total_amount_cents"]),
        }
        for row in rows
    ]
    return ok({"events": events, "meta": meta}, {"X-Lago-Endpoint-Status": "beta"})


def _listed(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"precise_total_amount_cents": amount_text(row["precise_total_amount_cents"])}


async def _page(
    call: Call, page: answers.AskedPage, filters: dict[str, Any], counting: str, reading: str
) -> tuple[dict[str, int | None], list[dict[str, Any]]]:
    total = (await (await call.connection.execute(query(counting), filters)).fetchone() or {"total": 0})["total"]
    meta = page.meta(total)
    parameters = filters | {"limit": page.size, "offset": page.offset}
    return meta, await (await call.connection.execute(query(reading), parameters)).fetchall()


async def _filters(call: Call) -> dict[str, Any]:
    subscription = call.parameter("external_subscription_id")
    filters: dict[str, Any] = {
        "organization_id": call.tenant.id,
        "code": call.parameter("code"),
        "external_subscription_id": subscription,
        "timestamp_from": None,
        "timestamp_to": None,
    }
    failures: dict[str, list[str]] = {}
    for name in ("timestamp_from", "timestamp_to"):
        text = call.parameter(name)
        if text is not None and not failures:  # Lago tells of the first one alone
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
