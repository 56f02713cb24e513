"""The usage report: equal to independent SQL, exact, repeatable, and harmless to open."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from jobs.core.periods import PeriodLength
from jobs.settings import load_settings, usage_settings
from jobs.usage import Usage, usage
from tests.support.scenario import SilentProgress

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MONEY = ["revenue", "revenue_currency", "margin", "revenue_unpriced"]


def report(
    database_url: str, output: Path, *days: str, environment: dict[str, str] | None = None, **asked: Any
) -> Usage:
    """Run the job as the command line would, with nothing of Lago's set."""
    settings = load_settings(
        {"DATABASE_URL": database_url, "RECONCILE_OUTPUT": str(output), "RECONCILE_THREADS": "1", **(environment or {})}
    )
    start, end = days or (None, None)
    options = {"month": None, "by": PeriodLength.DAY, "compare": False, "now": NOW, **asked}
    request = usage_settings(settings, start, end, options.pop("month"), **options)
    return usage(request, SilentProgress(), now=NOW, run_id="test")


def rows(told: Usage, name: str = "usage.csv") -> list[dict[str, str]]:
    """Return the rows of one of the report's CSV files."""
    with (told.folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def parquet(told: Usage) -> list[tuple[Any, ...]]:
    """Return the rows of the report's Parquet file, without what is empty unless revenue was asked for."""
    found = duckdb.read_parquet(str(told.folder / "usage.parquet"))
    return found.select(duckdb.StarExpression(exclude=MONEY)).fetchall()


def call(metadata: dict[str, Any], prompt: int = 100, completion: int = 40, **others: Any) -> dict[str, Any]:
    """Return one spend log of alice with this metadata."""
    tokens = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"end_user": "alice", "metadata": metadata, **tokens, **others}
