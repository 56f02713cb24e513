"""What the page says of the plan: what it holds, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Protocol

from jobs.core.figures import counted, grouped, share
from jobs.core.telling.page import Backfilled, Cell, Column, Table
from jobs.steps.page.cells import number_cell, text_cell
from jobs.steps.plan import PlanSummary
from jobs.steps.plan_files import PLAN_FILE

_MOST_PLANNED = 50


def planned_backfill(plan: PlanSummary) -> Backfilled:
    """Return what the page says of a plan that nobody has applied."""
    if not plan.events:
        return Backfilled("", ["There is nothing that could be sent."], [], [], None)
    totals: dict[str, Decimal] = {}
    for total in plan.totals:
        totals[total.code] = totals.get(total.code, Decimal(0)) + total.quantity
    amounts = ", ".join(f"{grouped(amount)} {code}" for code, amount in sorted(totals.items()))
    ordered = sorted(plan.totals, key=lambda total: (-total.quantity, total.subscription, total.code))
    return Backfilled(
        "",
        [
            f"{PLAN_FILE} holds {counted(plan.events, 'event')} that may be sent: {amounts}.",
            *([f"With it Lago would bill more: {plan.worth.forecast}."] if plan.worth.forecast else []),
            "Nothing of it was sent to Lago yet.",
        ],
        list(plan.exceeded),
        [f"litellm-lago backfill --show {PLAN_FILE}", f"litellm-lago backfill --plan {PLAN_FILE} --apply"],
        Table(
            "plan",
            "What the plan holds, and how much of what each subscription used that is.",
            [
                Column("subscription"),
                Column("code"),
                Column("events", is_number=True),
                Column("quantity", is_number=True),
                Column("of its usage", is_number=True),
            ],
            [
                [
                    text_cell(total.subscription),
                    text_cell(total.code),
                    number_cell(total.events),
                    number_cell(f"{total.quantity:f}"),
                    Cell(share(total.quantity, total.expected_quantity), f"{total.quantity:f}"),
                ]
                for total in ordered[:_MOST_PLANNED]
            ],
            len(plan.totals),
            PLAN_FILE,
        ),
    )


class AppliedPlan(Protocol):
    """What the page needs to know of an apply."""

    @property
    def verified(self) -> int:
        """Events that Lago shows as planned."""

    @property
    def troubles(self) -> tuple[str, ...]:
        """What did not end well, a sentence each."""


def applied_backfill(
    plan: PlanSummary, before: Sequence[str], outcomes: Mapping[str, int], applied: AppliedPlan
) -> Backfilled:
    """Return what the page says once the plan was sent: what stood against the window, and what became of it."""
    headline = (
        f"Before the plan was applied: {'; '.join(before) or 'certified'}. "
        f"Then {_in_words(outcomes)}; {counted(applied.verified, 'event')} verified in Lago. "
        "This page says what is left."
    )
    return Backfilled(
        headline,
        [
            headline,
            "Of before are the causes on this page, summary-before.csv, discrepancies.csv and plan.jsonl. outcomes.csv "
            "has what became of each event.",
        ],
        list(applied.troubles),
        [],
        planned_backfill(plan).table,
    )


def unfinished_backfill(planned: Backfilled) -> Backfilled:
    """Return what the page says while a plan is being sent, and still says where the run was killed meanwhile."""
    headline = (
        "This run began to send its plan and has not told how that ended: events of it may be in Lago. If it is not "
        "running any more, it was killed, and the next run that applies completes outcomes.csv and this page."
    )
    return Backfilled(headline, [headline, *planned.sentences[:1]], list(planned.warnings), [], planned.table)


def completed_backfill(planned: Backfilled, outcomes: Mapping[str, int], verified: int, by: str) -> Backfilled:
    """Return what the page says of a run that was killed while it sent, once another one has found out what it did."""
    headline = (
        f"This run was killed while it sent its plan. Run {by} found out what became of it: {_in_words(outcomes)}; "
        f"{counted(verified, 'event')} verified in Lago. The other figures here are from before it sent anything."
    )
    return Backfilled(headline, [headline, "outcomes.csv has what became of each event."], [], [], planned.table)


def _in_words(outcomes: Mapping[str, int]) -> str:
    return ", ".join(f"{grouped(count)} {outcome}" for outcome, count in sorted(outcomes.items())) or "nothing"
