"""The staleness of current usage: Lago caches it per charge and forgets it only when an event was post-processed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

Key = tuple[UUID, str, str]


@dataclass(slots=True)
class UsageCache:
    """Charge usages by (organisation, subscription, metric code), each until some time after a new event."""

    _kept: dict[Key, dict[UUID, Any]] = field(default_factory=dict)
    _expiring: dict[Key, float] = field(default_factory=dict)

    def find(self, key: Key, charge_id: UUID) -> dict[str, Any] | None:
        """Return the cached usage of a charge, or None."""
        if key in self._expiring and self._expiring[key] <= time.monotonic():
            del self._expiring[key]
            self._kept.pop(key, None)
        found: dict[str, Any] | None = self._kept.get(key, {}).get(charge_id)
        return found

    def keep(self, key: Key, charge_id: UUID, usage: dict[str, Any]) -> None:
        """Remember the usage of a charge."""
        self._kept.setdefault(key, {})[charge_id] = usage

    def expire(self, key: Key, lag_seconds: float) -> None:
        """Forget what is cached `lag_seconds` from now: the post-processing of an event that just arrived."""
        if key in self._kept:
            self._expiring.setdefault(key, time.monotonic() + lag_seconds)
