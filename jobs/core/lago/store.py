"""Lago's own event store, as a source of recorded events beside its API."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias
from urllib.parse import urlsplit
from uuid import UUID

from jobs.core.database.settings import DatabaseSettings
from jobs.core.lago.values import Organization
from jobs.core.shard import WHOLE, Shard
from jobs.core.window import Window
from jobs.errors import SettingError

_ID_SETTING = "RECONCILE_LAGO_ORGANIZATION_ID"
_WRITE_IT_AS = "Write it as clickhouse://USERNAME:PASSWORD@HOST:8123/NAME"


@dataclass(frozen=True, slots=True)
class PostgresStore:
    """Lago's PostgreSQL, whose table `events` holds every organization's events."""

    database: DatabaseSettings
    """Where it is."""
    organization_id: str | None = None
    """Whose events are read; None takes the organization that the API key belongs to."""

    @property
    def address(self) -> str:
        """Return where it is, without what is secret."""
        return f"{self.database.address}/{self.database.name}"


@dataclass(frozen=True, slots=True)
class ClickHouseStore:
    """Lago's ClickHouse, whose table `events_enriched` holds what every organization is billed for."""

    url: str = field(repr=False)
    """Where it is, with what is secret."""
    organization_id: str | None = None
    """Whose events are read; None takes the organization that the API key belongs to."""

    @property
    def address(self) -> str:
        """Return where it is, without what is secret."""
        parts = urlsplit(self.url)
        return f"{parts.netloc.rpartition('@')[2]}{parts.path}"


Store: TypeAlias = PostgresStore | ClickHouseStore


@dataclass(frozen=True, slots=True)
class StoredEventsAsked:
    """Which events are read from a store."""

    organization_id: str
    """Whose."""
    codes: tuple[str, ...]
    """Of these metrics."""
    window: Window
    """By their timestamps."""
    property_names: tuple[str, ...]
    """Which of their properties are told, in this order."""
    statement_timeout: timedelta
    """The longest query; zero is no limit."""
    shard: Shard = WHOLE
    """Of whose subscriptions."""


def clickhouse_store(url: str, organization_id: str | None) -> ClickHouseStore:
    """Return the store at this URL; raise `SettingError`, which never shows it, for what is no ClickHouse's."""
    if url.strip().partition("://")[0] not in {"clickhouse", "clickhouses", "http", "https", "chdb"}:
        raise SettingError("RECONCILE_LAGO_STORE_URL does not begin with clickhouse:// or https://", _WRITE_IT_AS)
    try:
        _ = urlsplit(url.strip()).port
    except ValueError:
        # Without the cause: what urllib says of a bad address repeats it, and it may hold a password.
        raise SettingError("RECONCILE_LAGO_STORE_URL cannot be taken apart", _WRITE_IT_AS) from None
    return ClickHouseStore(url.strip(), organization_id)


def parse_organization_id(text: str) -> str:
    """Return the id as Lago writes it; raise `ValueError` for what is no UUID."""
    try:
        return str(UUID(text.strip()))
    except ValueError as error:
        raise ValueError("write the organization's id in Lago, a UUID") from error


def checked_organization_id(store: Store, organization: Organization) -> str:
    """Return whose events are to be read from the store; raise `SettingError` where the API tells of another store.

    Events of another organization, or of a table that Lago no longer fills, would make every call look unbilled.
    """
    named = "postgres" if isinstance(store, PostgresStore) else "clickhouse"
    if organization.event_store not in ("unknown", named):
        raise SettingError(
            f"RECONCILE_EVENTS_FROM is {named}, but Lago keeps these events in {organization.event_store}",
            f"Set RECONCILE_EVENTS_FROM to {organization.event_store}, or to api",
        )
    given, told = store.organization_id, organization.lago_id
    if given is None and told is None:
        raise SettingError(
            f"{_ID_SETTING} is not set, and Lago does not tell this API key its organization",
            "Set it to the organization's id in Lago",
        )
    if given is not None and told is not None and given != told:
        raise SettingError(
            f"{_ID_SETTING} is {given}, but the API key belongs to organization {told}",
            "Correct the one or the other",
        )
    return given or str(told)
