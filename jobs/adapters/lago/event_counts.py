"""Asks how many events Lago lists, without reading one of them."""

from __future__ import annotations

from datetime import timedelta

from jobs.adapters.lago.failures import CHECK_BASE
from jobs.adapters.lago.http import LagoClient, Params
from jobs.adapters.lago.instants import instant_text
from jobs.core.window import Window
from jobs.errors import LagoError

_MICROSECOND = timedelta(microseconds=1)


def count_listed_events(client: LagoClient, subscription: str, code: str, window: Window) -> int:
    """Return how many events of this subscription and code Lago lists in the window; one request.

    `LagoError` where it does not answer, or answers something else.
    """
    params: Params = {
        "external_subscription_id": subscription,
        "code": code,
        "timestamp_from": instant_text(window.start),
        "timestamp_to": instant_text(window.end - _MICROSECOND),
        "per_page": 1,
    }
    meta = client.request("GET", "events", params=params).payload.get("meta")
    total = meta.get("total_count") if isinstance(meta, dict) else None
    if not str(total).isdecimal():
        raise LagoError(f"what answers at {client.host} is not Lago's list of events", CHECK_BASE)
    return int(str(total))
