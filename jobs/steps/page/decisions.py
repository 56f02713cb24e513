"""What a person has to decide: a table for each kind, reason and detail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from jobs.core.figures import grouped, usd
from jobs.core.kinds import Cause, Detail, Kind
from jobs.core.sorts import DETAILS, next_step, reason_of
from jobs.core.telling.cause_texts import CAUSE_TEXTS
from jobs.core.telling.page import Cell, Column, Decision, Table
from jobs.steps.page.cells import listed, number_cell, text_cell

_DECISION_COLUMNS = {
    "time": Column("time (UTC)"),
    "subscription": Column("subscription"),
    "recorded_subscription": Column("recorded under"),
    "model": Column("model"),
    "code": Column("code"),
    "request_id": Column("request id", is_id=True),
    "transaction_id": Column("transaction id", is_id=True),
    "call_type": Column("call type"),
    "expected_quantity": Column("expected", is_number=True),
    "recorded_quantity": Column("recorded", is_number=True),
    "tokens": Column("tokens", is_number=True),
    "spend": Column("spend (USD)", is_number=True),
    "cause": Column("cause"),
}
# What sending cannot mend comes first, what only a caller can change last.
_DECISION_ORDER = (
    Kind.AMBIGUOUS,
    Kind.MISMATCHED,
    Kind.MISATTRIBUTED,
    Kind.RECORDED_UNBILLED,
    Kind.HELD,
    Kind.DUPLICATED,
    Kind.ORPHANED,
    Kind.UNATTRIBUTED,
)


def decision_tables(rows: Sequence[Mapping[str, Any]], several: bool) -> list[Decision]:
    """Return the tables for the rows of `page_decisions`; `several`: there is more than one code."""
    sorts = [
        (sort, list(members))
        for sort, members in groupby(rows, key=lambda row: (row["kind"], row["reason"], row["detail"]))
    ]
    ordered = sorted(sorts, key=lambda item: _DECISION_ORDER.index(Kind(item[0][0])))
    return [_decision(number, *sort, members, several) for number, (sort, members) in enumerate(ordered, start=1)]


def _decision(
    number: int, kind: str, reason: str, code: str | None, rows: Sequence[Mapping[str, Any]], several: bool
) -> Decision:
    detail = None if code is None else Detail(code)
    always = {"recorded_subscription"} if kind == Kind.MISATTRIBUTED else set()
    never = {*(() if several else ("code",)), *(() if kind == Kind.UNATTRIBUTED else ("tokens",))}
    names = [
        name
        for name in _DECISION_COLUMNS
        if name in always or (name not in never and any(row[name] not in {None, ""} for row in rows))
    ]
    title = ": ".join(part for part in (kind.replace("_", ", "), reason.replace("_", " ")) if part)
    return Decision(
        kind,
        f"{title} ({grouped(listed(rows))})",
        next_step(Kind(kind), reason_of(Kind(kind), reason), detail),
        Table(
            f"decision-{number}",
            "Those with the most quantity."
            if detail is None
            else f"{DETAILS[detail].text[:1].upper()}{DETAILS[detail].text[1:]}.",
            [_DECISION_COLUMNS[name] for name in names],
            [[_decision_cell(name, row[name]) for name in names] for row in rows],
            listed(rows),
            "discrepancies.csv",
        ),
    )


def _decision_cell(name: str, value: Any) -> Cell:
    if name == "time":
        return Cell("" if value is None else f"{value:%Y-%m-%d %H:%M:%S}")
    if name == "spend":
        return Cell("") if value == "" else number_cell(value, usd(value))
    if name == "cause":
        return Cell("" if value is None else CAUSE_TEXTS[Cause(value)].title)
    if _DECISION_COLUMNS[name].is_number:
        return Cell("") if value in {None, ""} else number_cell(value)
    if name in {"subscription", "recorded_subscription"}:
        return text_cell(value)
    return Cell(str(value)) if _DECISION_COLUMNS[name].is_id or not value else text_cell(value)
