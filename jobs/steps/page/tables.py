"""Tables of the page: per metric, subscription, model, disposition and day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from jobs.core.figures import share, usd
from jobs.core.kinds import COUNTED, PAIRED
from jobs.core.telling.page import Cell, Column, Table
from jobs.steps.page.cells import listed, number_cell, text_cell


def codes_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the sums of `page_codes` per billable metric."""
    names = {
        "expected_events": "expected events",
        "matched_events": "agreed events",
        "expected_quantity": "expected",
        "matched_quantity": "agreed",
        "missing_quantity": "missing",
        "surplus_quantity": "too much",
        "elsewhere_quantity": "elsewhere",
        "unbilled_quantity": "not billed",
    }
    return Table(
        "codes",
        "The same per billable metric.",
        [Column("code"), *(Column(title, is_number=True) for title in names.values())],
        [[text_cell(row["code"]), *(number_cell(row[name]) for name in names)] for row in rows],
        len(rows),
        "summary.csv",
    )


def subscriptions_table(rows: Sequence[Mapping[str, Any]], several: bool) -> Table:
    """Return the rows of `page_subscriptions` and their capture rate; `several`: there is more than one code."""
    names = {
        "expected_quantity": "expected",
        "matched_quantity": "agreed",
        "missing_quantity": "missing",
        "elsewhere_quantity": "elsewhere",
        "surplus_quantity": "too much",
        "unbilled_quantity": "not billed",
        "expected_events": "expected events",
        "recorded_events": "recorded events",
    }
    rare = {"elsewhere_quantity", "unbilled_quantity"}
    shown = {name: title for name, title in names.items() if name not in rare or any_of(rows, name)}
    return Table(
        "subscriptions",
        "Capture rate: how much of what each subscription used is recorded as it should be. Gross, never netted.",
        [
            Column("subscription"),
            *([Column("code")] if several else []),
            Column("capture rate", is_number=True),
            *(Column(title, is_number=True) for title in shown.values()),
        ],
        [
            [
                text_cell(row["subscription"]),
                *([text_cell(row["code"])] if several else []),
                _capture(row),
                *(number_cell(row[name]) for name in shown),
            ]
            for row in rows
        ],
        listed(rows),
        "summary.csv",
    )


def _capture(row: Mapping[str, Any]) -> Cell:
    """Return the captured share of the quantity, or of the events where no quantity was expected."""
    part, whole = Decimal(row["matched_quantity"]), Decimal(row["expected_quantity"])
    if not whole:
        part, whole = Decimal(row["matched_events"]), Decimal(row["expected_events"])
    rate = part / whole if whole else Decimal(0)
    percent = int(100 * rate)
    return Cell(share(part, whole), f"{rate:.6f}", min(max(percent, 0), 100) if whole else None)


def any_of(rows: Iterable[Mapping[str, Any]], name: str) -> bool:
    return any(Decimal(row[name]) for row in rows)


def models_table(rows: Sequence[Mapping[str, Any]], several: bool) -> Table:
    """Return the rows of `page_models`; `several`: there is more than one code."""
    counts = {kind: f"{kind}_expected_events" if kind in PAIRED else f"{kind}_events" for kind in COUNTED}
    shown = {kind: name for kind, name in counts.items() if any(row[name] for row in rows)}
    events = ("expected_events", "recorded_events", "matched_expected_events", *shown.values())
    quantities = {"expected_quantity": "expected", "recorded_quantity": "recorded"}
    gross = {"missing_quantity": "missing", "surplus_quantity": "too much"}
    return Table(
        "models",
        "Quantities first, then events: expected, recorded, each kind of discrepancy. Gross, never netted.",
        [
            Column("subscription"),
            Column("model"),
            *([Column("code")] if several else []),
            *(Column(title, is_number=True) for title in (*quantities.values(), *gross.values())),
            *(
                Column(title, is_number=True)
                for title in ("expected events", "recorded events", "matched", *(f"{kind} events" for kind in shown))
            ),
        ],
        [
            [
                text_cell(row["subscription"]),
                text_cell(row["model"]),
                *([text_cell(row["code"])] if several else []),
                *(number_cell(row[name]) for name in (*quantities, *gross)),
                *(number_cell(row[name]) for name in events),
            ]
            for row in rows
        ],
        listed(rows),
        "summary.csv",
    )


def spend_logs_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return what became of the spend logs, by disposition and reason."""
    names = ("spend_logs", "prompt_tokens", "completion_tokens", "total_tokens")
    return Table(
        "spend-logs",
        "Where every spend log of the window went: attributed, excluded under a reason, or unattributed.",
        [
            Column("disposition"),
            Column("reason"),
            *(Column(name.replace("_", " "), is_number=True) for name in names),
            Column("spend (USD)", is_number=True),
        ],
        [
            [
                Cell(row["disposition"]),
                Cell((row["reason"] or "").replace("_", " ")),
                *(number_cell(row[name]) for name in names),
                number_cell(row["spend"], usd(row["spend"])),
            ]
            for row in rows
        ],
        len(rows),
        "run.json",
    )


def daily_table(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    """Return the rows of `page_daily_differences`; None where there are none."""
    if not rows:
        return None
    names = ("logged_requests", "daily_requests", "logged_tokens", "daily_tokens")
    return Table(
        "daily",
        "Where LiteLLM's daily tables and its spend logs disagree: more in the former means that spend logs were lost.",
        [
            Column("day"),
            Column("source"),
            Column("model"),
            *(Column(name.replace("_", " "), is_number=True) for name in names),
        ],
        [
            [
                Cell(row["day"]),
                text_cell(row["source"]),
                text_cell(row["model"]),
                *(number_cell(row[name]) for name in names),
            ]
            for row in rows
        ],
        listed(rows),
        "daily.csv",
    )
