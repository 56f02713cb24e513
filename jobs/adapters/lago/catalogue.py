"""Reading what Lago knows beside events: metrics, plans, subscriptions, and where it keeps its events.

Our client fetches, within the rate, through the proxy and with the certificates of everything else, and
lago-python-client's models read the lists. They refuse what newer servers leave out (a fixed charge's display name):
such an answer is read by hand, and fields that are absent are None. Charges of a plan come from the plan itself:
`plan_charges.find_all` sends no key. Organization and event store are read by hand, since lago-python-client has no GET
for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from lago_python_client.client import Client
from lago_python_client.exceptions import LagoApiError
from lago_python_client.services.response import prepare_index_response

from jobs.adapters.lago.exact_json import visible
from jobs.adapters.lago.failures import CHECK_BASE, of_status
from jobs.adapters.lago.http import LagoClient, Params, check_access
from jobs.adapters.lago.instants import parsed_instant
from jobs.adapters.lago.page_size import refuses_page_size
from jobs.core.lago.values import (
    BillableMetric,
    Catalogue,
    Charge,
    ChargeFilter,
    EventStore,
    Organization,
    Plan,
    Subscription,
)
from jobs.errors import LagoError

_Answer = TypeVar("_Answer")
# Lago lists only active ones unless told otherwise, and skips what an older version does not know.
_ALL_STATUSES = ["active", "pending", "terminated", "canceled", "incomplete"]
_READINGS = 4
_GRACE_DIGITS = 5
_PERIODS_A_YEAR = {"weekly": 52, "monthly": 12, "quarterly": 4, "semiannual": 2}


def read_catalogue(client: LagoClient) -> Catalogue:
    """Return Lago's whole catalogue, read to the last page; `LagoError` where Lago fails or refuses.

    It begins with `check_access`, so that a wrong base or key is told as such.
    """
    check_access(client)
    organization = read_organization(client)
    metrics, plans = read_prices(client)
    return Catalogue(organization, metrics, plans, read_subscriptions(client))


def read_prices(client: LagoClient) -> tuple[tuple[BillableMetric, ...], tuple[Plan, ...]]:
    """Return all billable metrics and all plans with their charges, each in order of code."""
    pages = _Pages(client)
    metrics = pages.all("billable_metrics")
    metric_codes = {str(metric.lago_id): str(metric.code) for metric in metrics}
    plans = _each(lambda plan: pages.plan(plan, metric_codes), pages.all("plans"))
    return (
        tuple(sorted(_each(_metric, metrics), key=lambda metric: metric.code)),
        tuple(sorted(plans, key=lambda plan: plan.code)),
    )


def read_subscriptions(client: LagoClient) -> tuple[Subscription, ...]:
    """Return all rows of all subscriptions, in order of (external id, Lago id)."""
    pages = _Pages(client)
    rows = pages.all("subscriptions", {"status[]": _ALL_STATUSES})
    payers = pages.payers() if rows else {}
    found = _each(lambda row: _subscription(row, payers), rows)
    return tuple(sorted(found, key=lambda subscription: (subscription.external_id, subscription.lago_id)))


def read_own_charges(client: LagoClient, external_id: str) -> tuple[Charge, ...]:
    """Return the charges of an active subscription's own plan, which may override what the plan's code names.

    Empty where there is none or the key may not read it.
    """
    path = f"subscriptions/{quote(external_id, safe='')}"
    reply = client.request("GET", path, accept=frozenset({403, 404}))
    if reply.status != 200:
        return ()
    try:
        charges = _Row(_Row(reply.payload["subscription"]).plan).charges
        return tuple(_each(lambda charge: _charge(charge, {}), _rows(charges)))
    except (KeyError, TypeError) as error:
        raise LagoError(f"Lago's answer to {path} is no subscription", CHECK_BASE) from error


class _Pages:
    """Lists of lago-python-client's models, whole."""

    def __init__(self, client: LagoClient) -> None:
        self._client = client
        self._package = Client(api_key=client.connection.api_key)  # for its models; it sends nothing

    def all(self, resource: str, filters: Mapping[str, list[str]] | None = None) -> list[Any]:
        """Return lago-python-client's model of every row of a list, each once."""
        for reading in range(_READINGS):
            per_page, rows, number, total = self._client.page_size.now, dict[str, Any](), 1, 0
            while number:
                page = self._page(resource, {**(filters or {}), "page": number, "per_page": per_page})
                if page is None:
                    break
                known = len(rows)
                for place, row in enumerate(page[resource]):
                    rows[row.lago_id if isinstance(row.lago_id, str) else f"row {number} {place}"] = row
                following, total = (_whole(page["meta"], name) for name in ("next_page", "total_count"))
                if following and (following != number + 1 or not known < len(rows) <= total):
                    break  # pages that lead nowhere would be read for ever
                number = following
            if number == 0 and len(rows) == total:
                return list(rows.values())
            if reading:
                self._client.wait(0.5 * reading)
        raise LagoError(f"Lago's list of {resource} changed during each of {_READINGS} readings", "Run again")

    def payers(self) -> Mapping[str, _Payer] | None:
        """Return what decides when a customer is billed, by external id; None where the key may not read it."""
        reply = self._client.request("GET", "customers", params={"per_page": 1}, accept=frozenset({403, 404, 422}))
        if reply.status in (403, 404):
            return None
        customers = self.all("customers")
        graces = self._grace_periods()
        return {
            one.external_id: _Payer(
                zone if isinstance(zone := one.applicable_timezone or one.timezone, str) else "UTC",
                _first_count(_grace(one), graces.get(_text_or_none(one.billing_entity_code)), graces.get(None)),
            )
            for one in customers
            if isinstance(one.external_id, str)
        }

    def _grace_periods(self) -> Mapping[str | None, object]:
        """Return the grace period of each billing entity by its code, and under None that of the organization."""
        organization = self._client.request("GET", "organizations", accept=frozenset({403, 404}))
        entities = self._client.request("GET", "billing_entities", accept=frozenset({403, 404}))
        listed = entities.payload.get("billing_entities")
        told = [_Row(one) for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        whole = organization.payload.get("organization")
        own = _grace(_Row(whole)) if isinstance(whole, dict) else None
        return {_text_or_none(one.code): _grace(one) for one in told} | {None: own}

    def plan(self, plan: Any, metric_codes: Mapping[str, str]) -> Plan:
        """Return a plan with its charges, asked for by its code if the list came without them."""
        if plan.charges is None and _text(plan.code):
            code = quote(plan.code, safe="")
            plan = self._attempt(
                f"plans/{code}",
                lambda payload: self._package.plans.RESPONSE_MODEL.parse_obj(payload["plan"]),
                lambda payload: _Row(payload["plan"]),
                {},
            )
        charges = _each(lambda charge: _charge(charge, metric_codes), _rows(plan.charges))
        return Plan(
            _text(plan.code),
            tuple(charges),
            interval=_text(plan.interval) or "monthly",
            bill_charges_monthly=bool(plan.bill_charges_monthly),
            currency=_text(plan.amount_currency),
            yearly_amount=int(plan.amount_cents or 0) * _PERIODS_A_YEAR.get(_text(plan.interval), 1),
        )

    def _page(self, resource: str, options: dict[str, Any]) -> Mapping[str, Any] | None:
        """Return one page, or None if this page size is refused: then it is lower now."""
        collection = getattr(self._package, resource)
        try:
            page: Mapping[str, Any] = self._attempt(
                resource,
                lambda payload: prepare_index_response(resource, collection.RESPONSE_MODEL, payload),
                lambda payload: {resource: [_Row(row) for row in payload[resource]], "meta": payload["meta"]},
                options,
            )
        except _PageSizeRefusedError:
            self._client.page_size.refuse()
            return None
        return page

    def _attempt(
        self,
        path: str,
        by_package: Callable[[dict[str, Any]], _Answer],
        by_hand: Callable[[dict[str, Any]], _Answer],
        options: Mapping[str, Any],
    ) -> _Answer:
        reply = self._client.request("GET", path, params=options, accept=frozenset({422}))
        if reply.status == 422:
            if refuses_page_size(reply.payload, int(options.get("per_page", 0))):
                raise _PageSizeRefusedError
            raise of_status(422, reply.payload, path, None)
        try:
            return by_package(reply.payload)
        except (LagoApiError, ValueError, KeyError, TypeError, AttributeError):
            pass  # its models are stricter than Lago
        try:
            return by_hand(reply.payload)
        except (ValueError, KeyError, TypeError) as error:
            raise LagoError(f"Lago's answer to {path} is no list of it", CHECK_BASE) from error


class _Row:
    """An object of Lago's JSON; a field that is absent is None."""

    def __init__(self, fields: dict[str, Any]) -> None:
        if not isinstance(fields, dict):
            raise TypeError("not an object")
        self._fields = fields

    def __getattr__(self, name: str) -> Any:
        return self._fields.get(name)


def _rows(held: Any) -> Iterable[Any]:
    """Return the objects in a field: lago-python-client's models, or those of a `_Row`; none where it is null."""
    if isinstance(held, list):
        return [_Row(one) for one in held]
    return () if held is None else held.__root__


class _Payer(NamedTuple):
    """What decides when a customer is billed."""

    time_zone: str = "UTC"
    grace_days: int = 0


def _grace(owner: Any) -> object:
    """Return what a customer, billing entity or organization says of its grace period."""
    configured = owner.billing_configuration
    if isinstance(configured, dict):
        return configured.get("invoice_grace_period")
    return getattr(configured, "invoice_grace_period", None)


def _first_count(*told: object) -> int:
    """Return the first of these that is a number of days, 0 where none is."""
    return next((int(str(one)) for one in told if str(one).isdecimal() and len(str(one)) < _GRACE_DIGITS), 0)


class _PageSizeRefusedError(Exception):
    """Lago allows no page of this size."""


def read_organization(client: LagoClient) -> Organization:
    """Return whose key this is and where its events live, as far as Lago tells."""
    # A key may lack the permission, and an old server the resource; neither is worth a failed run.
    reply = client.request("GET", "organizations", accept=frozenset({403, 404}))
    told = reply.payload.get("organization")
    organization: Mapping[str, Any] = told if isinstance(told, dict) else {}
    return Organization(
        lago_id=_text_or_none(organization.get("lago_id")),
        name=_text_or_none(organization.get("name")),
        event_store=_named_store(organization.get("events_store")) or _probed_store(client),
    )


def _named_store(name: object) -> EventStore | None:
    if name == "postgres":
        return "postgres"
    return "clickhouse" if name == "clickhouse" else None


def _probed_store(client: LagoClient) -> EventStore:
    """Ask for enriched events, which only ClickHouse organizations have; below Lago 1.36 nobody has them."""
    instant = "1970-01-01T00:00:00Z"
    params: Params = {"per_page": 1, "timestamp_from": instant, "timestamp_to": instant}
    reply = client.request("GET", "events_enriched", params=params, accept=frozenset({403, 404}))
    if reply.status == 403:
        return "postgres" if reply.payload.get("code") == "endpoint_not_available" else "unknown"
    # The list stands under `events`, like the one it enriches.
    told = any(isinstance(reply.payload.get(root), list) for root in ("events", "events_enriched"))
    return "clickhouse" if told else "unknown"


def _whole(meta: object, name: str) -> int:
    """Return a number that a page tells of its list, 0 where it is null; `LagoError` for what is none."""
    number = meta.get(name) if isinstance(meta, dict) else False
    if number is None:
        return 0
    if isinstance(number, int | str) and str(number).isdecimal() and len(str(number)) < 20:
        return int(number)
    raise LagoError("a list in Lago's catalogue tells no count or page", CHECK_BASE)


def _each(read: Callable[[Any], _Answer], models: Iterable[Any]) -> Iterator[_Answer]:
    """Yield our value of each of lago-python-client's models, whose fields Lago may leave out."""
    for model in models:
        try:
            yield read(model)
        except (AttributeError, TypeError, ValueError) as error:
            raise LagoError(f"Lago's catalogue holds something that cannot be used: {error}", CHECK_BASE) from error


def _metric(metric: Any) -> BillableMetric:
    return BillableMetric(
        code=_text(metric.code),
        aggregation_type=_text(metric.aggregation_type),
        field_name=_text(metric.field_name) or None,
        expression=_text(metric.expression) or None,
        filters=tuple((_text(each.key), _texts(each.values or ())) for each in _rows(metric.filters)),
        recurring=bool(metric.recurring),
        rounds=bool(_text(metric.rounding_function)),
    )


def _charge(charge: Any, metric_codes: Mapping[str, str]) -> Charge:
    code = charge.billable_metric_code or metric_codes.get(charge.lago_billable_metric_id)
    return Charge(
        metric_code=_text(code),
        pay_in_advance=bool(charge.pay_in_advance),
        lago_id=_text(charge.lago_id),
        charge_model=_text(charge.charge_model) or "standard",
        properties=charge.properties or {},
        filters=tuple(
            ChargeFilter({key: _texts(given) for key, given in (each.values or {}).items()}, each.properties or {})
            for each in _rows(charge.filters)
        ),
        prorated=bool(charge.prorated),
        min_amount=int(charge.min_amount_cents or 0),
        has_pricing_unit=bool(getattr(charge, "applied_pricing_unit", None)),
    )


def _subscription(subscription: Any, payers: Mapping[str, _Payer] | None) -> Subscription:
    payer = (payers or {}).get(_text_or_none(subscription.external_customer_id) or "", _Payer())
    return Subscription(
        external_id=_text(subscription.external_id),
        lago_id=_text(subscription.lago_id),
        external_customer_id=_text_or_none(subscription.external_customer_id),
        plan_code=None if subscription.plan_code is None else _text(subscription.plan_code),
        status=_text(subscription.status),
        started_at=parsed_instant(subscription.started_at),
        terminated_at=parsed_instant(subscription.terminated_at),
        current_period_started_at=parsed_instant(subscription.current_billing_period_started_at),
        billing_time=_text(subscription.billing_time) or "calendar",
        subscription_at=parsed_instant(subscription.subscription_at),
        time_zone=payer.time_zone,
        grace_days=payer.grace_days,
        created_at=parsed_instant(subscription.created_at),
        payer_is_told=payers is not None,
        ends_with_invoice=subscription.on_termination_invoice != "skip",
    )


def _text(value: object) -> str:
    """Return a text of Lago's, empty where it is null or absent; `TypeError` for what is none."""
    if not isinstance(value, str | None):
        raise TypeError(f"a text is a {type(value).__name__}")
    return visible(value or "")


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _texts(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(visible(value) for value in values if isinstance(value, str))
