"""What can go wrong on the way to Lago, and which of it may be tried again.

A failure is classified first: what happened, may Lago have acted, how long does it ask us to wait. Then the
retry policy of the request decides. Reading may always be repeated; sending blindly only while Lago surely
did not act.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable

import httpx

from jobs.drivers.web import Proxy
from jobs.errors import LagoError

CHECK_BASE = "Check LAGO_API_BASE: it must be the address of Lago's API, not of its web page"
_CHECK_KEY = "Set LAGO_API_KEY to a valid key of the organization"
_CHECK_REACH = "Check LAGO_API_BASE, and that this host resolves and is reachable from here"
_CHECK_SPEED = "Check that Lago is up and reachable from here, or raise the Lago timeout"
_CHECK_NOT_LAGO = (
    "It is not about the key: check what stands between here and Lago (firewall, load balancer, proxy), and that "
    "Lago's API takes requests for the host in LAGO_API_BASE"
)
_CHECK_LOGIN = "Write the proxy's user name and password into HTTPS_PROXY or HTTP_PROXY, or add Lago's host to NO_PROXY"
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


def of_transport(error: httpx.RequestError, timeout_seconds: float, proxy: Proxy | None = None) -> Failure:
    """Classify a request that broke on the way, where it goes through a proxy with its share in it.

    What httpx says is not repeated: it may hold a URL.
    """
    kind = type(error).__name__
    if isinstance(error, httpx.ProxyError | httpx.UnsupportedProtocol):
        return _of_proxy(error, proxy)
    certificate, tls = _certificate_problem(error), _tls_problem(error)
    if certificate:
        what = f"its TLS certificate is not trusted ({certificate})"
        return Failure(what, _TRUST, may_have_acted=False, lasting=True)
    if tls:
        return Failure(f"TLS failed ({tls})", _CHECK_TLS, may_have_acted=False)
    if proxy is not None and isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        what = f"cannot connect to the proxy {proxy.shown} ({_root_cause(error)})"
        return Failure(what, _check_proxy(proxy), may_have_acted=False)
    if isinstance(error, httpx.TimeoutException):
        never_sent = isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout)
        what = f"no answer within {timeout_seconds:g} s ({kind})"
        return Failure(what, _CHECK_SPEED, may_have_acted=not never_sent)
    connected = not isinstance(error, httpx.ConnectError)
    what = f"the connection broke ({kind})" if connected else f"cannot connect ({_root_cause(error)})"
    return Failure(what, _CHECK_PATH if connected else _CHECK_REACH, may_have_acted=connected)


def _of_proxy(error: httpx.RequestError, proxy: Proxy | None) -> Failure:
    code = re.match(r"[0-9]{3}", str(error))
    status = code.group(0) if code else ""
    shown = f" {proxy.shown}" if proxy is not None else ""
    return Failure(
        f"the proxy{shown} refused{f' ({status})' if status else ''}",
        _CHECK_LOGIN if status == "407" else _check_proxy(proxy),
        may_have_acted=False,
        lasting=status.startswith("4"),
    )


def _check_proxy(proxy: Proxy | None) -> str:
    variable = proxy.variable if proxy is not None else "HTTPS_PROXY"
    return f"Check {variable} and what that proxy lets through, or add Lago's host to NO_PROXY"


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
        407: ("a proxy on the way to Lago wants a user name and a password (407)", _CHECK_LOGIN),
    }
    if status in (401, 403) and not _is_lagos(payload):
        refusals[status] = (f"what stands before Lago refused the request ({status}), not Lago", _CHECK_NOT_LAGO)
    if status in refusals:
        return LagoError(*refusals[status])
    if status < 400:
        return LagoError(f"Lago answered {resource} with a redirect ({status})", f"{CHECK_BASE} (https?)")
    return LagoError(f"Lago refused the request for {resource}: HTTP {status}{_reason(payload)}", _CHECK_VERSION)


def _is_lagos(payload: object) -> bool:
    """Tell whether a refusal has the form of Lago's own."""
    return isinstance(payload, dict) and any(isinstance(payload.get(name), str) for name in ("error", "code"))


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
