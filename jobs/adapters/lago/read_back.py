"""Asks Lago what it has of planned events: the one judge of what was sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from jobs.adapters.lago.exact_json import JsonNumber
from jobs.adapters.lago.failures import CHECK_BASE, LagoUnansweredError, RetryPolicy, any_failure
from jobs.adapters.lago.http import LagoClient
from jobs.core.lago.answers import holds
from jobs.core.plan import PlannedEvent
from jobs.errors import LagoError

_PER_PAGE = 100
_MOST_PAGES_FOR_ONE = 20
_SECOND = timedelta(seconds=1)


class Sighting(StrEnum):
    """What Lago shows under the id and subscription of a planned event."""

    SAME = "same"
    """The planned content."""
    OTHER = "other"
    """Other content, and not the planned one."""
    ABSENT = "absent"
    """Nothing; in a ClickHouse organization it may only not be visible yet."""
    UNREAD = "unread"
    """Lago gave no usable answer."""


def look_up(
    client: LagoClient,
    events: Sequence[PlannedEvent],
    *,
    by_id: bool,
    computed: Mapping[str, str],
    retry: RetryPolicy = any_failure,
) -> list[Sighting]:
    """Return what Lago shows of each event, in their order.

    Events of one subscription and code are looked for together, in the list of their time. With `by_id`, those not
    seen there are asked for one by one, which also finds an id that was used at another time or with another code.
    `computed` tells by code the property that Lago itself fills. Raise `LagoError` where Lago refuses to answer.
    """
    reader = _Reader(client, events, computed, retry)
    with suppress(LagoUnansweredError):  # what was not reached stays UNREAD, and that is the answer
        reader.read(by_id)
    return reader.sightings


class _Reader:
    def __init__(
        self, client: LagoClient, events: Sequence[PlannedEvent], computed: Mapping[str, str], retry: RetryPolicy
    ) -> None:
        self._client = client
        self._events = events
        self._computed = computed
        self._retry = retry
        self.sightings = [Sighting.UNREAD] * len(events)

    def read(self, by_id: bool) -> None:
        for group in self._groups():
            whole = self._list(group, most_pages=len(group))
            if whole and not by_id:
                continue
            settled = (Sighting.SAME, Sighting.OTHER) if whole else (Sighting.SAME,)
            doubtful = [position for position in group if self.sightings[position] not in settled]
            for position in doubtful:
                self.sightings[position] = Sighting.UNREAD
            for position in doubtful:
                self._show(position, listed=whole)

    def _groups(self) -> list[list[int]]:
        groups: dict[tuple[str, str], list[int]] = {}
        for position, event in enumerate(self._events):
            groups.setdefault((event.subscription, event.code), []).append(position)
        return list(groups.values())

    def _list(self, group: list[int], most_pages: int) -> bool:
        """Look for the group in Lago's list; return whether all of the list was worth reading."""
        events = [self._events[position] for position in group]
        positions: dict[str, list[int]] = {}
        for position, event in zip(group, events, strict=True):
            positions.setdefault(event.transaction_id, []).append(position)
        params: dict[str, str | int] = {
            "external_subscription_id": events[0].subscription,
            "code": events[0].code,
            # Whole seconds: how ClickHouse organizations compare fractions is not documented.
            "timestamp_from": _whole_second(min(event.time for event in events) - timedelta(milliseconds=1)),
            "timestamp_to": _whole_second(max(event.time for event in events) + _SECOND),
            "per_page": _PER_PAGE,
        }
        page = pages = 1
        while page <= pages:
            payload = self._get("events", {**params, "page": page})
            listed, meta = payload.get("events"), payload.get("meta")
            if not isinstance(listed, list) or not isinstance(meta, dict):
                raise LagoError(f"what answers at {self._client.host} is not Lago's list of events", CHECK_BASE)
            for stored in listed:
                if isinstance(stored, dict):
                    self._compare(stored, positions.get(str(stored.get("transaction_id")), ()))
            page, pages = page + 1, _whole_number(meta.get("total_pages"))
            if all(self.sightings[position] is Sighting.SAME for position in group):
                return True
            if pages > most_pages:
                return False
        for position in group:
            if self.sightings[position] is Sighting.UNREAD:
                self.sightings[position] = Sighting.ABSENT
        return True

    def _show(self, position: int, *, listed: bool) -> None:
        """Ask for one event by its id, which Lago looks for in all subscriptions and finds in any."""
        event = self._events[position]
        path = f"events/{quote(event.transaction_id, safe='')}"
        reply = self._client.request("GET", path, retry=self._retry, accept=frozenset({404}))
        stored = reply.payload.get("event")
        if reply.status == 404:
            if reply.payload.get("code") != "event_not_found":
                raise LagoUnansweredError("a 404 that is not Lago's", CHECK_BASE, may_have_acted=False)
            self.sightings[position] = Sighting.ABSENT
        elif not isinstance(stored, dict):
            raise LagoError(f"what answers at {self._client.host} is not one of Lago's events", CHECK_BASE)
        elif stored.get("external_subscription_id") == event.subscription:
            self._compare(stored, (position,))
        elif listed:
            self.sightings[position] = Sighting.ABSENT
        if not listed and self.sightings[position] in (Sighting.UNREAD, Sighting.OTHER):
            # Another event has this id too and stands before ours.
            self._list([position], _MOST_PAGES_FOR_ONE)

    def _compare(self, stored: dict[str, Any], positions: Sequence[int]) -> None:
        for position in positions:
            event = self._events[position]
            if stored.get("external_subscription_id") != event.subscription:
                continue
            if holds(stored, event, self._computed.get(event.code)):
                self.sightings[position] = Sighting.SAME
            elif self.sightings[position] is not Sighting.SAME:
                self.sightings[position] = Sighting.OTHER

    def _get(self, path: str, params: Mapping[str, str | int]) -> dict[str, Any]:
        return self._client.request("GET", path, params=params, retry=self._retry).payload


def _whole_second(moment: datetime) -> str:
    return moment.replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def _whole_number(value: object) -> int:
    return int(value) if isinstance(value, JsonNumber) and value.isdecimal() and len(value) < 20 else 0
