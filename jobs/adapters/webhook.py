"""A webhook that takes one JSON document; its address is a secret and shown nowhere but for the host."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import tenacity

from jobs.drivers.web import open_client
from jobs.errors import NotAnnouncedError, SettingError

_ATTEMPTS = 4
_TIMEOUT = httpx.Timeout(10.0, connect=5.0)
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 10.0
_REMEDY = "Check RECONCILE_WEBHOOK_URL"


class _PassingError(Exception):
    def __init__(self, what: str, wait: float | None = None) -> None:
        super().__init__(what)
        self.wait = wait


def post(url: str, document: Mapping[str, Any], *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Post the document, again where that may help; raise `NotAnnouncedError` where the webhook does not take it."""
    content = orjson.dumps(document)
    try:
        opened, _ = open_client(url, timeout=_TIMEOUT, headers={"User-Agent": "litellm-lago-reconcile"})
    except SettingError as error:
        raise NotAnnouncedError(f"the webhook was not told how this ended: {error.what}", error.remedy) from error
    with opened as client:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_PassingError),
            wait=_wait,
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            sleep=sleep,
            reraise=True,
        )
        try:
            what = retrying(_attempt, client, url, content)
        except _PassingError as error:
            what = f"{error} (last of {_ATTEMPTS} attempts)"
        # What httpx says is not repeated, nor kept as the cause: it holds the URL.
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            what = "its address cannot be used"
    if what:
        raise NotAnnouncedError(f"the webhook at {urlsplit(url).hostname} was not told how this ended: {what}", _REMEDY)


def _attempt(client: httpx.Client, url: str, content: bytes) -> str:
    """Post once; return why the webhook does not want it, or nothing."""
    try:
        status, headers = _status(client, url, content)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        raise
    except httpx.TimeoutException:
        raise _PassingError("no answer in time") from None
    except httpx.RequestError as error:
        raise _PassingError(f"the connection failed ({type(error).__name__})") from None
    if status == 429 or status >= 500:
        raise _PassingError(f"HTTP {status}", _asked_wait(headers))
    return "" if 200 <= status < 300 else f"HTTP {status}"


def _status(client: httpx.Client, url: str, content: bytes) -> tuple[int, httpx.Headers]:
    # The answer's body is not read: it may be of any size, and nobody looks at it.
    with client.stream("POST", url, content=content, headers={"Content-Type": "application/json"}) as response:
        return response.status_code, response.headers


def _asked_wait(headers: httpx.Headers) -> float | None:
    text = headers.get("retry-after", "")
    return min(float(text), _LONGEST_WAIT_SECONDS) if text.isascii() and text.isdigit() else None


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _PassingError) and error.wait is not None:
        return error.wait
    return float(_FIRST_WAIT_SECONDS * 2 ** (state.attempt_number - 1) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
