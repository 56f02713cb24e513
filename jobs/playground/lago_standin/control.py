"""The control interface under /standin/, on the same port as the API and no part of Lago.

Every request carries the token that the server made when it started, in `X-Standin-Token`. JSON in, JSON out; a 400
with an `error` where the database refuses, a 404 where there is no such organisation.

    POST   /standin/organizations                        name, event_store, version, api_permissions -> id, api_key
    PATCH  /standin/organizations/{id}                   the knobs of `Organization.configure`
    POST   /standin/organizations/{id}/keys              api_permissions, expires_at -> api_key
    POST   /standin/organizations/{id}/metrics           as `Organization.add_metric`
    DELETE /standin/organizations/{id}/metrics/{code}    soft-deletes the metric's events too
    POST   /standin/organizations/{id}/plans             as `add_plan`
    POST   /standin/organizations/{id}/customers         as `add_customer`
    POST   /standin/organizations/{id}/subscriptions     as `add_subscription`
    POST   /standin/organizations/{id}/terminations      external_id, terminated_at
    POST   /standin/organizations/{id}/deletions         transaction_ids
    POST   /standin/organizations/{id}/finalizations     external_id, from, to and at, or inside -> the frozen usage
    POST   /standin/organizations/{id}/billed            external_id, code, from, to -> units, events_count
    PUT    /standin/organizations/{id}/faults            a list of faults (an empty one clears them)
    GET    /standin/organizations/{id}/requests          what was asked, oldest first
    DELETE /standin/organizations/{id}/requests
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
from aiohttp import web
from multidict import MultiDict
from psycopg.types.json import Jsonb

from jobs.playground.lago_standin import invoices, usage, writing
from jobs.playground.lago_standin.answers import RefusalError, encode
from jobs.playground.lago_standin.calls import Call, Connection, Known, Tenant
from jobs.playground.lago_standin.faults import FaultRule, fault_from
from jobs.playground.lago_standin.periods import ChargesPeriod
from jobs.playground.lago_standin.queries import query
from jobs.playground.lago_standin.server import STANDIN

_MICROSECOND = timedelta(microseconds=1)
# A charge that only counts.
_WHOLE_METRIC = {
    "properties": {},
    "filters": [],
    "metric_filters": [],
    "prorated": False,
    "charge_model": "standard",
    "pay_in_advance": False,
}
Document = dict[str, Any]
Action = Callable[["Control"], Awaitable[object]]


class Control:
    """One control request: its organisation, its document, a connection."""

    def __init__(self, request: web.Request, document: Any, connection: Connection) -> None:
        """Take the request with its parsed body."""
        self.standin = request.app[STANDIN]
        self.path = request.match_info
        self.document = document
        self.connection = connection

    @property
    def organization_id(self) -> UUID:
        """Return the organisation that the path names."""
        return UUID(self.path["id"])

    async def run(self, name: str, parameters: Document) -> Document | None:
        """Run a statement for this organisation and return its first row, if it gives rows."""
        known = {"organization_id": self.organization_id} if "id" in self.path else {}
        cursor = await self.connection.execute(query(name), parameters | known)
        return await cursor.fetchone() if cursor.description else None

    async def call(self) -> Call:
        """Return what the API's own functions take, in the organisation's name."""
        row = await self.run("standin_organization", {})
        if row is None:
            raise web.HTTPNotFound
        return Call(
            tenant=Tenant(**row),
            path={},
            query=MultiDict(),
            body=None,
            connection=self.connection,
            usage_cache=self.standin.usage_cache,
            known=self.standin.known,
        )


def add_control_routes(app: web.Application) -> None:
    """Add the control interface to the API."""
    organization = "/standin/organizations/{id}"
    actions: list[tuple[str, str, Action]] = [
        ("POST", "/standin/organizations", _create_organization),
        ("PATCH", organization, _configure),
        ("POST", f"{organization}/keys", _create_key),
        ("POST", f"{organization}/metrics", _create_metric),
        ("DELETE", f"{organization}/metrics/{{code}}", _destroy_metric),
        ("POST", f"{organization}/plans", _create_plan),
        ("POST", f"{organization}/customers", _create_customer),
        ("POST", f"{organization}/subscriptions", _create_subscription),
        ("POST", f"{organization}/terminations", _terminate),
        ("POST", f"{organization}/deletions", _delete_events),
        ("POST", f"{organization}/finalizations", _finalize),
        ("POST", f"{organization}/billed", _billed),
        ("PUT", f"{organization}/faults", _set_faults),
        ("GET", f"{organization}/requests", _requests),
        ("DELETE", f"{organization}/requests", _clear_requests),
    ]
    for method, path, action in actions:
        app.router.add_route(method, path, _guarded(action))


def _guarded(action: Action) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def serve(request: web.Request) -> web.Response:
        standin = request.app[STANDIN]
        if not hmac.compare_digest(request.headers.get("X-Standin-Token", ""), standin.control_token):
            return _json({"error": "wrong control token"}, 401)
        document = await request.json() if request.can_read_body else {}
        try:
            async with standin.pool.connection() as connection:
                return _json(await action(Control(request, document, connection)))
        except RefusalError as refusal:
            return web.Response(status=400, body=refusal.answer.body, content_type="application/json")
        except (psycopg.Error, ValueError, KeyError) as error:
            return _json({"error": str(error)}, 400)
        finally:
            standin.known = Known()

    return serve


def _json(document: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=encode(document), content_type="application/json")


async def _create_organization(control: Control) -> object:
    document = control.document
    api_key = secrets.token_hex(16)
    parameters = {
        "name": document["name"],
        "events_store": document["event_store"],
        "version": document["version"],
        "currency": document.get("currency") or "EUR",
        "api_key": api_key,
        "permissions": _jsonb(document.get("api_permissions")),
    }
    row = await control.run("standin_create_organization", parameters)
    return (row or {}) | {"api_key": api_key}


async def _configure(control: Control) -> object:
    document = control.document
    knobs = (
        "version",
        "deduplication",
        "visibility_delay_seconds",
        "usage_cache_lag_seconds",
        "events_batch_max_length",
    )
    parameters = {knob: document.get(knob) for knob in knobs} | {
        "fixed_now": document.get("now"),
        "keep_fixed_now": "now" not in document,
        "keep_usage_cache_lag": "usage_cache_lag_seconds" not in document,
    }
    await control.run("standin_configure_organization", parameters)
    return {}


async def _create_key(control: Control) -> object:
    document = control.document
    api_key = secrets.token_hex(16)
    parameters = {
        "api_key": api_key,
        "permissions": _jsonb(document.get("api_permissions")),
        "expires_at": document.get("expires_at"),
    }
    await control.run("standin_create_key", parameters)
    return {"api_key": api_key}


async def _create_metric(control: Control) -> object:
    return {"id": str((await writing.insert_metric(await control.call(), control.document))["id"])}


async def _destroy_metric(control: Control) -> object:
    await writing.destroy_metric(await control.call(), control.path["code"])
    return {}


async def _create_plan(control: Control) -> object:
    document = control.document
    charges = [(metric_code, charge) for metric_code, charge in document["charges"]]
    return {"id": str(await writing.insert_plan(await control.call(), document, charges))}


async def _create_customer(control: Control) -> object:
    row = await writing.insert_customer(await control.call(), {"timezone": "UTC"} | control.document)
    return {"id": row["id"]}


async def _create_subscription(control: Control) -> object:
    document = control.document
    status, began = document["status"], _moment(document["started_at"])
    times = ("terminated_at", "ending_at", "current_period_started_at", "current_period_ending_at", "created_at")
    row = {name: _moment(document.get(name)) for name in times} | {
        "external_id": document["external_id"],
        "customer": document["customer"],
        "plan": document["plan"],
        "name": document["external_id"],
        "status": status,
        "billing_time": document.get("billing_time") or "calendar",
        "subscription_at": began,
        "started_at": began if status in ("active", "terminated") else None,
        "canceled_at": began if status == "canceled" else None,
        "on_termination_invoice": document.get("on_termination_invoice"),
    }
    # Made when it began, unless it is said to have been made later.
    row["created_at"] = row["created_at"] or began
    return {"id": str(await writing.insert_subscription(await control.call(), row))}


async def _terminate(control: Control) -> object:
    parameters = {
        "external_id": control.document["external_id"],
        "terminated_at": _moment(control.document["terminated_at"]),
    }
    row = await control.run("standin_terminate_subscription", parameters)
    if row is None:
        raise ValueError(f"there is no active subscription {parameters['external_id']!r}")
    return row


async def _delete_events(control: Control) -> object:
    await control.run("standin_soft_delete_events", {"transaction_ids": control.document["transaction_ids"]})
    return {}


async def _finalize(control: Control) -> object:
    document, call = control.document, await control.call()
    if inside := _moment(document.get("inside")):
        return await invoices.finalize_holding(call, document["external_id"], inside)
    return await invoices.finalize(call, document["external_id"], _period(document), _moment(document.get("at")))


async def _billed(control: Control) -> object:
    document = control.document
    period = _period(document)
    parameters = {
        "external_subscription_id": document["external_id"],
        "code": document["code"],
        "from": period.start,
        "to": period.end,
    }
    metric = await control.run("standin_billable_span", parameters)
    if metric is None or metric["charged_from"] > metric["charged_to"]:
        return {"units": "0", "events_count": 0}
    span = ChargesPeriod(metric["charged_from"], metric["charged_to"])
    found = await usage.buckets(await control.call(), document["external_id"], metric | _WHOLE_METRIC, span)
    units = sum((bucket.units for bucket in found), Decimal(0))
    return {"units": f"{units:f}", "events_count": sum(bucket.events_count for bucket in found)}


async def _set_faults(control: Control) -> object:
    control.standin.faults[control.organization_id] = [FaultRule(fault_from(one)) for one in control.document]
    return {}


async def _requests(control: Control) -> object:
    return list(control.standin.requests[control.organization_id])


async def _clear_requests(control: Control) -> object:
    control.standin.requests[control.organization_id].clear()
    return {}


def _jsonb(document: object) -> Jsonb | None:
    return None if document is None else Jsonb(document)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)


def _period(document: Document) -> ChargesPeriod:
    """Read a half-open range as Lago's inclusive one."""
    start, end = _moment(document["from"]), _moment(document["to"])
    if start is None or end is None:
        raise ValueError("a period needs a start and an end")
    return ChargesPeriod(start, end - _MICROSECOND)
