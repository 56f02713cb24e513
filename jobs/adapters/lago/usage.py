"""Reads what Lago has counted of the billing period now open."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import quote

from jobs.adapters.lago.failures import CHECK_BASE
from jobs.adapters.lago.http import LagoClient
from jobs.core.lago.buckets import BucketKey, bucket_key
from jobs.errors import LagoError

_ABSENT = frozenset({404, 405})


@dataclass(frozen=True, slots=True)
class CurrentUsage:
    """What Lago has counted of the billing periods that are open."""

    units: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    """Units by (subscription, code)."""
    buckets: dict[BucketKey, Decimal] = field(default_factory=dict)
    """Units of what is priced on its own; none of a charge whose parts cannot be read."""


def read_current_usage(
    client: LagoClient, subscriptions: Sequence[tuple[str, str]], codes: Collection[str]
) -> Mapping[tuple[str, str], Decimal]:
    """Return the units Lago has counted so far, by (subscription, code), as `read_usage` does."""
    return read_usage(client, subscriptions, codes).units


def read_usage(client: LagoClient, subscriptions: Sequence[tuple[str, str]], codes: Collection[str]) -> CurrentUsage:
    """Return the units Lago has counted so far, in all and by bucket.

    `subscriptions` are pairs of external customer id and external subscription id. A pair of subscription and code is
    absent where Lago knows no such customer, where no active subscription runs, where the plan does not charge for
    the code, and where Lago leaves metric or units out. Lago caches these totals and updates them late. Raise
    `LagoError` when it does not answer.
    """
    wanted = frozenset(codes)

    def read(pair: tuple[str, str]) -> CurrentUsage:
        return _usage(client, *pair, wanted)

    executor = ThreadPoolExecutor(client.connection.concurrency, thread_name_prefix="lago-usage")
    try:
        found = CurrentUsage()
        for one in executor.map(read, dict.fromkeys(subscriptions)):
            found.units.update(one.units)
            found.buckets.update(one.buckets)
        return found
    finally:
        executor.shutdown(cancel_futures=True)


def _usage(client: LagoClient, customer: str, subscription: str, codes: frozenset[str]) -> CurrentUsage:
    # Taxes are left out because computing them may call a tax provider, whose limits are none of our business.
    reply = client.request(
        "GET",
        f"customers/{quote(customer, safe='')}/current_usage",
        params={"external_subscription_id": subscription, "apply_taxes": "false"},
        accept=_ABSENT,
    )
    if reply.status in _ABSENT and "code" in reply.payload:
        return CurrentUsage()
    usage = reply.payload.get("customer_usage")
    charges = usage.get("charges_usage") if isinstance(usage, dict) else None
    if not isinstance(charges, list):
        raise LagoError(f"what answers at {client.host} is not Lago's current usage", CHECK_BASE)
    found = CurrentUsage()
    for charge in charges:
        code, counted = _counted(charge)
        if code in codes and code is not None and counted is not None:
            # Two charges on one metric count the same events, so they are not added; the greatest is the one that
            # was neither prorated nor rounded down.
            key = (subscription, code)
            found.units[key] = max(counted, found.units.get(key, counted))
            # Where its parts cannot be read, the whole is what there is.
            with suppress(AttributeError, KeyError, TypeError, InvalidOperation):
                found.buckets.update(dict(_buckets(subscription, charge)))
    return found


def _buckets(subscription: str, charge: Any) -> Iterator[tuple[BucketKey, Decimal]]:
    """Yield what is priced on its own: each filter of each group, where the charge has any."""
    for level in charge.get("grouped_usage") or [charge]:
        groups = (level.get("grouped_by") or {}).items()
        for part in level.get("filters") or [level]:
            values = part.get("values") if part is not level else None
            yield bucket_key(subscription, charge["charge"]["lago_id"], values, groups), Decimal(part["units"])


def _counted(charge: Any) -> tuple[str | None, Decimal | None]:
    """Return a charge's metric and units, None for what Lago does not tell."""
    try:
        metric, units = charge.get("billable_metric"), charge.get("units")
        code = None if metric is None else metric.get("code")
        counted = None if units is None else Decimal(units)
    except (AttributeError, TypeError, InvalidOperation) as error:
        raise LagoError("Lago's current usage holds a charge that cannot be read", CHECK_BASE) from error
    if not isinstance(code, str | None) or not (counted is None or counted.is_finite()):
        raise LagoError("Lago's current usage holds a charge that cannot be read", CHECK_BASE)
    return code, counted
