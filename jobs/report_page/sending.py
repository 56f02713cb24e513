"""What the page says of the plan: what it holds, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from jobs.core.figures import counted, grouped, share
from jobs.core.page import Backfilled, Cell, Column, Table
from jobs.plan_files import PLAN_FILE
from jobs.planning import PlanSummary
from jobs.report_page.cells import number_cell, text_cell

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


def applied_backfill(
    plan: PlanSummary, outcomes: Mapping[str, int], verified: int, troubles: Sequence[str]
) -> Backfilled:
    """Return what the page says once the plan was sent: events by outcome, how many Lago shows, what went wrong."""
    told = ", ".join(f"{grouped(count)} {outcome}" for outcome, count in sorted(outcomes.items())) or "nothing"
    headline = (
        f"The plan was applied after the window was judged: {told}; {counted(verified, 'event')} verified in Lago."
    )
    return Backfilled(
        headline,
        [headline, "The figures on this page are from before. outcomes.csv has what became of each event."],
        list(troubles),
        [],
        planned_backfill(plan).table,
    )
