"""What a person at a terminal reads in the end: a summary to understand in ten seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING, Any, TextIO

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from jobs.core.doctor.checks import CHECKS, Status
from jobs.core.kinds import COUNTED
from jobs.core.text import visible
from jobs.steps.reconcile_values import Run

if TYPE_CHECKING:
    from jobs.configuration import Configuration
    from jobs.core.doctor.checks import Diagnosis
    from jobs.core.ledger_values import EventRecord, RunDetail, RunRecord
    from jobs.core.money.revenue import Revenue
    from jobs.core.telling.usage_values import UsageSum
    from jobs.demo import Demo
    from jobs.explain import Story
    from jobs.steps.backfill_values import Applied, Backfill
    from jobs.usage import Usage

_LONGEST_NAME = 26
_MOST_ROWS = 10
_MOST_CAUSES = 6
_ANY_WIDTH = 1000


def console_for(stream: TextIO) -> Console:
    """Return where to print: as wide as the terminal, or wide enough for every table where there is none."""
    return Console(file=stream, width=None if stream.isatty() else 180, highlight=False)


def named(text: str) -> Text:
    """Return a stranger's text for a cell: visible, short, and never markup."""
    shown = visible(text)
    return Text(shown if len(shown) <= _LONGEST_NAME else shown[: _LONGEST_NAME - 1] + "…")


def show_run(run: Run, stream: TextIO = sys.stdout, *, applied: Sequence[str] = ()) -> None:
    """Print the verdict with its reasons, the totals, and where most is wrong; `applied` lines come first."""
    console = console_for(stream)
    console.print()
    console.print(f"Window  {run.window.start:%Y-%m-%d %H:%M} to {run.window.end:%Y-%m-%d %H:%M} UTC, run {run.run_id}")
    console.print(Text("CERTIFIED", "bold green") if run.certified else Text("NOT CERTIFIED", "bold red"))
    for line in applied:
        console.print(Text(visible(line)))
    if run.money.headline:
        console.print(Text(visible(run.money.headline), "bold"))
    for reason in run.reasons:
        console.print(Text(f"  - {visible(reason.text)}"))
        console.print(Text(f"    {visible(reason.next_step)}", "dim"))
    for warning in run.warnings:
        console.print(Text(f"  ! {visible(warning)}", "yellow"))
    console.print()
    console.print(_summary_table(run, console))
    console.print(_spend_log_line(run.spend_logs))
    for number, cause in enumerate(run.causes[:_MOST_CAUSES]):
        console.print(
            Text(visible(f"{'' if number else 'Causes':12}{cause.events:,} {cause.title} ({_kinds(cause.kinds)})"))
        )
    if len(run.causes) > _MOST_CAUSES:
        others = sum(cause.events for cause in run.causes[_MOST_CAUSES:])
        console.print(Text(f"{'':12}{others:,} by other causes (report.html)"))
    planned = f"{run.plan.events:,} events{'' if applied else ' could be sent'}"
    console.print(Text(f"Plan        {planned} ({run.folder}/plan.jsonl)"))
    for exceeded in run.plan.exceeded:
        console.print(Text(f"  ! {visible(exceeded)}", "yellow"))
    console.print(Text(f"Report      {run.folder}/report.html"))


def show_usage(told: Usage, stream: TextIO = sys.stdout) -> None:
    """Print the totals, how they moved, and who used most."""
    console = console_for(stream)
    days = told.settings.days
    console.print()
    console.print(f"Usage   {days.first} to {days.after} (excluded), {days.zone}, run {told.run_id}")
    for reason in told.reasons:
        console.print(Text(f"  ! {visible(reason.text)}", "yellow"))
        console.print(Text(f"    {visible(reason.next_step)}", "dim"))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("subscription", no_wrap=True)
    headings = ("requests", "prompt", "cached", "completion", "reasoning", "tokens", "spend (USD)")
    money = ("revenue", "margin (USD)") if told.revenue else ()
    for heading in (*headings, *money):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in told.sums["subscription"][:_MOST_ROWS]:
        table.add_row(named(line.name or "(unattributed)"), *_usage_cells(line, told.revenue, "subscription"))
    table.add_section()
    table.add_row("TOTAL", *_usage_cells(told.total, told.revenue, "total"), style="bold")
    console.print(table)
    for text in told.revenue.reasons if told.revenue else ():
        console.print(Text(f"  ! {visible(text)}", "yellow"))
    for name, moved in told.changes.items():
        percent = "nothing before" if moved.percent is None else f"{moved.percent:+,f} %"
        console.print(Text(f"Change      {name.replace('_', ' ')} {moved.absolute:+,f} ({percent})"))
    console.print(_spend_log_line(told.dispositions))
    console.print(Text(f"Report      {told.folder}"))


def _usage_cells(line: UsageSum, revenue: Revenue | None, grouped_by: str) -> tuple[str, ...]:
    counts = (line.requests, line.prompt_tokens, line.cached_tokens)
    more = (line.completion_tokens, line.reasoning_tokens, line.total_tokens)
    cells = (*("·" if count is None else f"{count:,}" for count in (*counts, *more)), f"{line.spend:,.4f}")
    if revenue is None:
        return cells
    billed = revenue.of(grouped_by, line.name)
    return *cells, billed.text or "·", "·" if billed.margin is None else f"{billed.margin:,.4f}"


def show_demo(demo: Demo, stream: TextIO = sys.stdout) -> None:
    """Print both runs, what the month's simulation lost against what was found, and what to look at."""
    console = console_for(stream)
    console.rule("1. One recorded hour of a real LiteLLM 1.109.1 proxy: 30 spend logs, 23 events")
    show_run(demo.recorded, stream)
    console.rule("2. A simulated month")
    show_run(demo.month, stream)
    console.rule("3. What the simulation really lost, and what the job found")
    table = Table()
    for heading in ("kind", "classes of loss"):
        table.add_column(heading)
    for heading in ("lost", "found", "tokens lost", "tokens found", ""):
        table.add_column(heading, justify="right")
    for item in demo.comparisons:
        agrees = (item.lost_rows, item.lost_tokens, item.wrong_places) == (
            item.found_rows,
            item.found_tokens,
            0,
        )
        counts = (item.lost_rows, item.found_rows, item.lost_tokens, item.found_tokens)
        table.add_row(
            item.kind,
            ", ".join(item.classes),
            *(f"{count:,}" for count in counts),
            Text("equal", "green") if agrees else Text(f"differs in {item.wrong_places} places", "red"),
        )
    console.print(table)
    console.print(
        "Equal means: the same rows and tokens in every subscription and model."
        if demo.finds_the_truth
        else Text("The job did not find what the simulation lost.", "bold red")
    )
    console.rule("4. The same month applied, with top-ups")
    if demo.applied.applied is not None:
        window, outcomes = demo.applied.run.window, demo.applied.applied.outcomes
        done = ", ".join(f"{count:,} {outcome.value}" for outcome, count in sorted(outcomes.items()))
        verified = demo.applied.applied.verified
        console.print(f"{window.start:%Y-%m-%d} to {window.end:%Y-%m-%d}: {done}; {verified:,} verified")
    left = demo.again.run.plan.events
    console.print(f"Lago bills {demo.billed:,f} tokens more; missing were {demo.due:,f}")
    console.print(f"A second run finds {left:,} events to send")
    if not demo.bills_each_once:
        console.print(Text("The backfill did not bring Lago's bill to what was used.", "bold red"))
    console.print()
    console.print(Text(f"Look at    {demo.month.folder}/report.html        the page, in a browser"))
    console.print(Text(f"           {demo.month.folder}/discrepancies.csv  every discrepancy, one row each"))
    console.print(Text(f"           {demo.month.folder}/summary.csv        the same per subscription and model"))


def _proof(applied: Applied) -> str:
    """Return what shows that what was sent is billed; empty where nothing was."""
    told = [f"{applied.counted:,} counted in Lago's current usage, in their buckets"] if applied.counted else []
    if applied.only_shown:
        told.append(f"{applied.only_shown:,} shown by Lago, which tells no current usage of them")
    return "; ".join(told)


def show_backfill(result: Backfill, stream: TextIO = sys.stdout) -> None:
    """Print the run; after an apply what is left, what was before it, and what became of the plan."""
    applied = result.applied
    if applied is None:
        show_run(result.run, stream)
        return
    outcomes = (
        ", ".join(f"{count:,} {outcome.value}" for outcome, count in sorted(applied.outcomes.items())) or "nothing"
    )
    before = "; ".join(reason.text for reason in result.run.reasons)
    lines = [
        f"Before      {f'NOT CERTIFIED: {before}' if before else 'CERTIFIED'}",
        f"Sent        {outcomes}; {applied.verified:,} verified ({result.run.folder}/outcomes.csv)",
        *([f"Proof       {proof}"] if (proof := _proof(applied)) else []),
        *(f"  ! {text}" for text in applied.troubles),
    ]
    show_run(result.left, stream, applied=lines)


def show_runs(runs: tuple[RunRecord, ...], stream: TextIO = sys.stdout) -> None:
    """Print the runs in the ledger."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("run", "command", "window", "outcome", "counts"):
        table.add_column(heading, no_wrap=heading != "counts")
    for run in runs:
        window, ended = run.started.window, run.ended
        counts = (
            "" if ended is None else ", ".join(f"{name} {count:,}" for name, count in ended.counts.items() if count)
        )
        table.add_row(
            run.started.run_id,
            run.started.command,
            "" if window is None else f"{window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M}",
            "did not end" if ended is None else ended.outcome,
            counts,
        )
    console_for(stream).print(table)


def show_run_detail(detail: RunDetail, events: Iterable[EventRecord], stream: TextIO = sys.stdout) -> None:
    """Print one run: its plans, how its events ended, and each event."""
    show_runs((detail.record,), stream)
    console = console_for(stream)
    for plan in detail.plans:
        console.print(Text(f"Plan   {plan.plan_hash}, {plan.intents:,} events written down, {visible(plan.path)}"))
    for check in detail.checks:
        console.print(Text(f"{'ok' if check.verified else 'NOT'}  {visible(check.subject)}: {visible(check.reason)}"))
    for record in events:
        event = record.event
        outcome = record.outcome.value if record.outcome else "not sent"
        seen = {True: "verified", False: f"not verified ({record.verification_reason})", None: "not looked for"}
        console.print(
            Text(
                visible(
                    f"{event.transaction_id}  {outcome}, {seen[record.verified]}: request {event.request_id} of "
                    f"{event.subscription}, {event.code} {event.part}, {event.quantity}. {record.outcome_reason}"
                )
            )
        )


def show_story(story: Story, stream: TextIO = sys.stdout) -> None:
    """Print one request's story, a line each."""
    console = console_for(stream)
    for line in story.lines:
        console.print(Text(visible(line)))


_STATUS_STYLES = {Status.PASS: "green", Status.WARN: "yellow", Status.FAIL: "bold red", Status.SKIPPED: "dim"}


def show_diagnosis(diagnosis: Diagnosis, stream: TextIO = sys.stdout) -> None:
    """Print every check by its group: how it ended, what was found, and under it what to do."""
    console = console_for(stream)
    for group, findings in groupby(diagnosis.findings, key=lambda finding: finding.check.group):
        console.print(Text(f"\n{group}", "bold"))
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(width=7)
        table.add_column(width=max(len(check.id) for check in CHECKS), no_wrap=True)
        table.add_column(ratio=1, overflow="fold")
        for finding in findings:
            status, found, remedy = finding.verdict
            said = Text(visible(found))
            if remedy:
                said.append(f"\n→ {visible(remedy)}", "bold")
            table.add_row(Text(status.value, _STATUS_STYLES[status]), finding.check.id, said)
        console.print(table)
    counts = ((status, diagnosis.count(status)) for status in Status)
    console.print()
    console.print(", ".join(f"{count} {_ENDED[status]}" for status, count in counts if count))


_ENDED = {Status.PASS: "passed", Status.WARN: "warned", Status.FAIL: "failed", Status.SKIPPED: "skipped"}


def show_configuration(configuration: Configuration, stream: TextIO = sys.stdout) -> None:
    """Print every setting with its value and origin, and what is wrong."""
    console = console_for(stream)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("setting", "variable", "value", "origin"):
        table.add_column(heading, no_wrap=heading in ("setting", "variable"), overflow="fold")
    for setting in configuration.settings:
        value = Text("" if setting.value is None else visible(setting.value))
        if setting.problem:
            value.append(f"\n→ {visible(setting.problem)}", "bold red")
        origin = Text(visible(setting.origin), "" if setting.origin not in ("default", "not set") else "dim")
        table.add_row(setting.name, setting.variable, value, origin)
    console.print(table)
    for problem in configuration.problems:
        console.print(Text(f"wrong: {visible(problem)}", "bold red"))
    for warning in configuration.warnings:
        console.print(Text(f"warning: {visible(warning)}", "yellow"))


_COUNTS = ("matched", *COUNTED)
_SYLLABLES = {
    "ambiguous": "ambi-\nguous",
    "mismatched": "mis-\nmatched",
    "misattributed": "misattri-\nbuted",
    "duplicated": "dupli-\ncated",
}


def _summary_table(run: Run, console: Console) -> Table:
    """Return the rows that matter most; kinds that the window has none of get no column.

    Headings are broken only where the console is too narrow for them whole.
    """
    whole = _summary_rows(run, {})
    # Measured as if there were no end to the line: within the console's own width it would always fit.
    needed = Measurement.get(console, console.options.update(width=_ANY_WIDTH), whole).maximum
    return whole if needed <= console.width else _summary_rows(run, _SYLLABLES)


def _summary_rows(run: Run, syllables: Mapping[str, str]) -> Table:
    totals = [_like_summary(row) for row in run.totals]
    kinds = [name for name in _COUNTS if name == "matched" or any(row[name] for row in totals)]
    table = Table(
        title="Events, where most is wrong by quantity", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("subscription", no_wrap=True)
    table.add_column("model", no_wrap=True)
    for heading in ("expected", "recorded", *(syllables.get(name, name) for name in kinds), "quantity\nmissing"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in map(_like_summary, run.summary[:_MOST_ROWS]):
        table.add_row(named(row["subscription"] or "(none)"), named(row["model"]), *_cells(row, kinds))
    table.add_section()
    for row in totals:
        table.add_row(Text("TOTAL"), named(row["code"]), *_cells(row, kinds), style="bold")
    return table


def _kinds(kinds: Mapping[str, int]) -> str:
    return ", ".join(kinds) if len(kinds) == 1 else ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())


def _like_summary(row: Mapping[str, Any]) -> dict[str, Any]:
    short = {name.removesuffix("_events"): count for name, count in row.items() if name.endswith("_events")}
    sides = {name: short.get(name, short.get(f"{name}_expected", 0)) for name in _COUNTS}
    return {**row, **sides}


def _cells(row: Mapping[str, Any], kinds: list[str]) -> list[str]:
    counts = [row["expected_events"], row["recorded_events"], *(row[name] for name in kinds)]
    quantity = row["missing_quantity"]
    return [
        *(f"{count:,}" if count else "·" for count in counts),
        "·" if quantity == "0" else f"{Decimal(quantity):,f}",
    ]


def _spend_log_line(spend_logs: tuple[Mapping[str, Any], ...]) -> Text:
    parts = [
        f"{row['spend_logs']:,} {row['disposition']}" + (f" ({row['reason']})" if row["reason"] else "")
        for row in spend_logs
    ]
    return Text("Spend logs  " + (", ".join(parts) or "none"))
