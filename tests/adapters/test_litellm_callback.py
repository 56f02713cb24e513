"""LiteLLM's real `lago` callback, then its spend logs, then a reconciliation: exactly what is known to be missing."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from jobs.playground.lago_standin import Organization
from jobs.reconcile import reconcile
from jobs.settings import load_settings, reconcile_settings
from jobs.steps.reconcile_values import Run
from tests.playground.test_lago_standin_litellm import organization, register_callback, stored
from tests.support.scenario import SilentProgress

__all__ = ["organization"]

_CODE = "litellm_tokens"


@dataclass(frozen=True)
class Call:
    """One call through the gateway."""

    model: str
    in_body: str | None
    """The user that the request's body names, which is all that the callback looks at."""
    logged: str
    """The end user that the proxy logs: the body's, or one from a header."""


# Equal calls, calls of two users, one of another provider; two that the callback cannot attribute.
_CALLS = (
    Call("openai/gpt-3.5-turbo", "alice", "alice"),
    Call("openai/gpt-3.5-turbo", "alice", "alice"),
    Call("openai/gpt-3.5-turbo", "bob", "bob"),
    Call("mistral/mistral-small-latest", "alice", "alice"),
    Call("mistral/mistral-small-latest", None, "bob"),
    Call("openai/gpt-3.5-turbo", None, ""),
)


def completed(call: Call) -> dict[str, Any]:
    """Make the call as the proxy does, and return the row that the proxy writes of it (1.109, trimmed)."""
    import litellm  # noqa: PLC0415 - slow to import, and the environment has to be set before

    started = datetime.now(UTC)
    answer = litellm.completion(
        model=call.model,
        messages=[{"role": "user", "content": "Hello"}],
        mock_response="Hi there",
        proxy_server_request={"body": {"user": call.in_body} if call.in_body else {}},
        metadata={},
    )
    model, provider, *_ = litellm.get_llm_provider(call.model)
    return {
        "request_id": answer.id,
        "call_type": "acompletion",
        "api_key": f"key-of-{call.logged}",
        "spend": litellm.completion_cost(answer, model=call.model),
        "total_tokens": answer.usage.total_tokens,
        "prompt_tokens": answer.usage.prompt_tokens,
        "completion_tokens": answer.usage.completion_tokens,
        "startTime": started.replace(tzinfo=None),
        "endTime": datetime.now(UTC).replace(tzinfo=None),
        "model": call.model,
        "model_group": model,
        "custom_llm_provider": provider,
        "cache_hit": "None",
        "end_user": call.logged,
        "status": "success",
        "metadata": Jsonb({"status": "success"}),
    }


def write(database_url: str, rows: list[dict[str, Any]]) -> None:
    """Write spend logs as the proxy would."""
    statement = sql.SQL('INSERT INTO "LiteLLM_SpendLogs" ({}) VALUES ({})').format(
        sql.SQL(", ").join(map(sql.Identifier, rows[0])), sql.SQL(", ").join(map(sql.Placeholder, rows[0]))
    )
    with psycopg.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.executemany(statement, rows)


def reconciled(database_url: str, lago: Organization, start: datetime, output: Path) -> Run:
    """Judge the hour around these calls, two days later."""
    environment = {
        "DATABASE_URL": database_url,
        "LAGO_API_BASE": lago.api_base,
        "LAGO_API_KEY": lago.api_key,
        "LAGO_API_EVENT_CODE": _CODE,
        "RECONCILE_OUTPUT": str(output),
    }
    now = start + timedelta(days=2)
    first, last = start - timedelta(minutes=5), start + timedelta(minutes=55)
    settings = reconcile_settings(load_settings(environment), first.isoformat(), last.isoformat(), now)
    return reconcile(settings, SilentProgress(), now=now, run_id="callback")


@pytest.mark.deep
@pytest.mark.filterwarnings("ignore")  # LiteLLM's own warnings are none of ours
def test_calls_that_the_callback_could_not_attribute_are_found(
    organization: Organization, litellm_database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LAGO_API_CHARGE_BY", "end_user_id")
    register_callback(monkeypatch)
    organization.add_plan("tokens", charges=[(_CODE, {"pay_in_advance": False})])
    organization.add_customer("customer")
    start = datetime.now(UTC)
    for subscription in ("alice", "bob"):
        organization.add_subscription(
            subscription,
            customer="customer",
            plan="tokens",
            started_at=start - timedelta(days=40),
            current_period_started_at=start - timedelta(days=1),
        )

    rows = [completed(call) for call in _CALLS]
    sent = sum(call.in_body is not None for call in _CALLS)
    assert len(stored(organization, sent)) == sent
    write(litellm_database, rows)
    run = reconciled(litellm_database, organization, start, tmp_path)

    with (run.folder / "discrepancies.csv").open(encoding="utf-8", newline="") as file:
        found = [(row["kind"], row["subscription"], row["request_id"]) for row in csv.DictReader(file)]
    (totals,) = run.totals
    assert found == [("missing", "bob", rows[4]["request_id"]), ("unattributed", "", rows[5]["request_id"])]
    assert totals["matched_expected_events"] == totals["recorded_events"] == sent
    assert run.plan.events == 1
