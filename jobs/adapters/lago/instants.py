"""Lago's ISO 8601 texts and Python's instants."""

from __future__ import annotations

from datetime import UTC, datetime


def parsed_instant(text: object) -> datetime | None:
    """Return the instant in UTC, or None for null and for what Python cannot hold, such as the year 54295."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def instant_text(moment: datetime) -> str:
    """Return an aware UTC instant as Lago's filters take it, to the microsecond."""
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def whole_millisecond(moment: datetime) -> datetime:
    """Return the start of the instant's millisecond, the finest time that Lago tells."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
