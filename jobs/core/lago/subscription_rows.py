"""The rows of one subscription: when each begins and ends, and which comes after which."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from jobs.core.lago.values import Subscription

NEVER = datetime(9999, 12, 31, tzinfo=UTC)
"""The end of a row that runs."""
_MICROSECOND, _SECOND = timedelta(microseconds=1), timedelta(seconds=1)


def has_begun(row: Subscription) -> bool:
    """Tell whether a row runs or ran."""
    return row.status in ("active", "terminated") and row.started_at is not None


def ended_exactly(row: Subscription, rows: list[Subscription]) -> Subscription:
    """Return a row with the end that an upgrade gave it: Lago tells whole seconds, and the next row begins within."""
    ended = row.terminated_at
    if ended is None:
        return row
    following = (begins(other) for other in rows if has_begun(other) and other is not row)
    first = min((began for began in following if ended < began < ended + _SECOND), default=None)
    return row if first is None else replace(row, terminated_at=first - _MICROSECOND)


def begins(row: Subscription) -> datetime:
    """Return the first instant of a begun row; Lago compares to the millisecond."""
    began = row.started_at or NEVER
    return began.replace(microsecond=began.microsecond // 1000 * 1000)


def ends(row: Subscription) -> datetime:
    """Return the instant after the last of a row, which bills the very instant of its end too."""
    return NEVER if row.terminated_at is None else row.terminated_at + _MICROSECOND


def newest(row: Subscription) -> tuple[bool, datetime, datetime]:
    """Order rows as Lago does, the one that counts last: the running one, else that which ended last."""
    return row.terminated_at is None, row.terminated_at or NEVER, begins(row)


def successor(row: Subscription, rows: Iterable[Subscription]) -> Subscription | None:
    """Return the row that a change of plan put in an ended one's place; None where there is none."""
    ended = row.terminated_at
    if ended is None:
        return None
    begun = (other for other in rows if other is not row and has_begun(other))
    return next((other for other in begun if abs(begins(other) - ended) <= _SECOND), None)
