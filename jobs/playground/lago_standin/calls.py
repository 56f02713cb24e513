"""One call of the API: who calls, with what, and the database connection that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID

from multidict import MultiMapping
from psycopg import AsyncConnection
from psycopg.rows import DictRow

from jobs.playground.lago_standin.usage_cache import UsageCache

Connection = AsyncConnection[DictRow]


@dataclass(frozen=True, slots=True)
class Tenant:
    """An organisation as the server sees it, with the permissions of the key that was used."""

    id: UUID
    """Lago's organisation id."""
    name: str
    """The organisation's name."""
    events_store: str
    """`postgres` or `clickhouse`."""
    version: str
    """The Lago release that is imitated, such as 1.51.0."""
    default_currency: str
    """ISO 4217 code."""
    deduplication: bool
    """ClickHouse only: whether billing collapses physical duplicates."""
    visibility_delay_seconds: float
    """ClickHouse only: how long an accepted event stays invisible."""
    usage_cache_lag_seconds: float | None
    """How long after an event current usage stays stale; None is no cache at all."""
    events_batch_max_length: int
    """LAGO_EVENTS_BATCH_MAX_LENGTH."""
    fixed_now: datetime | None
    """The organisation's clock where a test stopped it; None is the real time."""
    created_at: datetime
    """When the organisation was created, UTC without zone."""
    permissions: Mapping[str, list[str]] | None
    """Per resource `read` and `write`; None permits everything."""

    def at_least(self, version: str) -> bool:
        """Return whether the imitated release is this one or a later one."""
        return _release(self.version) >= _release(version)

    def now(self) -> datetime:
        """Return the organisation's time, aware and in UTC."""
        return (self.fixed_now or datetime.now(UTC)).astimezone(UTC)

    def permits(self, resource: str, action: str) -> bool:
        """Return whether the key may `read` or `write` this resource."""
        return self.permissions is None or action in self.permissions.get(resource, [])


@dataclass(frozen=True, slots=True)
class Metric:
    """What ingestion knows of a billable metric."""

    field_name: str | None
    """The property it aggregates; None for a count."""
    expression: str | None
    """Arithmetic that fills the property, if the metric has one."""


@dataclass(frozen=True, slots=True)
class Known:
    """What requests have read of keys and metrics, since the control interface last changed anything."""

    tenants: dict[str, Tenant] = field(default_factory=dict)
    """By API key; keys that expire are asked for each time."""
    metrics: dict[UUID, dict[str, Metric]] = field(default_factory=dict)
    """By organisation and code."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler needs to answer."""

    tenant: Tenant
    """The caller's organisation."""
    path: Mapping[str, str]
    """Decoded path parameters."""
    query: MultiMapping[str]
    """Decoded query parameters."""
    body: Any
    """The parsed JSON body; None for requests without one."""
    connection: Connection
    """A connection in autocommit mode."""
    usage_cache: UsageCache
    """Cached current usage of the whole server."""
    known: Known
    """What earlier requests have read."""

    def parameter(self, name: str) -> str | None:
        """Return a scalar query parameter; the last one wins, as in Rack."""
        values = self.query.getall(name, [])
        return values[-1] if values else None


@cache
def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
