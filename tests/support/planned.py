"""A planned event and the header of its plan, for tests of plan files."""

from __future__ import annotations

from typing import Any

from jobs.core.plan import FORMAT, PlannedEvent

EVENT = PlannedEvent(
    transaction_id="litellm-lago:1:abc",
    subscription="alice",
    code="llm_tokens",
    part="total",
    request_id="chatcmpl-1",
    timestamp="1762776000.250",
    properties=(("model", "gpt-4o"), ("total_tokens", "140")),
    quantity="140",
    model="gpt-4o",
    spend="0.001",
)
HEADER: dict[str, Any] = {
    "format": FORMAT,
    "sha256": "",
    "code_version": "0.1.0",
    "window": {"start": "2025-11-10T12:00:00+00:00", "end": "2025-11-10T14:00:00+00:00"},
    "rules": "0" * 64,
    "caps": {"events": 1000, "quantity": "1000", "share": "1"},
    "only": {"subscriptions": [], "models": [], "codes": []},
    "events": 1,
}
