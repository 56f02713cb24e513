"""What a real Lago answered, counted, charged and billed: the recordings that the stand-in is proven by.

Recorded on 2026-11-28 on Lago v1.51.0 and 129 commits with a PostgreSQL store, Sidekiq running and no licence. Every
file says how it was made (`how`) and what was learned (`rules`).
"""

from __future__ import annotations

import gzip
import json
from enum import StrEnum
from pathlib import Path
from typing import Any


class LagoRecording(StrEnum):
    """Which recording."""

    ANSWERS = "answers"
    """494 requests in order and their answers, with the seed they were put to."""
    USAGE = "usage"
    """What current usage counts: filters, groups, rounding, aggregations."""
    PRICING = "pricing"
    """What a bucket costs, by charge model and currency."""
    BILLED = "billed"
    """What an invoice bills, and periods."""


def lago_recording(which: LagoRecording) -> dict[str, Any]:
    """Return one recording as it was written down."""
    packed = Path(__file__).parents[1] / "data" / f"lago-1.51-{which}.json.gz"
    recorded: dict[str, Any] = json.loads(gzip.decompress(packed.read_bytes()))
    return recorded
