"""Asks what Lago lists of one subscription and metric: how many events, and where they are few, which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from jobs.adapters.lago.exact_json import value_text
from jobs.adapters.lago.failures import CHECK_BASE, of_status
from jobs.adapters.lago.http import LagoClient, Params
from jobs.adapters.lago.instants import instant_text, parsed_instant
from jobs.adapters.lago.page_size import SAFE_PAGE_SIZE, refuses_page_size
from jobs.core.lago.sums import ListedEvent
from jobs.core.window import Window
from jobs.errors import LagoError

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Listing:
    """What Lago lists in a window."""

    total: int
    """How many events."""
    events: tuple[ListedEvent, ...] | None
    """Which, in Lago's order; None where they are too many to be read, or came and went meanwhile."""


def count_listed_events(client: LagoClient, subscription: str, code: str, window: Window) -> int:
    """Return how many events of this subscription and code Lago lists in the window; one request.

    `LagoError` where it does not answer, or answers something else.
    """
    return _page(client, _params(subscription, code, window), 1)[0]


def list_few_events(
    client: LagoClient, subscription: str, code: str, window: Window, property_names: Sequence[str], most: int
) -> Listing:
    """Return what Lago lists in the window: the events themselves where there are no more than `most`.

    One request, and one more for each further page of few events. `LagoError` where Lago does not answer, or answers
    something else.
    """
    asked = _params(subscription, code, window)
    size = client.page_size.now
    total, listed = _page(client, asked, size)
    if total > most:
        return Listing(total, None)
    size = min(size, client.page_size.now)
    for number in range(2, -(-total // size) + 1):
        total_now, more = _page(client, asked, size, number)
        if total_now != total:
            return Listing(total_now, None)
        listed += more
    events = tuple(_event(one, property_names) for one in listed)
    # Below 1.48, and in ClickHouse, pages may repeat one event and leave out another.
    is_whole = len(events) == total and (total <= size or len({one.identity for one in events}) == total)
    return Listing(total, events if is_whole else None)


def list_codes(client: LagoClient, subscription: str, window: Window, value: str) -> frozenset[str]:
    """Return the codes of the events of this subscription and time that hold this value in some property; one request.

    Only a page of them is looked at. `LagoError` where Lago does not answer, or answers something else.
    """
    asked = {name: told for name, told in _params(subscription, "", window).items() if name != "code"}
    _, listed = _page(client, asked, client.page_size.now)
    return frozenset(
        str(one["code"])
        for one in listed
        if isinstance(one, dict)
        and isinstance(one.get("code"), str)
        and isinstance(properties := one.get("properties"), dict)
        and value in {value_text(held) for held in properties.values()}
    )


def _params(subscription: str, code: str, window: Window) -> Params:
    return {
        "external_subscription_id": subscription,
        "code": code,
        "timestamp_from": instant_text(window.start),
        "timestamp_to": instant_text(window.end - _MICROSECOND),
    }


def _page(client: LagoClient, asked: Params, size: int, number: int = 1) -> tuple[int, list[Any]]:
    """Return how many events there are in all, and those of this page."""
    params = {**asked, "per_page": size, "page": number}
    reply = client.request("GET", "events", params=params, accept=frozenset({422}))
    if reply.status == 422:
        if not refuses_page_size(reply.payload, size):
            raise of_status(422, reply.payload, "events", None)
        client.page_size.refuse()
        return _page(client, asked, SAFE_PAGE_SIZE, number)
    meta, listed = reply.payload.get("meta"), reply.payload.get("events")
    total = meta.get("total_count") if isinstance(meta, dict) else None
    if not str(total).isdecimal() or not isinstance(listed, list):
        raise LagoError(f"what answers at {client.host} is not Lago's list of events", CHECK_BASE)
    return int(str(total)), listed


def _event(told: Any, property_names: Iterable[str]) -> ListedEvent:
    one = told if isinstance(told, dict) else {}
    properties = one.get("properties")
    held = properties if isinstance(properties, dict) else {}
    return ListedEvent(
        (str(one.get("transaction_id")), str(one.get("timestamp"))),
        parsed_instant(one.get("created_at")),
        {name: value_text(held.get(name)) for name in property_names},
    )
