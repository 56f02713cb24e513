"""What can go wrong on the way to Lago, and which of it may be tried again.

A failure is classified first: what happened, may Lago have acted, how long does it ask us to wait. Then the
retry policy of the request decides. Reading may always be repeated; sending blindly only while Lago surely
did not act.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable

import httpx

from jobs.errors import LagoError

CHECK_BASE = "Check LAGO_API_BASE: it must be the address of Lago's API, not of its web page"
_CHECK_KEY = "Set LAGO_API_KEY to a valid key of the organization"
_CHECK_REACH = "Check LAGO_API_BASE, and that this host resolves and is reachable from here"
_CHECK_PROXY = "Check LAGO_API_BASE and the proxy variables (HTTPS_PROXY, NO_PROXY)"
_CHECK_SPEED = "Check that Lago is up and reachable from here, or raise the Lago timeout"
_CHECK_PATH = "Check what stands between here and Lago (proxy, load balancer)"
_CHECK_VERSION = "Update Lago if it is old; if it is not, report this line"
_CHECK_LOG = "Look into Lago's own log, then run again"
_CHECK_TLS = "Write http:// in LAGO_API_BASE if Lago speaks no TLS there, else check what answers at that port"
_TRUST = "Give the authority that signed it as the Lago CA file, or correct LAGO_API_BASE"
_SLOWER = "Lower the Lago request rate, or run when less else talks to Lago"
_PERMIT = "Give the key this permission in Lago (Developers > API keys), or set another LAGO_API_KEY"


class LagoUnansweredError(LagoError):
    """No usable answer came, after all the attempts that the retry policy allowed."""

    def __init__(self, what: str, remedy: str, *, may_have_acted: bool) -> None:
        """Take the message and whether Lago may have carried the request out all the same."""
        super().__init__(what, remedy)
        self.may_have_acted = may_have_acted


class Failure(Exception):  # noqa: N818 - not yet an error: the retry policy decides whether it becomes one
    """One attempt that brought no usable answer."""

    def __init__(
        self,
        what: str,
        remedy: str,
        *,
        may_have_acted: bool,
        lasting: bool = False,
        wait: float | None = None,
    ) -> None:
        """Take what happened and what to change; if Lago may have acted, if a new attempt is pointless, and
        for how many seconds Lago asks us to stay away.
        """
        super().__init__(what)
        self.what = what
        self.remedy = remedy
        self.may_have_acted = may_have_acted
        self.lasting = lasting
        self.wait = wait


RetryPolicy = Callable[[Failure], bool]


def any_failure(failure: Failure) -> bool:
    """Retry policy of reading: asking again is always safe."""
    return not failure.lasting


def surely_not_done(failure: Failure) -> bool:
    """Retry policy of blind sending: again only while Lago cannot have acted (not connected, throttled)."""
    return not failure.lasting and not failure.may_have_acted


def of_transport(error: httpx.RequestError, timeout_seconds: float) -> Failure:
    """Classify a request that broke on the way. What httpx says is not repeated: it may hold a URL."""
    kind = type(error).__name__
    if isinstance(error, httpx.UnsupportedProtocol | httpx.ProxyError):
        return Failure(f"the proxy or the protocol refused ({kind})", _CHECK_PROXY, may_have_acted=False)
    certificate = _certificate_problem(error)
    if certificate:
        what = f"its TLS certificate is not trusted ({certificate})"
        return Failure(what, _TRUST, may_have_acted=False, lasting=True)
    tls = _tls_problem(error)
    if tls:
        return Failure(f"TLS failed ({tls})", _CHECK_TLS, may_have_acted=False)
    never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    if isinstance(error, httpx.TimeoutException):
        what = f"no answer within {timeout_seconds:g} s ({kind})"
        return Failure(what, _CHECK_SPEED, may_have_acted=not never_sent)
    if never_sent:
        return Failure(f"cannot connect ({_root_cause(error)})", _CHECK_REACH, may_have_acted=False)
    return Failure(f"the connection broke ({kind})", _CHECK_PATH, may_have_acted=True)


def of_unusable_body(status: int, content_type: str) -> Failure:
    """Classify a welcome status with a body that is no JSON object: an HTML page, or a part of the answer."""
    body = "an HTML page" if "html" in content_type else "a body that is not a whole JSON object"
    return Failure(f"HTTP {status} with {body}", CHECK_BASE, may_have_acted=True)


def of_status(status: int, payload: object, path: str, wait: float | None) -> Failure | LagoError:
    """Classify an unwelcome status: a `Failure` that may pass, or a lasting `LagoError`.

    `payload` is the JSON object of the body or None, `path` what was asked for below `/api/v1/`, `wait` the
    seconds Lago asks us to stay away.
    """
    if status == 429:
        return Failure("HTTP 429, too many requests", _SLOWER, may_have_acted=False, wait=wait)
    if status >= 500 or status == 408:
        return Failure(f"HTTP {status}", _CHECK_LOG, may_have_acted=True, wait=wait)
    resource = f"/api/v1/{path.partition('?')[0][:100]}"
    refusals = {
        401: ("Lago refused the API key (401)", _CHECK_KEY),
        403: (f"Lago forbids this API key {_forbidden(payload)} (403)", _PERMIT),
        404: (f"what answers as Lago does not know {resource} (404)", CHECK_BASE),
    }
    if status in refusals:
        return LagoError(*refusals[status])
    if status < 400:
        return LagoError(f"Lago answered {resource} with a redirect ({status})", f"{CHECK_BASE} (https?)")
    return LagoError(f"Lago refused the request for {resource}: HTTP {status}{_reason(payload)}", _CHECK_VERSION)


def _certificate_problem(error: BaseException | None) -> str:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return ""


def _tls_problem(error: httpx.RequestError) -> str:
    """Return OpenSSL's reason why a connection could not be set up, or nothing."""
    cause: BaseException | None = error if isinstance(error, httpx.ConnectError) else None
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return (cause.reason or type(cause).__name__).lower().replace("_", " ")
        cause = cause.__cause__ or cause.__context__
    return ""


def _root_cause(error: BaseException) -> str:
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def _forbidden(payload: object) -> str:
    code = payload.get("code") if isinstance(payload, dict) else None
    if not isinstance(code, str):
        return "this request"
    action, _, thing = code.partition("_action_not_allowed_for_")
    return f"to {action} the resource '{_printable(thing)}'" if thing else f"this: {_printable(code)}"


def _reason(payload: object) -> str:
    if not isinstance(payload, dict):
        return ""
    told = [payload.get("code") or payload.get("error"), payload.get("error_details")]
    return "".join(f", {_printable(json.dumps(part))}" for part in told if part)


def _printable(text: str) -> str:
    return "".join(character if " " <= character <= "~" else "?" for character in text)[:300]
