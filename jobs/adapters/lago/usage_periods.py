"""Reads what Lago has counted bucket by bucket: current usage of the open period, past usage of invoiced ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import quote

from jobs.adapters.lago.failures import CHECK_BASE
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago.instants import parsed_instant
from jobs.core.money.usage import BucketUsage, Groups, PeriodUsage
from jobs.core.money.worth import Counted
from jobs.errors import LagoError

# Unknown customer, no active subscription, or a key that may not read usage.
_NOT_TOLD = frozenset({403, 404, 405, 422})
_PERIODS_A_PAGE = 12
_MOST_PAGES = 5
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class UsageAsked:
    """Of which subscription usage is asked, and how far back."""

    customer: str
    """The customer's external id."""
    subscription: str
    """The subscription's external id."""
    since: datetime
    """The earliest time that a period is wanted of."""


def read_usage_periods(client: LagoClient, asked: Sequence[UsageAsked]) -> tuple[PeriodUsage, ...]:
    """Return the periods of these subscriptions that Lago tells, the open one first, then back to `since`.

    One request for each subscription, one more where `since` lies before the open period, and then for each invoice.
    What Lago does not tell (no active subscription, a period that is not invoiced, a key without the permission) is
    absent. Raise `LagoError` where it does not answer or answers something else.
    """
    executor = ThreadPoolExecutor(client.connection.concurrency, thread_name_prefix="lago-usage")
    try:
        found = [one for periods in executor.map(lambda one: _periods(client, one), asked) for one in periods]
        invoices = [*dict.fromkeys(one.invoice_id for one in found if one.invoice_id)]
        statuses = dict(zip(invoices, executor.map(lambda one: _invoice_status(client, one), invoices), strict=True))
    finally:
        executor.shutdown(cancel_futures=True)
    told = [replace(one, invoice_status=statuses.get(one.invoice_id, "")) for one in found]
    # Lago goes on telling what a voided invoice billed beside what was made in its place.
    stands = {(one.subscription, one.start) for one in told if one.invoice_status != "voided"}
    return tuple(one for one in told if one.invoice_status != "voided" or (one.subscription, one.start) not in stands)


def _invoice_status(client: LagoClient, invoice_id: str) -> str:
    reply = client.request("GET", f"invoices/{quote(invoice_id, safe='')}", accept=_NOT_TOLD)
    told = reply.payload.get("invoice") if reply.status == 200 else None
    status = told.get("status") if isinstance(told, dict) else None
    return status if isinstance(status, str) else ""


def _periods(client: LagoClient, asked: UsageAsked) -> list[PeriodUsage]:
    found = list(_current(client, asked))
    if not found or found[0].start > asked.since:
        found += _past(client, asked)
    return found


def _current(client: LagoClient, asked: UsageAsked) -> Iterator[PeriodUsage]:
    # Taxes are left out because computing them may call a tax provider, whose limits are none of our business.
    reply = client.request(
        "GET",
        f"customers/{quote(asked.customer, safe='')}/current_usage",
        params={"external_subscription_id": asked.subscription, "apply_taxes": "false"},
        accept=_NOT_TOLD,
    )
    if reply.status == 200:
        yield _period(client, asked.subscription, reply.payload.get("customer_usage"), is_open=True)


def _past(client: LagoClient, asked: UsageAsked) -> Iterator[PeriodUsage]:
    for page in range(1, _MOST_PAGES + 1):
        reply = client.request(
            "GET",
            f"customers/{quote(asked.customer, safe='')}/past_usage",
            params={"external_subscription_id": asked.subscription, "page": page, "per_page": _PERIODS_A_PAGE},
            accept=_NOT_TOLD,
        )
        if reply.status != 200:
            return
        told = reply.payload.get("usage_periods")
        if not isinstance(told, list):
            raise _unreadable(client)
        for one in told:
            period = _period(client, asked.subscription, one, is_open=False)
            # A period may be told more than once, where its invoice was voided and made anew.
            if period.end <= asked.since:
                return
            yield period
        if len(told) < _PERIODS_A_PAGE:
            return


def _period(client: LagoClient, subscription: str, told: Any, *, is_open: bool) -> PeriodUsage:
    try:
        start, end = parsed_instant(told["from_datetime"]), parsed_instant(told["to_datetime"])
        if start is None or end is None or start > end:
            raise _unreadable(client)
        return PeriodUsage(
            subscription=subscription,
            start=start.replace(microsecond=0),
            # Its last second counts to the end.
            end=end.replace(microsecond=0) + _SECOND,
            is_open=is_open,
            currency=str(told["currency"]),
            buckets=tuple(bucket for charge in told["charges_usage"] for bucket in _buckets(charge)),
            invoice_id=str(told.get("lago_invoice_id") or ""),
        )
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise _unreadable(client) from error


def _buckets(charge: Mapping[str, Any]) -> Iterator[BucketUsage]:
    """Yield the innermost levels of a charge's usage: filters within groups, groups, filters, or the charge itself."""
    metric = charge.get("billable_metric")
    if metric is None or charge.get("units") is None:
        return
    for groups, level in _groups(charge):
        for values, bucket in _filters(level):
            events, amount = bucket.get("events_count"), bucket["amount_cents"]
            yield BucketUsage(
                charge_id=str(charge["charge"]["lago_id"]),
                code=str(metric["code"]),
                filter_values=values,
                groups=groups,
                counted=Counted(_number(bucket["units"]), int(events or 0), int(amount)),
                has_pricing_unit=charge.get("pricing_unit_details") is not None,
            )


def _groups(charge: Mapping[str, Any]) -> Iterable[tuple[Groups, Mapping[str, Any]]]:
    grouped = charge.get("grouped_usage") or []
    if not grouped:
        return [((), charge)]
    return [(tuple(sorted(dict(one["grouped_by"]).items())), one) for one in grouped]


def _filters(level: Mapping[str, Any]) -> Iterable[tuple[Mapping[str, tuple[str, ...]] | None, Mapping[str, Any]]]:
    filters = level.get("filters") or []
    if not filters:
        return [(None, level)]
    return [
        (None if one["values"] is None else {key: tuple(values) for key, values in one["values"].items()}, one)
        for one in filters
    ]


def _number(text: object) -> Decimal:
    number = Decimal(str(text))
    if not number.is_finite():
        raise InvalidOperation
    return number


def _unreadable(client: LagoClient) -> LagoError:
    return LagoError(f"what answers at {client.host} is not Lago's usage", CHECK_BASE)
