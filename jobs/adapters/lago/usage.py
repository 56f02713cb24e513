"""Reads what Lago has counted of the billing period now open."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import quote

from jobs.adapters.lago.failures import CHECK_BASE
from jobs.adapters.lago.http import LagoClient
from jobs.errors import LagoError

_ABSENT = frozenset({404, 405})


def read_current_usage(
    client: LagoClient, subscriptions: Sequence[tuple[str, str]], codes: Collection[str]
) -> Mapping[tuple[str, str], Decimal]:
    """Return the units Lago has counted so far, by (subscription, code).

    `subscriptions` are pairs of external customer id and external subscription id. A pair of subscription and code is
    absent where Lago knows no such customer, where no active subscription runs, where the plan does not charge for
    the code, and where Lago leaves metric or units out. Lago caches these totals and updates them late. Raise
    `LagoError` when it does not answer.
    """
    wanted = frozenset(codes)

    def read(pair: tuple[str, str]) -> dict[tuple[str, str], Decimal]:
        customer, subscription = pair
        return {(subscription, code): units for code, units in _units(client, customer, subscription, wanted).items()}

    executor = ThreadPoolExecutor(client.connection.concurrency, thread_name_prefix="lago-usage")
    try:
        usage: dict[tuple[str, str], Decimal] = {}
        for read_usage in executor.map(read, dict.fromkeys(subscriptions)):
            usage |= read_usage
        return usage
    finally:
        executor.shutdown(cancel_futures=True)


def _units(client: LagoClient, customer: str, subscription: str, codes: frozenset[str]) -> dict[str, Decimal]:
    # Taxes are left out because computing them may call a tax provider, whose limits are none of our business.
    reply = client.request(
        "GET",
        f"customers/{quote(customer, safe='')}/current_usage",
        params={"external_subscription_id": subscription, "apply_taxes": "false"},
        accept=_ABSENT,
    )
    if reply.status in _ABSENT and "code" in reply.payload:
        return {}
    usage = reply.payload.get("customer_usage")
    charges = usage.get("charges_usage") if isinstance(usage, dict) else None
    if not isinstance(charges, list):
        raise LagoError(f"what answers at {client.host} is not Lago's current usage", CHECK_BASE)
    units: dict[str, Decimal] = {}
    for charge in charges:
        code, counted = _counted(charge)
        if code in codes and counted is not None:
            # Two charges on one metric count the same events, so they are not added; the greatest is the one that
            # was neither prorated nor rounded down.
            units[code] = max(counted, units.get(code, counted))
    return units


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
