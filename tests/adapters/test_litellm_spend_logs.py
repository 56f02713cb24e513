"""LiteLLM's own code writes spend logs, and the job counts them as what they are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.types.json import Jsonb

from tests.adapters.test_litellm_callback import reconciled, write
from tests.playground.test_lago_standin_litellm import organization

if TYPE_CHECKING:
    from pathlib import Path

    from jobs.playground.lago_standin import Organization

__all__ = ["organization"]

_START = datetime(2026, 11, 10, 12, tzinfo=UTC)
_COLUMNS = (
    *("request_id", "call_type", "api_key", "spend", "total_tokens", "prompt_tokens", "completion_tokens"),
    *("startTime", "endTime", "model", "model_group", "custom_llm_provider", "user", "team_id", "end_user"),
    *("cache_hit", "status", "metadata"),
)


@pytest.fixture
def payload(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Give LiteLLM's `get_logging_payload`, which asks its running proxy for nothing but settings: there are none."""
    proxy: Any = ModuleType("litellm.proxy.proxy_server")
    proxy.general_settings, proxy.general_settings_view, proxy.master_key, proxy.llm_router = {}, dict, None, None
    monkeypatch.setitem(sys.modules, proxy.__name__, proxy)
    from litellm.proxy.spend_tracking import spend_tracking_utils  # noqa: PLC0415 - ten seconds to import

    function: Callable[..., Any] = spend_tracking_utils.get_logging_payload
    return function


def _row(
    payload: Callable[..., Any],
    name: str,
    minute: int,
    *,
    call_type: str = "acompletion",
    tokens: int = 1000,
    **marks: Any,
) -> dict[str, Any]:
    """Return the row that LiteLLM writes of a call of alice, with these marks in its metadata."""
    from litellm.types.utils import ModelResponse, Usage  # noqa: PLC0415 - slow to import

    end = _START + timedelta(minutes=minute)
    usage = Usage(prompt_tokens=tokens, completion_tokens=tokens // 10, total_tokens=tokens + tokens // 10)
    called = {
        "call_type": call_type,
        "model": "gpt-4o",
        "response_cost": tokens / 1_000_000,
        "litellm_call_id": f"call-{name}",
        "custom_llm_provider": "openai",
        "litellm_params": {
            "metadata": {"user_api_key_end_user_id": "alice", "user_api_key": "key", **marks},
            "proxy_server_request": {},
        },
    }
    made = dict(payload(called, ModelResponse(id=name, model="gpt-4o", usage=usage), end - timedelta(seconds=1), end))
    made |= {at: made[at].replace(tzinfo=None) for at in ("startTime", "endTime")}
    return {column: made.get(column) for column in _COLUMNS} | {"metadata": Jsonb(_parsed(made["metadata"]))}


def _parsed(metadata: Any) -> Any:
    import orjson  # noqa: PLC0415 - where it is needed

    return orjson.loads(metadata) if isinstance(metadata, str) else metadata


@pytest.mark.deep
@pytest.mark.filterwarnings("ignore")  # LiteLLM's own warnings are none of ours
def test_rows_that_litellm_writes_count_as_what_they_are(
    organization: Organization, litellm_database: str, payload: Callable[..., Any], tmp_path: Path
) -> None:
    """A judge's call is nobody's, a poll is the only record of its response, a list of files is no call."""
    organization.add_plan("tokens", charges=[("litellm_tokens", {"pay_in_advance": False})])
    organization.add_customer("customer")
    organization.add_subscription(
        "alice",
        customer="customer",
        plan="tokens",
        started_at=_START - timedelta(days=40),
        current_period_started_at=_START - timedelta(days=1),
    )
    rows = [
        _row(payload, "chatcmpl-call", 1, tokens=2000),
        _row(payload, "chatcmpl-judge", 2, internal_call_origin="shadow_eval_judge"),
        _row(payload, "resp_poll", 3, call_type="aget_responses", internal_call_origin="background_response_cost_poll"),
        _row(payload, "list", 4, call_type="afile_list", tokens=0),
        _row(payload, "resp_read", 5, call_type="aget_responses", tokens=0),
    ]
    assert [row["request_id"] for row in rows][2] == "resp_poll_background_cost"
    write(litellm_database, rows)
    run = reconciled(litellm_database, organization, _START, tmp_path)
    plan = (run.folder / "plan.jsonl").read_text(encoding="utf-8").splitlines()[1:]
    assert [part for line in plan for part in ("chatcmpl-call", "resp_poll") if part in line] == [
        "chatcmpl-call",
        "resp_poll",
    ]
    assert run.plan.events == 2
    excluded = {row["reason"]: row["spend_logs"] for row in run.spend_logs if row["disposition"] == "excluded"}
    assert excluded == {"internal_call": 1, "not_inference": 2}
