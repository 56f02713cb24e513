"""The calls of a simulated month as columns, and when things go wrong in it."""

from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


class Origin(IntEnum):
    """Which kind of client made a call."""

    INTERACTIVE = 0
    TEMPLATE = 1
    MONITOR = 2
    BATCH = 3
    OVERLOAD = 4
    RUSH = 5
    HEALTH_CHECK = 6
    INTERNAL_JOB = 7
    READ_BACK = 8
    HOSTILE = 9
    INTERNAL_CALL = 10
    READ_LATER = 11


@dataclass(frozen=True, slots=True)
class Requests:
    """The calls of a month as columns of equal length."""

    end_ms: Integers
    """End of the call, milliseconds since 1970 UTC."""
    duration_ms: Integers
    """Length of the call in milliseconds."""
    subscription: Integers
    """Index into `ALL_SUBSCRIPTIONS` of the paying customer, whether or not the call names it."""
    deployment: Integers
    """Index into `DEPLOYMENTS`."""
    prompt: Integers
    """Prompt tokens."""
    completion: Integers
    """Completion tokens."""
    origin: Integers
    """`Origin` of the call."""

    @property
    def total(self) -> Integers:
        """Prompt and completion tokens together."""
        return self.prompt + self.completion

    def take(self, rows: Integers | NDArray[np.bool_]) -> "Requests":
        """Return only these rows, in this order."""
        return Requests(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Incidents:
    """When things go wrong, in milliseconds since 1970 UTC."""

    outage: tuple[int, int]
    """Lago answers 503 from the first instant until before the second."""
    overloads: tuple[int, ...]
    """Starts of load bursts in which callbacks time out."""
    rush: int
    """Start of a load burst that ends in a pod restart."""
