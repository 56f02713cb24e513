"""Lago's own event store, as a source of recorded events beside its API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from jobs.core.database_settings import DatabaseSettings
from jobs.core.lago_values import Organization
from jobs.errors import SettingError

_ID_SETTING = "RECONCILE_LAGO_ORGANIZATION_ID"


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


Store: TypeAlias = PostgresStore


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
    named = "postgres"
    if organization.event_store not in ("unknown", named):
        raise SettingError(
            f"RECONCILE_EVENTS_FROM is {named}, but Lago keeps these events in {organization.event_store}",
            "Set RECONCILE_EVENTS_FROM to api",
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
