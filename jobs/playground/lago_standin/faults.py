"""Faults: what can go wrong between a client and Lago, when, and how often."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

FAULT_NAMES = (
    "none",
    "rate_limited",
    "server_error",
    "server_error_after",
    "bad_gateway",
    "bad_gateway_after",
    "cut_before",
    "cut_after",
    "cut_during",
    "slow",
    "slow_after",
    "truncated",
    "per_page_refused",
    "per_page_capped",
    "rate_limit",
)
"""Every fault there is; `none` is a quiet turn in a schedule.

`rate_limited` a 429 with headers; `server_error` a 500 in JSON; `bad_gateway` a proxy's 502 in HTML; both also `_after`
the work was committed; `cut_before` and `cut_after` drop the connection before and after the commit, `cut_during` in
the middle of the answer; `slow` waits before the work, `slow_after` after it; `truncated` a 200 whose JSON ends half
way;
`per_page_refused` a 422 and `per_page_capped` silently fewer rows where more than `cap` are asked for; `rate_limit` a
real limit of `requests_per_second`, with its headers on every answer.
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which requests fail, and which of them do."""

    name: str = "none"
    """One of FAULT_NAMES; not used where there is a schedule."""
    endpoint: str = "*"
    """The endpoint it applies to, such as `batch`, `create` or `list`; `*` is all of them."""
    times: int | None = None
    """How many requests fail before it is over; None is no end."""
    probability: float | None = None
    """The chance that a request fails; None is certainty."""
    seed: int = 0
    """Seeds the chance, so that a run can be repeated."""
    schedule: tuple[str, ...] = ()
    """Names consumed one per request; the fault is over when they are used up."""
    delay_seconds: float = 6.0
    """How long `slow` and `slow_after` wait."""
    requests_per_second: int = 50
    """The limit of `rate_limit`, and the one that `rate_limited` tells of."""
    reset_seconds: int = 1
    """What `rate_limited` says in X-RateLimit-Reset."""
    cap: int = 100
    """The largest `per_page` that `per_page_refused` and `per_page_capped` let through."""

    def __post_init__(self) -> None:
        """Refuse names that are no faults."""
        for name in (self.name, *self.schedule):
            if name not in FAULT_NAMES:
                raise ValueError(f"{name!r} is no fault; there are {', '.join(FAULT_NAMES)}")

    def document(self) -> dict[str, Any]:
        """Return the fault as JSON."""
        return asdict(self)


def fault_from(document: Mapping[str, Any]) -> Fault:
    """Read a fault from JSON."""
    return Fault(**{**document, "schedule": tuple(document.get("schedule", ()))})


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that a request meets."""

    name: str
    """One of FAULT_NAMES."""
    fault: Fault
    """Its parameters."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Rate limit headers for the answer."""


class FaultRule:
    """One fault at work: it counts down, rolls its die, walks its schedule."""

    def __init__(self, fault: Fault) -> None:
        """Take the fault; its die is seeded anew."""
        self._fault = fault
        self._left = fault.times
        self._random = random.Random(fault.seed)  # noqa: S311  (repeatable on purpose)
        self._schedule = deque(fault.schedule)
        self._recent: deque[float] = deque()

    def strike(self, endpoint: str) -> Struck | None:
        """Return what a request to this endpoint meets, or None."""
        if self._fault.endpoint not in ("*", endpoint) or self._left == 0:
            return None
        if self._fault.schedule:
            return self._scheduled()
        if self._fault.name == "rate_limit":
            return self._limited()
        if self._fault.probability is not None and self._random.random() >= self._fault.probability:
            return None
        if self._left is not None:
            self._left -= 1
        return self._struck(self._fault.name)

    def _scheduled(self) -> Struck | None:
        name = self._schedule.popleft() if self._schedule else "none"
        return None if name == "none" else self._struck(name)

    def _struck(self, name: str) -> Struck:
        limited = name == "rate_limited"
        fault = self._fault
        return Struck(name, fault, rate_headers(fault, 0, fault.reset_seconds) if limited else {})

    def _limited(self) -> Struck:
        """Count requests in a sliding second; those beyond the limit are refused and do not count."""
        now = time.monotonic()
        while self._recent and self._recent[0] <= now - 1:
            self._recent.popleft()
        limit = self._fault.requests_per_second
        if len(self._recent) >= limit:
            return Struck("rate_limited", self._fault, rate_headers(self._fault, 0, 1))
        self._recent.append(now)
        return Struck("none", self._fault, rate_headers(self._fault, limit - len(self._recent), 1))


def rate_headers(fault: Fault, remaining: int, reset_seconds: int) -> dict[str, str]:
    """Return the headers that Lago Cloud documents."""
    return {
        "X-RateLimit-Limit": str(fault.requests_per_second),
        "X-RateLimit-Remaining": str(remaining),
        "X-RateLimit-Reset": str(reset_seconds),
    }
