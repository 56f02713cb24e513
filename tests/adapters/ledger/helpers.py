"""The ledger, on SQLite and on PostgreSQL: what goes in comes out, nothing changes, and a crash costs nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import psycopg
from msgspec.structs import replace

from jobs.adapters.ledger import Ledger
from jobs.core.ledger_values import (
    RunStarted,
)
from jobs.core.plan import PlannedEvent
from jobs.core.window import Window

NOON = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)


WINDOW = Window(datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC))


HEADER = {"format": "litellm-lago-plan/1", "events": 2, "sha256": "hash"}


def opened(url: str, at: datetime = NOON, **options: Any) -> Ledger:
    """Open a ledger whose clock stands still."""
    return Ledger.open(url, now=lambda: at, **options)


def started(run_id: str, at: datetime = NOON) -> RunStarted:
    """Return the beginning of a run."""
    return RunStarted(run_id, "reconcile --apply", WINDOW, at, "0.1.0", "c0ffee")


def planned(number: int, **changes: Any) -> PlannedEvent:
    """Return one of any number of different events."""
    usual = PlannedEvent(
        transaction_id=f"llr1-{number:08x}",
        subscription=f"sub_{number % 7}",
        code="tokens",
        part="total",
        request_id=f"chatcmpl-{number}",
        timestamp="1795435200.123",
        properties=(("model", "gpt-5"), ("total_tokens", str(number))),
        quantity=str(number),
        model="gpt-5",
        spend="0.00012",
    )
    return replace(usual, **changes)


def begin(ledger: Ledger, run_id: str, *events: PlannedEvent, plan_hash: str = "plan-1") -> None:
    """Record a run, its plan and its intents."""
    ledger.begin_run(started(run_id))
    ledger.record_plan(plan_hash, run_id, HEADER, f"runs/{run_id}/plan.jsonl")
    ledger.record_intents(plan_hash, run_id, events)


def execute(url: str, statement: str) -> list[Any]:
    """Run a statement past the ledger, as somebody with a database client would."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            return connection.execute(statement).fetchall()
    with psycopg.connect(url, options="-c search_path=litellm_lago_ledger") as server:
        cursor = server.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []
