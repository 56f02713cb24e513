"""A few questions to Lago for the doctor: does it answer, as what, to whom, and what was sent to it lately."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from jobs.adapters.lago.exact_json import JsonNumber
from jobs.adapters.lago.failures import CHECK_BASE, Failure, LagoUnansweredError
from jobs.adapters.lago.http import LagoClient, Reply
from jobs.adapters.lago.instants import instant_text, parsed_instant
from jobs.adapters.lago.page_size import SAFE_PAGE_SIZE
from jobs.core.doctor.lago_checks import SampledEvent
from jobs.core.transaction_ids import PREFIX

_READ = ("events", "billable_metrics", "plans", "subscriptions")
_PAST = "1970-01-01T00:00:00Z"
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
# The newest events of the last day, or where there are none of the last month.
_RECENT = (timedelta(days=1), timedelta(days=31))


@dataclass(frozen=True, slots=True)
class Answer:
    """The first answer of whatever is at Lago's address."""

    status: int
    """HTTP status."""
    is_lago: bool
    """Whether it looks like Lago's API."""
    what: str
    """What it was, for a person."""
    clock: datetime | None
    """The time that its Date header tells, UTC, to the second; None without one."""
    requests_per_second: float | None
    """The limit that its headers tell; None where they tell none."""


def ask(client: LagoClient) -> Answer:
    """Ask for a page without events; raise `LagoUnansweredError` only where nothing answers in HTTP."""
    window: Mapping[str, str | int] = {"per_page": 1, "timestamp_from": _PAST, "timestamp_to": _PAST}
    try:
        reply = client.request("GET", "events", params=window, accept=frozenset(range(300, 500)) - {408, 429})
    except LagoUnansweredError as error:
        failure = error.__cause__
        if isinstance(failure, Failure) and failure.remedy == CHECK_BASE:
            return Answer(200, False, failure.what, None, None)
        raise
    is_lago = _is_lago(reply)
    return Answer(reply.status, is_lago, f"HTTP {reply.status}", _clock(reply), _limit(reply.headers))


def forbidden(client: LagoClient) -> tuple[tuple[str, ...], bool]:
    """Return the resources that a run has to read and that this key may not, and whether it may read current usage."""
    refused = []
    for resource in _READ:
        window = {"timestamp_from": _PAST, "timestamp_to": _PAST} if resource == "events" else {}
        params: dict[str, str | int] = {"per_page": 1, **window}
        if client.request("GET", resource, params=params, accept=frozenset({403})).status == 403:
            refused.append(resource)
    # Nobody's usage: Lago looks at the key's permission first, and for the customer then.
    usage = client.request("GET", "customers/-/current_usage", accept=frozenset({403, 404, 405, 422}))
    return tuple(refused), usage.status != 403


def recent_events(client: LagoClient, codes: Sequence[str], now: datetime) -> tuple[SampledEvent, ...]:
    """Return the newest 100 events of the organization, and of each of these codes that is not among them."""
    for length in _RECENT:
        found = _newest(client, now - length, {})
        for code in codes:
            if not any(event.code == code for event in found):
                found += _newest(client, now - length, {"code": code})
        if found:
            break
    return tuple(found)


def _newest(client: LagoClient, start: datetime, filters: Mapping[str, str]) -> list[SampledEvent]:
    params: dict[str, str | int] = {"per_page": SAFE_PAGE_SIZE, "timestamp_from": instant_text(start), **filters}
    listed = client.get("events", params).get("events")
    if not isinstance(listed, list):
        return []
    # What a backfill sent says nothing about senders.
    foreign = (event for event in listed if isinstance(event, dict) and not _is_own(event))
    return [_sampled(event) for event in foreign]


def _is_own(event: Mapping[str, Any]) -> bool:
    return str(event.get("transaction_id")).startswith(PREFIX)


def _sampled(event: Mapping[str, Any]) -> SampledEvent:
    held = event.get("properties")
    properties: Mapping[str, Any] = held if isinstance(held, dict) else {}
    subscription = event.get("external_subscription_id")
    return SampledEvent(
        code=str(event.get("code")),
        subscription=subscription if isinstance(subscription, str) else None,
        time=parsed_instant(event.get("timestamp")),
        properties=frozenset(properties),
        numbers=frozenset(name for name, value in properties.items() if _is_number(value)),
    )


def _is_number(value: object) -> bool:
    return isinstance(value, JsonNumber) or (isinstance(value, str) and _NUMBER.fullmatch(value) is not None)


def _is_lago(reply: Reply) -> bool:
    """Tell whether an answer has the form of Lago's lists, or of its errors."""
    if reply.status == 200:
        return isinstance(reply.payload.get("events"), list) and isinstance(reply.payload.get("meta"), dict)
    return reply.status in (401, 403, 422) and isinstance(reply.payload.get("error"), str)


def _clock(reply: Reply) -> datetime | None:
    try:
        return parsedate_to_datetime(reply.headers.get("date", "")).astimezone(UTC)
    except ValueError:
        return None


def _limit(headers: Mapping[str, str]) -> float | None:
    try:
        limit = float(headers.get("x-ratelimit-limit", ""))
    except ValueError:
        return None
    return limit if limit > 0 else None
