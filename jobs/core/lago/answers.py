"""What Lago's answers to sent events mean, read strictly: what is not understood is never taken for a yes.

A JSON number may be an int, a float or a text with its digits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from jobs.core.plan import PlannedEvent
from jobs.core.text import visible

_EXISTS = {"transaction_id": ["value_already_exist"]}
_TOO_MANY = {"events": ["too_many_events"]}
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_PLAIN_NUMBER = re.compile(r"-?[0-9]{1,60}(\.[0-9]{1,60})?")
_LONGEST_REASON = 300
_MILLISECOND = timedelta(milliseconds=1)
# Lago below 1.48 parses timestamps as floats and may keep one a millisecond low. It never tells its version. An event
# with our id that is a millisecond off is ours on either side of an upgrade.
_TIME_TOLERANCE = _MILLISECOND


@dataclass(frozen=True, slots=True)
class Refusal:
    """A 422 answer to sent events, taken apart."""

    too_many: bool = False
    """Whether the request held more events than this server takes at once."""
    claimed: frozenset[int] = frozenset()
    """Positions of events whose id Lago says it has already; it may be wrong and proves nothing about content."""
    rejected: Mapping[int, str] | None = None
    """Reason by position of the events that Lago will not take."""
    unread: str = ""
    """The whole answer as text where it cannot be put down to single events; all else is empty then."""


def read_batch_refusal(payload: object, size: int) -> Refusal:
    """Return what a 422 answer to a batch of `size` events says; never raises for any JSON value."""
    details = payload.get("error_details") if isinstance(payload, Mapping) else None
    if details == _TOO_MANY:
        return Refusal(too_many=True)
    if not isinstance(details, Mapping) or not details:
        return Refusal(unread=as_text(payload))
    claimed: set[int] = set()
    rejected: dict[int, str] = {}
    for key, verdict in details.items():
        if not isinstance(key, str) or not _INDEX.fullmatch(key) or int(key) >= size:
            return Refusal(unread=as_text(payload))
        if _is_claim(payload, verdict):
            claimed.add(int(key))
        else:
            rejected[int(key)] = as_text(verdict)
    return Refusal(claimed=frozenset(claimed), rejected=rejected)


def read_single_refusal(payload: object) -> Refusal:
    """Return what a 422 answer to a single event says of it, as position 0; never raises for any JSON value."""
    details = payload.get("error_details") if isinstance(payload, Mapping) else None
    if _is_claim(payload, details):
        return Refusal(claimed=frozenset((0,)))
    return Refusal(rejected={0: as_text(details or payload)})


def holds(stored: Mapping[str, Any], event: PlannedEvent, computed: str | None = None) -> bool:
    """Return whether an event as Lago shows it has the planned identity and content.

    Properties that Lago added are no difference, and neither is `computed`, the property that the metric's expression
    fills; an amount that was not planned bills nothing more. Timestamps agree to the millisecond, give or take one.
    """
    identity = (event.transaction_id, event.subscription, event.code)
    if (stored.get("transaction_id"), stored.get("external_subscription_id"), stored.get("code")) != identity:
        return False
    moment = _instant(stored.get("timestamp"))
    if moment is None or abs(moment - event.time) > _TIME_TOLERANCE:
        return False
    if event.amount and not _agree(event.amount, stored.get("precise_total_amount_cents")):
        return False
    properties = stored.get("properties")
    return isinstance(properties, Mapping) and all(
        name == computed or _agree(text, properties.get(name)) for name, text in event.properties
    )


def as_text(value: object) -> str:
    """Return a JSON value as one short line that is safe to show."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return visible(text)[:_LONGEST_REASON] or "an empty text"


def _is_claim(payload: object, verdict: object) -> bool:
    return isinstance(payload, Mapping) and payload.get("code") == "validation_errors" and verdict == _EXISTS


def _instant(timestamp: object) -> datetime | None:
    if not isinstance(timestamp, str):
        return None
    try:
        moment = datetime.fromisoformat(timestamp)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    # Lago truncates to the millisecond; a finer time means the same.
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _agree(planned: str, stored: object) -> bool:
    if isinstance(stored, bool) or not isinstance(stored, str | int | float):
        return False
    text = str(stored)
    if text == planned:
        return True
    # An expression or a store may write a quantity otherwise: 3 as 3.0.
    numbers = _PLAIN_NUMBER.fullmatch(planned) and _PLAIN_NUMBER.fullmatch(text)
    return numbers is not None and Decimal(planned) == Decimal(text)
