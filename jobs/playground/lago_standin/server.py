"""The HTTP server: routes, authentication, permissions, faults, and the log of requests."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import psycopg
from aiohttp import web
from multidict import MultiDict, MultiMapping
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from jobs.playground.lago_standin import answers, catalogue, events, ingestion, invoices, usage, writing
from jobs.playground.lago_standin.answers import Answer, RefusalError
from jobs.playground.lago_standin.calls import Call, Connection, Known, Tenant
from jobs.playground.lago_standin.faults import FaultRule, Struck
from jobs.playground.lago_standin.queries import query
from jobs.playground.lago_standin.ruby_values import UnrescuedError, integer_prefix
from jobs.playground.lago_standin.usage_cache import UsageCache

_BAD_GATEWAY = Answer(
    502,
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    b"<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n",
    "text/html",
)
_LOGGED_REQUESTS = 200_000
_LARGEST_BODY = 64 * 1024 * 1024
_CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route of the API."""

    name: str
    """The name that faults and the request log use."""
    method: str
    """The HTTP method."""
    path: str
    """The path with its parameters."""
    resource: str
    """What the key's permissions call it."""
    handler: Callable[[Call], Awaitable[Answer]]
    """What answers."""

    @property
    def action(self) -> str:
        """Return the permission it needs."""
        return "read" if self.method == "GET" else "write"


ENDPOINTS = (
    Endpoint("create", "POST", "/api/v1/events", "event", ingestion.create),
    Endpoint("batch", "POST", "/api/v1/events/batch", "event", ingestion.batch),
    Endpoint("list", "GET", "/api/v1/events", "event", events.listing),
    Endpoint("show", "GET", "/api/v1/events/{transaction_id}", "event", events.show),
    Endpoint("enriched", "GET", "/api/v1/events_enriched", "event", events.enriched),
    Endpoint("organizations", "GET", "/api/v1/organizations", "organization", catalogue.organization),
    Endpoint("billable_metrics", "GET", "/api/v1/billable_metrics", "billable_metric", catalogue.metrics),
    Endpoint("billable_metric", "GET", "/api/v1/billable_metrics/{code}", "billable_metric", catalogue.metric),
    Endpoint("plans", "GET", "/api/v1/plans", "plan", catalogue.plans),
    Endpoint("plan", "GET", "/api/v1/plans/{code}", "plan", catalogue.plan),
    Endpoint("subscriptions", "GET", "/api/v1/subscriptions", "subscription", catalogue.subscriptions),
    Endpoint("subscription", "GET", "/api/v1/subscriptions/{external_id}", "subscription", catalogue.subscription),
    Endpoint("create_metric", "POST", "/api/v1/billable_metrics", "billable_metric", writing.create_metric),
    Endpoint("delete_metric", "DELETE", "/api/v1/billable_metrics/{code}", "billable_metric", writing.delete_metric),
    Endpoint("create_plan", "POST", "/api/v1/plans", "plan", writing.create_plan),
    Endpoint("delete_plan", "DELETE", "/api/v1/plans/{code}", "plan", writing.delete_plan),
    Endpoint("create_customer", "POST", "/api/v1/customers", "customer", writing.create_customer),
    Endpoint("customers", "GET", "/api/v1/customers", "customer", writing.customers),
    Endpoint("customer", "GET", "/api/v1/customers/{external_customer_id}", "customer", writing.customer),
    Endpoint(
        "delete_customer", "DELETE", "/api/v1/customers/{external_customer_id}", "customer", writing.delete_customer
    ),
    Endpoint("create_subscription", "POST", "/api/v1/subscriptions", "subscription", writing.create_subscription),
    Endpoint(
        "delete_subscription",
        "DELETE",
        "/api/v1/subscriptions/{external_id}",
        "subscription",
        writing.delete_subscription,
    ),
    Endpoint("create_add_on", "POST", "/api/v1/add_ons", "add_on", writing.create_add_on),
    Endpoint("create_invoice", "POST", "/api/v1/invoices", "invoice", invoices.create_one_off),
    Endpoint("invoices", "GET", "/api/v1/invoices", "invoice", invoices.invoices),
    Endpoint("preview_invoice", "POST", "/api/v1/invoices/preview", "invoice", invoices.licensed),
    Endpoint("invoice", "GET", "/api/v1/invoices/{id}", "invoice", invoices.invoice),
    Endpoint("void_invoice", "POST", "/api/v1/invoices/{id}/void", "invoice", invoices.void),
    Endpoint("refresh_invoice", "PUT", "/api/v1/invoices/{id}/refresh", "invoice", invoices.refresh),
    Endpoint("fees", "GET", "/api/v1/fees", "fee", invoices.fees),
    Endpoint("create_credit_note", "POST", "/api/v1/credit_notes", "credit_note", invoices.licensed),
    Endpoint("estimate_credit_note", "POST", "/api/v1/credit_notes/estimate", "credit_note", invoices.licensed),
    Endpoint(
        "current_usage",
        "GET",
        "/api/v1/customers/{external_customer_id}/current_usage",
        "customer_usage",
        usage.current_usage,
    ),
    Endpoint(
        "past_usage",
        "GET",
        "/api/v1/customers/{external_customer_id}/past_usage",
        "customer_usage",
        usage.past_usage,
    ),
)


class ConnectionCutError(Exception):
    """The connection is dropped without an answer."""


@dataclass(slots=True)
class Standin:
    """What the server keeps in memory."""

    pool: AsyncConnectionPool[Connection]
    """Connections in autocommit mode."""
    control_token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    """Opens the control interface."""
    usage_cache: UsageCache = field(default_factory=UsageCache)
    """Stale usage, where an organisation asks for it."""
    known: Known = field(default_factory=Known)
    """What requests have read since the last control request."""
    faults: dict[UUID, list[FaultRule]] = field(default_factory=dict)
    """Faults at work, by organisation."""
    requests: defaultdict[UUID, deque[dict[str, Any]]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=_LOGGED_REQUESTS))
    )
    """Requests seen, by organisation, oldest first."""

    def strike(self, tenant: Tenant, endpoint: str) -> list[Struck]:
        """Return the faults that this request meets."""
        rules = self.faults.get(tenant.id, [])
        return [struck for rule in rules if (struck := rule.strike(endpoint)) is not None]


STANDIN = web.AppKey("standin", Standin)


def open_pool(database_url: str) -> AsyncConnectionPool[Connection]:
    """Return a pool that is still to be opened; UTC, a fresh plan for every set of parameters, no waiting for disks."""
    return AsyncConnectionPool(
        database_url,
        min_size=2,
        max_size=_CONNECTIONS,
        open=False,
        kwargs={
            "autocommit": True,
            "row_factory": dict_row,
            "options": "-c timezone=UTC -c plan_cache_mode=force_custom_plan -c jit=off -c synchronous_commit=off",
        },
    )


def application(standin: Standin) -> web.Application:
    """Return the API without its control interface."""
    app = web.Application(middlewares=[_unknown_routes], client_max_size=_LARGEST_BODY)
    app[STANDIN] = standin
    for endpoint in ENDPOINTS:
        # Rails' router takes a slash at the end, and answers HEAD as it would GET.
        for method in ("GET", "HEAD") if endpoint.method == "GET" else (endpoint.method,):
            for path in (endpoint.path, f"{endpoint.path}/"):
                app.router.add_route(method, path, _serve(endpoint))
    return app


@web.middleware
async def _unknown_routes(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        return _response(answers.not_found("resource_not_found").answer)


def _serve(endpoint: Endpoint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def serve(request: web.Request) -> web.StreamResponse:
        exchange = _Exchange(request.app[STANDIN], endpoint, request)
        try:
            answer = await exchange.answer()
        except ConnectionCutError:
            exchange.log(None)
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        exchange.log(answer)
        if exchange.met("cut_during"):
            return await _half(request, answer)
        return _response(answer)

    return serve


class _Exchange:
    """One request on its way through authentication, faults and handler."""

    def __init__(self, standin: Standin, endpoint: Endpoint, request: web.Request) -> None:
        self._standin = standin
        self._endpoint = endpoint
        self._request = request
        self._arrived = time.time()
        # Taken once: what this request has read is kept only if no control request came meanwhile.
        self._known = standin.known
        self._tenant: Tenant | None = None
        self._struck: list[Struck] = []
        self._events_sent = 0

    def met(self, *names: str) -> Struck | None:
        """Return the first of these faults that the request meets."""
        return next((struck for struck in self._struck if struck.name in names), None)

    async def answer(self) -> Answer:
        """Return the answer, or raise `ConnectionCutError`."""
        try:
            answer = await self._answer()
        except RefusalError as refusal:
            answer = refusal.answer
        except (psycopg.Error, UnrescuedError, ValueError):
            # What Lago does not rescue: a value PostgreSQL or the JSON encoder refuses.
            answer = answers.server_error().answer
        answer = await self._after(answer)
        headers = {name: value for struck in self._struck for name, value in struck.headers.items()}
        return replace(answer, headers={**answer.headers, **headers})

    async def _answer(self) -> Answer:
        body = await self._body()
        self._tenant = await self._authenticate()
        if not self._tenant.permits(self._endpoint.resource, self._endpoint.action):
            raise answers.forbidden(f"{self._endpoint.action}_action_not_allowed_for_{self._endpoint.resource}")
        self._struck = self._standin.strike(self._tenant, self._endpoint.name)
        await self._before()
        async with self._standin.pool.connection() as connection:
            call = Call(
                tenant=self._tenant,
                path=self._request.match_info,
                query=self._query(),
                body=body,
                connection=connection,
                usage_cache=self._standin.usage_cache,
                known=self._known,
            )
            return await self._endpoint.handler(call)

    async def _body(self) -> Any:
        text = await self._request.read()
        if not text.strip() or self._request.method in ("GET", "HEAD"):
            return None
        try:
            body = answers.decode(text)
        except ValueError as error:
            raise answers.unreadable_body() from error
        sent = body.get("events") if isinstance(body, dict) else None
        self._events_sent = len(sent) if isinstance(sent, list) else 1
        return body

    async def _authenticate(self) -> Tenant:
        words = self._request.headers.get("Authorization", "").split()
        if len(words) < 2:
            raise answers.unauthorized()
        known = self._known.tenants.get(words[1])
        if known is not None:
            return known
        async with self._standin.pool.connection() as connection:
            cursor = await connection.execute(query("standin_authenticate"), {"api_key": words[1]})
            row = await cursor.fetchone()
        if row is None:
            raise answers.unauthorized()
        expires = row.pop("expires")
        tenant = Tenant(**row)
        if not expires:
            self._known.tenants[words[1]] = tenant
        return tenant

    async def _before(self) -> None:
        slow = self.met("slow")
        if slow:
            await asyncio.sleep(slow.fault.delay_seconds)
        if self.met("cut_before"):
            raise ConnectionCutError
        if self.met("bad_gateway"):
            raise RefusalError(_BAD_GATEWAY)
        if self.met("server_error"):
            raise answers.server_error()
        if self.met("rate_limited"):
            document = {"status": 429, "error": "Too Many Requests", "code": "rate_limit_exceeded"}
            raise RefusalError(Answer(429, answers.encode(document)))
        refused = self.met("per_page_refused")
        if refused and integer_prefix(self._request.query.get("per_page", "")) > refused.fault.cap:
            raise answers.invalid({"per_page": [f"must_be_less_than_or_equal_to_{refused.fault.cap}"]})

    async def _after(self, answer: Answer) -> Answer:
        slow = self.met("slow_after")
        if slow:
            await asyncio.sleep(slow.fault.delay_seconds)
        if self.met("cut_after"):
            raise ConnectionCutError
        if self.met("bad_gateway_after"):
            return _BAD_GATEWAY
        if self.met("server_error_after"):
            return answers.server_error().answer
        if self.met("truncated"):
            return replace(answer, body=answer.body[: len(answer.body) // 2])
        return answer

    def _query(self) -> MultiMapping[str]:
        capped = self.met("per_page_capped")
        if not capped or integer_prefix(self._request.query.get("per_page", "")) <= capped.fault.cap:
            return self._request.query
        query = MultiDict(self._request.query)
        query["per_page"] = str(capped.fault.cap)
        return query

    def log(self, answer: Answer | None) -> None:
        """Remember the request; one without a valid key belongs to nobody and is not logged."""
        if self._tenant is None:
            return
        self._standin.requests[self._tenant.id].append(
            {
                "at": self._arrived,
                "method": self._request.method,
                "path": self._request.path,
                "query": self._request.query_string,
                "endpoint": self._endpoint.name,
                "events": self._events_sent,
                "status": None if answer is None else answer.status,
                "faults": [struck.name for struck in self._struck if struck.name != "none"],
            }
        )


def _response(answer: Answer) -> web.Response:
    headers = {"Content-Type": answer.content_type, **answer.headers}
    return web.Response(status=answer.status, body=answer.body, headers=headers)


async def _half(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Announce the whole body, send half of it, hang up."""
    response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type, **answer.headers})
    response.content_length = len(answer.body)
    await response.prepare(request)
    await response.write(answer.body[: len(answer.body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
