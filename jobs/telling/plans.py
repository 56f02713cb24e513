"""What a person at a terminal reads of a plan: what it holds, and what it would bill."""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import TYPE_CHECKING, TextIO

from rich import box
from rich.table import Table
from rich.text import Text

from jobs.core.figures import grouped, plain
from jobs.core.money.amounts import main_unit_of
from jobs.telling.console import console_for, named

if TYPE_CHECKING:
    from jobs.steps.plan_files import PlanDescription


def show_plan(plan: PlanDescription, stream: TextIO = sys.stdout) -> None:
    """Print what a plan holds per subscription, model, code and day, with its totals."""
    console = console_for(stream)
    header = plan.header
    console.print(Text(f"Plan    {header['sha256']}"))
    console.print(Text(f"Window  {header['window']['start']} to {header['window']['end']}"))
    if plan.worth:
        console.print(Text(f"Bills   {plan.worth}"))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("subscription", "model", "code", "day"):
        table.add_column(heading, no_wrap=True)
    amount = [f"amount ({plan.currency})"] if plan.currency else []
    for heading in ("events", "quantity", "spend (USD)", *amount):
        table.add_column(heading, justify="right", no_wrap=True)
    for group in plan.groups:
        names = (named(group.subscription), named(group.model), named(group.code), group.day)
        table.add_row(*names, *_plan_cells(plan, group.events, group.quantity, group.spend, group.amount))
    table.add_section()
    sums = [sum(getattr(group, name) for group in plan.groups) for name in ("events", "quantity", "spend", "amount")]
    table.add_row("TOTAL", "", "", "", *_plan_cells(plan, *sums), style="bold")
    console.print(table)
    if plan.carrying:
        console.print(_carrying_table(plan))


def _plan_cells(plan: PlanDescription, events: int, quantity: Decimal, spend: Decimal, amount: Decimal) -> list[str]:
    cells = [f"{events:,}", f"{quantity:,f}", f"{spend:,.6f}"]
    return [*cells, grouped(plain(main_unit_of(amount, plan.currency)))] if plan.currency else cells


def _carrying_table(plan: PlanDescription) -> Table:
    """Return what each event carries, of the first of them; the plan's file has all."""
    more = plan.carrying_events - len(plan.carrying)
    table = Table(
        title="What each event says it costs" + (f"; {more:,} more in the file" if more else ""),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for heading in ("subscription", "request", "time (UTC)"):
        table.add_column(heading, overflow="fold")
    for heading in ("quantity", f"amount ({plan.currency})"):
        table.add_column(heading, justify="right", no_wrap=True)
    for event in plan.carrying:
        amount = grouped(plain(main_unit_of(Decimal(event.amount), plan.currency)))
        names = (named(event.subscription), named(event.request_id), f"{event.time:%Y-%m-%d %H:%M:%S}")
        table.add_row(*names, grouped(event.quantity), amount)
    return table
