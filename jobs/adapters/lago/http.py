"""The one door to Lago: a kept HTTP client, a request rate never exceeded, retries by policy."""

from __future__ import annotations

import math
import random
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, cast
from urllib.parse import urlsplit

import httpx
import tenacity

from jobs.adapters.lago.exact_json import batch_answer, json_object, quick_json_object
from jobs.adapters.lago.failures import (
    CHECK_BASE,
    Failure,
    LagoUnansweredError,
    RetryPolicy,
    any_failure,
    of_status,
    of_transport,
    of_unusable_body,
)
from jobs.adapters.lago.page_size import PageSize
from jobs.core.lago.values import LagoConnection
from jobs.drivers.web import open_client, trusted
from jobs.errors import LagoError, SettingError

Params = Mapping[str, str | int | Sequence[str]]
_Result = TypeVar("_Result")

_LONGEST_WAIT_SECONDS = 60.0
_FIRST_BACK_OFF_SECONDS = 0.5
_LONGEST_BACK_OFF_SECONDS = 30.0
_LONGEST_CONNECT_SECONDS = 10.0
_HIDDEN = "(the key)"
_UNPROCESSABLE = frozenset({422})


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of Lago that the caller said it can use."""

    status: int
    """HTTP status code."""
    payload: dict[str, Any]
    """The JSON object of the body, by default with numbers as `JsonNumber`; empty for a 4xx whose body is none."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The answer's headers; their names in any case."""
    seconds: float = 0.0
    """From the request's being sent until the answer was there, without waits before it or attempts before this one."""


class RateLimiter:
    """Lets one request begin per interval, over all threads; never a burst."""

    def __init__(self, per_second: float, *, sleep: Callable[[float], object], monotonic: Callable[[], float]) -> None:
        """Take the highest rate and the clock (seconds) to keep it with."""
        self._interval = 1.0 / per_second
        self._sleep = sleep
        self._monotonic = monotonic
        self._turn = threading.Lock()
        self._next_start = -math.inf
        self._paused_until = -math.inf
        self._pausing = threading.Lock()

    def acquire(self) -> None:
        """Wait for this request's turn."""
        # Sleeping inside the lock is meant: were turns handed out first and slept for outside, a thread that
        # overslept would start right beside the next one, and the two together would exceed the rate.
        with self._turn:
            with self._pausing:
                start = max(self._next_start, self._paused_until)
            wait = start - self._monotonic()
            if wait > 0:
                self._sleep(wait)
            self._next_start = self._monotonic() + self._interval

    def pause(self, seconds: float) -> None:
        """Let no request begin for this long: Lago throttles the organization, not one thread."""
        with self._pausing:
            self._paused_until = max(self._paused_until, self._monotonic() + seconds)


class LagoClient:
    """One kept HTTP client for one run; safe to use from several threads.

    Proxy variables and SSL_CERT_FILE work as `jobs.drivers.web` says.
    """

    def __init__(
        self,
        connection: LagoConnection,
        *,
        sleep: Callable[[float], object] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Take the connection, and the clock and the source of jitter to wait with.

        Without `sleep`, waits end early when the client is closed. `SettingError` for an unreadable CA file
        and for a proxy that cannot be used.
        """
        self.connection = connection
        self.host = urlsplit(connection.api_base).netloc
        self.page_size = PageSize(connection.page_size)
        self._closed = threading.Event()
        self._sleep = sleep or self._closed.wait
        self._uniform = uniform
        self._monotonic = monotonic
        self._limiter = RateLimiter(connection.requests_per_second, sleep=self._sleep, monotonic=monotonic)
        timeout = httpx.Timeout(
            connection.timeout_seconds, connect=min(_LONGEST_CONNECT_SECONDS, connection.timeout_seconds)
        )
        self._http, self._proxy = open_client(
            connection.api_base,
            base_url=f"{connection.api_base}/api/v1/",
            headers={
                "Authorization": f"Bearer {connection.api_key}",
                "Accept": "application/json",
                "User-Agent": "litellm-lago-reconcile",
            },
            timeout=timeout,
            limits=httpx.Limits(
                max_connections=connection.concurrency, max_keepalive_connections=connection.concurrency
            ),
            verify=_trusted(connection),
        )
        self._posts = {path: self._http.build_request("POST", path) for path in ("events", "events/batch")}

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """Close the connections and wake up every thread that waits for its next attempt."""
        self._closed.set()
        self._http.close()

    def wait(self, seconds: float) -> None:
        """Wait this long, or until the client is closed."""
        self._sleep(seconds)

    def get(self, path: str, params: Params | None = None) -> dict[str, Any]:
        """Return the JSON object at this path below `/api/v1/`; `LagoError` for all but a 2xx answer."""
        return self.request("GET", path, params=params).payload

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        content: bytes | None = None,
        retry: RetryPolicy = any_failure,
        accept: frozenset[int] = frozenset(),
        read: Callable[[bytes], dict[str, Any] | None] = json_object,
    ) -> Reply:
        """Send one request, within the rate and again as `retry` allows, and return Lago's answer.

        `accept` lists the 4xx statuses whose JSON the caller wants as a reply, `read` parses a body, to None where it
        is no JSON object. Raise `LagoUnansweredError` when no usable answer came, `LagoError` for a refusal not in
        `accept`.
        """

        def attempt() -> Reply:
            began = self._monotonic()
            response = self._answer(request)
            seconds = self._monotonic() - began
            return replace(_reply(response, path, accept, self.connection.api_key, read), seconds=seconds)

        request = self._http.build_request(method, path, params=cast("Any", params))
        return self.attempts(attempt, retry)

    def post_events(
        self, path: Literal["events", "events/batch"], content: bytes, *, retry: RetryPolicy = any_failure
    ) -> Reply:
        """Post a JSON body as `request` does, and also take a 422 as a reply; numbers of the answer may be floats.

        The events of an accepted batch's answer are told, but not read.
        All but the body is made once for all requests of a path, which halves what a request costs.
        """

        def attempt() -> Reply:
            request = httpx.Request("POST", same.url, headers=headers, content=content, extensions=same.extensions)
            return _reply(self._answer(request), path, _UNPROCESSABLE, self.connection.api_key, read)

        read = batch_answer if path == "events/batch" else quick_json_object
        same = self._posts[path]
        headers = same.headers.copy()
        headers.update({"Content-Type": "application/json", "Content-Length": str(len(content))})
        return self.attempts(attempt, retry)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        try:
            return self._http.send(request)
        except httpx.RequestError as error:
            raise of_transport(error, self.connection.timeout_seconds, self._proxy) from error

    def attempts(self, attempt: Callable[[], _Result], retry: RetryPolicy = any_failure) -> _Result:
        """Call `attempt` within the rate until it returns or raises a `Failure` that `retry` gives up on.

        Raise `LagoUnansweredError` for that failure; what else `attempt` raises passes through.
        """

        def within_rate() -> _Result:
            self._limiter.acquire()
            if self._closed.is_set():
                raise LagoError("the run stopped while it was talking to Lago", "Run the same command again to go on")
            try:
                return attempt()
            except Failure as failure:
                if failure.wait is not None:
                    self._limiter.pause(failure.wait)
                raise

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, Failure) and retry(error)),
            wait=self._back_off,
            stop=tenacity.stop_after_attempt(self.connection.attempts),
            sleep=self.wait,
            reraise=True,
        )
        try:
            return retrying(within_rate)
        except LagoError as error:
            key = self.connection.api_key
            if _may_hide(key) and key in error.what:
                raise LagoError(error.what.replace(key, _HIDDEN), error.remedy) from None
            raise
        except Failure as failure:
            tried = retrying.statistics["attempt_number"]
            last_of = "" if tried == 1 else f" (last of {tried} attempts)"
            raise LagoUnansweredError(
                f"Lago at {self.host} gave no usable answer: {failure.what}{last_of}",
                failure.remedy,
                may_have_acted=failure.may_have_acted,
            ) from failure

    def _back_off(self, state: tenacity.RetryCallState) -> float:
        failure = state.outcome.exception() if state.outcome else None
        if isinstance(failure, Failure) and failure.wait is not None:
            return 0.0  # the limiter already holds everyone back for as long as Lago asked
        ceiling = min(_LONGEST_BACK_OFF_SECONDS, _FIRST_BACK_OFF_SECONDS * 2.0 ** (state.attempt_number - 1))
        return self._uniform(0.0, ceiling)


def check_access(client: LagoClient) -> None:
    """Ask Lago for a page without events: `LagoError` if the base, the key or its permission is wrong."""
    instant = "1970-01-01T00:00:00Z"
    payload = client.get("events", {"per_page": 1, "timestamp_from": instant, "timestamp_to": instant})
    if not isinstance(payload.get("events"), list) or not isinstance(payload.get("meta"), dict):
        raise LagoError(f"what answers at {client.host} is not Lago's API", CHECK_BASE)


def _reply(
    response: httpx.Response,
    path: str,
    accept: frozenset[int],
    key: str,
    read: Callable[[bytes], dict[str, Any] | None],
) -> Reply:
    status, content = response.status_code, response.content
    if not response.is_success and _may_hide(key):
        # A proxy that shows what it was sent shows the key, and a refusal is told to people and kept.
        content = content.replace(key.encode(), _HIDDEN.encode())
    payload = read(content)
    if response.is_success and payload is None:
        raise of_unusable_body(status, response.headers.get("content-type", ""))
    if response.is_success or status in accept:
        return Reply(status, payload or {}, response.headers)
    raise of_status(status, payload, path, asked_wait(status, response.headers))


def _may_hide(key: str) -> bool:
    """Tell whether the key is long enough to be no part of ordinary text; Lago's have 36 characters."""
    return len(key) >= 8


def asked_wait(status: int, headers: Mapping[str, str]) -> float | None:
    """Return the seconds that Lago asks us to stay away, at most 60; None where it does not say."""
    # Lago Cloud sends its rate-limit headers with every answer; only with a 429 do they ask for anything.
    for name in ("x-ratelimit-reset", "retry-after") if status == 429 else ("retry-after",):
        try:
            seconds = float(headers.get(name, ""))
        except ValueError:
            continue  # absent, or a Retry-After that is a date
        if math.isfinite(seconds) and seconds > 0:
            return min(seconds, _LONGEST_WAIT_SECONDS)
    return None


def _trusted(connection: LagoConnection) -> ssl.SSLContext:
    if connection.api_base.startswith("http://"):
        # Reading the public certificates takes longer than many a request. This context trusts nobody.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = trusted()
    if connection.ca_file is None:
        return context
    try:
        context.load_verify_locations(cafile=connection.ca_file)
    except OSError as error:
        raise SettingError(
            f"the Lago CA file {connection.ca_file} cannot be read as PEM certificates",
            "Check its path and its content",
        ) from error
    return context
