"""Loading events past the API: fast, and without its checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg

from jobs.playground.lago_standin.answers import encode
from jobs.playground.lago_standin.ingestion import billed_value, clickhouse_text
from jobs.playground.lago_standin.queries import query
from jobs.playground.lago_standin.ruby_values import clickhouse_decimal

EventRow = Mapping[str, Any]
"""`transaction_id`, `external_subscription_id` (or None), `code`, `timestamp`, `properties`; and where wanted
`precise_total_amount_cents`, `created_at` (default: now) and `deleted_at`. A time is an aware datetime, or Unix seconds
as Decimal, int or text."""


def _timestamp(value: datetime | Decimal | int | str) -> datetime:
    """Return a bulk row's instant in UTC without zone."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None)
    seconds, fraction = divmod(Decimal(value), 1)
    return datetime.fromtimestamp(int(seconds), UTC).replace(tzinfo=None, microsecond=int(fraction * 1_000_000))


def load(connection: psycopg.Connection[Any], organization_id: str, event_store: str, rows: Iterable[EventRow]) -> int:
    """Copy the rows into the organization's store, and return how many they were."""
    now = connection.execute(query("standin_clock")).fetchone()[0]  # type: ignore[index]
    if event_store == "clickhouse":
        return _load_clickhouse(connection, organization_id, list(rows), now)
    count = 0
    with connection.cursor() as cursor, cursor.copy(query("standin_copy_events")) as copy:
        for row in rows:
            created_at, deleted_at = row.get("created_at"), row.get("deleted_at")
            copy.write_row(
                (
                    organization_id,
                    row["transaction_id"],
                    row["external_subscription_id"],
                    row["code"],
                    _timestamp(row["timestamp"]),
                    encode(row["properties"]).decode(),
                    row.get("precise_total_amount_cents"),
                    now if created_at is None else _timestamp(created_at),
                    None if deleted_at is None else _timestamp(deleted_at),
                )
            )
            count += 1
    return count


def _load_clickhouse(
    connection: psycopg.Connection[Any], organization_id: str, rows: list[EventRow], now: datetime
) -> int:
    parameters = {"organization_id": organization_id, "codes": sorted({row["code"] for row in rows})}
    found = connection.execute(query("standin_metrics_by_code"), parameters).fetchall()
    fields: dict[str, str | None] = {code: field_name for code, field_name, _ in found}
    with connection.cursor() as cursor, cursor.copy(query("standin_copy_events_raw")) as copy:
        for row in rows:
            copy.write_row(_clickhouse_columns(organization_id, row, now))
    with connection.cursor() as cursor, cursor.copy(query("standin_copy_events_enriched")) as copy:
        for row in rows:
            if row["code"] in fields:
                value = billed_value(row["properties"], fields[row["code"]])
                copy.write_row((*_clickhouse_columns(organization_id, row, now), value, clickhouse_decimal(value)))
    return len(rows)


def _clickhouse_columns(organization_id: str, row: EventRow, now: datetime) -> tuple[Any, ...]:
    timestamp = _timestamp(row["timestamp"])
    created_at = row.get("created_at")
    ingested_at = now if created_at is None else _timestamp(created_at)
    properties = {name: clickhouse_text(value) for name, value in row["properties"].items()}
    return (
        organization_id,
        row["transaction_id"],
        row["external_subscription_id"] or "",
        row["code"],
        timestamp.replace(microsecond=timestamp.microsecond // 1000 * 1000),
        encode(properties).decode(),
        row.get("precise_total_amount_cents") or Decimal(0),
        ingested_at.replace(microsecond=ingested_at.microsecond // 1000 * 1000),
        min(ingested_at, now),  # what a simulated future loads is there at once
    )
