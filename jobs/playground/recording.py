"""Real rows and requests of one LiteLLM 1.109.1 proxy, one call of each kind, for the demo and the tests."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import resources
from typing import Any

from jobs.playground.simulation import SPEND_LOG_COLUMNS, StoredEvent

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAME = "litellm-1.109.1.json"


@dataclass(frozen=True, slots=True)
class Recording:
    """What the proxy wrote to PostgreSQL and what its callback sent to Lago."""

    spend_logs: tuple[dict[str, Any], ...]
    """Rows of "LiteLLM_SpendLogs" by column; times are UTC texts, JSON columns are values."""
    events: tuple[StoredEvent, ...]
    """The callback's events with their receive time, in the order of arrival."""

    def spend_log_rows(self) -> Iterator[tuple[str | int | float | None, ...]]:
        """Yield the spend logs in the order of `SPEND_LOG_COLUMNS`, JSON columns as text."""
        for spend_log in self.spend_logs:
            yield tuple(_text(spend_log[column]) for column in SPEND_LOG_COLUMNS)


def load_recording() -> Recording:
    """Read the recording that is shipped with the package."""
    text = resources.files("jobs").joinpath("data", _NAME).read_text(encoding="utf-8")
    plain = json.loads(text)
    # A double cannot hold today's seconds and a microsecond exactly.
    exact = json.loads(text, parse_float=Decimal)
    received = [_instant(request["received_at_unix"]) for request in exact["lago_requests"]]
    return Recording(
        spend_logs=tuple(plain["spend_logs"]),
        events=tuple(
            _event(request["body"]["event"], at) for request, at in zip(plain["lago_requests"], received, strict=True)
        ),
    )


def _event(sent: dict[str, Any], at: datetime) -> StoredEvent:
    return StoredEvent(
        sent["transaction_id"], sent["external_subscription_id"], sent["code"], at, sent["properties"], at
    )


def _instant(seconds: Decimal) -> datetime:
    return _EPOCH + timedelta(microseconds=int((seconds * 1_000_000).to_integral_value()))


def _text(value: Any) -> str | int | float | None:
    if isinstance(value, dict | list):
        return json.dumps(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"a recorded spend log holds a {type(value).__name__}")
