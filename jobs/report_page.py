"""From a judged workspace to the values of the report's page: what is shown, how much of it, in which words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any

from jobs.adapters.workspace import Workspace
from jobs.core.cause_texts import CAUSE_TEXTS
from jobs.core.causes import Explanation
from jobs.core.certification import Reason
from jobs.core.figures import counted, grouped, share, usd
from jobs.core.kinds import NEXT_STEPS, Cause, HoldReason, Kind, next_step
from jobs.core.page import (
    Backfilled,
    CauseCard,
    Cell,
    Column,
    Decision,
    Page,
    ReasonLine,
    Step,
    Table,
    Tile,
    TimeChart,
)
from jobs.core.window import Window
from jobs.matching import naive
from jobs.plan_files import PLAN_FILE
from jobs.planning import PlanSummary

PAGE_FILE = "report.html"

# The page stays small and quick whatever was found: the CSVs have every row.
_MOST_SUBSCRIPTIONS = 25
_MOST_MODELS = 300
_MOST_DECISIONS = 50
_MOST_DAYS = 50
_MOST_PLANNED = 50
_MOST_STEPS = 48
_LONGEST_NAME = 80
_STEPS = tuple(
    timedelta(minutes=minutes)
    for minutes in (1, 5, 15, 60, 180, 360, 720, 1440, 10_080, 40_320, 161_280, 645_120, 10_321_920)
)
_UNKNOWN_SPEND = "spend not known: no spend log"


@dataclass(frozen=True, slots=True)
class Findings:
    """What a run has concluded, besides what lies in its workspace."""

    window: Window
    reasons: tuple[Reason, ...]
    """Why it is not certified; empty if it is."""
    warnings: tuple[str, ...]
    spend_logs: tuple[Mapping[str, Any], ...]
    """Spend logs, tokens and spend by disposition and reason."""
    causes: tuple[Explanation, ...]
    plan: PlanSummary


def make_page(workspace: Workspace, found: Findings) -> Page:
    """Return what the page says; the causes have been found before."""
    codes = workspace.rows("page_codes")
    (money,) = workspace.rows("page_money")
    several = len(codes) > 1
    kinds = {kind.value for kind in Kind}
    return Page(
        window=_span(found.window),
        certified=not found.reasons,
        summary=_summary(codes, found),
        reasons=[_reason(reason) for reason in found.reasons],
        warnings=found.warnings,
        tiles=_tiles(codes, money, found.spend_logs),
        codes=_codes_table(codes) if several else None,
        subscriptions=_subscriptions_table(workspace.rows("page_subscriptions", most=_MOST_SUBSCRIPTIONS), several),
        times=_time_chart(workspace, str(codes[0]["code"]), found.window, several) if codes else None,
        models=_models_table(workspace.rows("page_models", most=_MOST_MODELS), several),
        causes=_cause_cards(found.causes),
        backfill=_backfill(found.plan),
        decisions=_decisions(workspace.rows("page_decisions", most=_MOST_DECISIONS), several),
        spend_logs=_spend_logs_table(found.spend_logs),
        source_reasons=[_reason(reason) for reason in found.reasons if reason.code not in kinds],
        daily=_daily_table(workspace.rows("page_daily_differences", most=_MOST_DAYS)),
    )


def _span(window: Window) -> str:
    start, end = _minute(window.start), _minute(window.end)
    if window.start.date() == window.end.date():
        end = end.partition(" ")[2]
    return f"{start} to {end} UTC"


def _minute(instant: datetime) -> str:
    if instant.microsecond:
        return f"{instant:%Y-%m-%d %H:%M:%S.%f}"
    return f"{instant:%Y-%m-%d %H:%M:%S}".removesuffix(":00").removesuffix(" 00:00")


def _reason(reason: Reason) -> ReasonLine:
    return ReasonLine(reason.text, reason.next_step)


def _summary(codes: Sequence[Mapping[str, Any]], found: Findings) -> str:
    expected = sum(row["expected_events"] for row in codes)
    matched = sum(row["matched_events"] for row in codes)
    if not expected and not any(row["recorded_events"] for row in codes):
        return "There are no expected and no recorded events in this window."
    if not found.reasons:
        return f"Every one of {counted(expected, 'expected event')} is recorded as it should be, and nothing else is."
    agreed = f"{grouped(matched)} of {counted(expected, 'expected event')} ({share(matched, expected)}) are recorded"
    return f"{agreed} as they should be."


def _tiles(
    codes: Sequence[Mapping[str, Any]], money: Mapping[str, Any], spend_logs: Sequence[Mapping[str, Any]]
) -> list[Tile]:
    if not codes:
        return []
    first, code = codes[0], str(codes[0]["code"])
    attributed = [row for row in spend_logs if row["disposition"] == "attributed"]
    requests = sum(row["spend_logs"] for row in attributed)
    spend = sum((Decimal(row["spend"]) for row in attributed), Decimal(0))
    short = first["short_events"]
    tiles = [
        Tile(
            "Expected",
            grouped(first["expected_quantity"]),
            code,
            [
                counted(first["expected_events"], "event"),
                f"{usd(spend)} spent on {counted(requests, 'request')}",
            ],
        ),
        Tile(
            "Recorded and agreed",
            grouped(first["matched_quantity"]),
            code,
            [
                f"{share(first['matched_quantity'], first['expected_quantity'])} of expected",
                f"{usd(max(spend - Decimal(money['not_agreed']), Decimal(0)))} spent on them",
                f"{grouped(first['recorded_quantity'])} recorded in all, {counted(first['recorded_events'], 'event')}",
            ],
        ),
        Tile(
            "Missing",
            grouped(first["missing_quantity"]),
            code,
            [
                counted(first["missing_events"], "event")
                + (f", and {grouped(short)} billed too little" if short else ""),
                f"{usd(money['missing'])} spent on them",
            ],
            "missing" if Decimal(first["missing_quantity"]) else "",
        ),
        Tile(
            "Too much",
            grouped(first["surplus_quantity"]),
            code,
            [counted(first["surplus_events"], "event"), *([_UNKNOWN_SPEND] if first["surplus_events"] else [])],
            "surplus" if Decimal(first["surplus_quantity"]) else "",
        ),
    ]
    if first["elsewhere_events"]:
        tiles.append(
            Tile(
                "Elsewhere",
                grouped(first["elsewhere_quantity"]),
                code,
                [
                    f"{counted(first['elsewhere_events'], 'event')} under another subscription",
                    f"{usd(money['elsewhere'])} spent on them",
                ],
                "missing",
            )
        )
    return tiles


def _number(text: object, shown: str | None = None) -> Cell:
    return Cell(grouped(str(text)) if shown is None else shown, str(text))


def _text(text: object) -> Cell:
    name = str(text) or "(none)"
    return Cell(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}… ({len(name)} characters)")


def _codes_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    names = {
        "expected_events": "expected events",
        "matched_events": "agreed events",
        "expected_quantity": "expected",
        "matched_quantity": "agreed",
        "missing_quantity": "missing",
        "surplus_quantity": "too much",
        "elsewhere_quantity": "elsewhere",
    }
    return Table(
        "codes",
        "The same per billable metric.",
        [Column("code"), *(Column(title, is_number=True) for title in names.values())],
        [[_text(row["code"]), *(_number(row[name]) for name in names)] for row in rows],
        len(rows),
        "summary.csv",
    )


def _subscriptions_table(rows: Sequence[Mapping[str, Any]], several: bool) -> Table:
    names = {
        "expected_quantity": "expected",
        "matched_quantity": "agreed",
        "missing_quantity": "missing",
        "elsewhere_quantity": "elsewhere",
        "surplus_quantity": "too much",
        "expected_events": "expected events",
        "recorded_events": "recorded events",
    }
    shown = {name: title for name, title in names.items() if name != "elsewhere_quantity" or _any(rows, name)}
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
                _text(row["subscription"]),
                *([_text(row["code"])] if several else []),
                _capture(row),
                *(_number(row[name]) for name in shown),
            ]
            for row in rows
        ],
        _listed(rows),
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


def _any(rows: Iterable[Mapping[str, Any]], name: str) -> bool:
    return any(Decimal(row[name]) for row in rows)


def _listed(rows: Sequence[Mapping[str, Any]]) -> int:
    return int(rows[0]["listed"]) if rows else 0


def _models_table(rows: Sequence[Mapping[str, Any]], several: bool) -> Table:
    kinds = ("missing", "held", "ambiguous", "mismatched", "misattributed", "duplicated", "orphaned")
    shown = [kind for kind in kinds if any(row[kind] for row in rows)]
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
                _text(row["subscription"]),
                _text(row["model"]),
                *([_text(row["code"])] if several else []),
                *(_number(row[name]) for name in (*quantities, *gross)),
                *(_number(row[name]) for name in ("expected_events", "recorded_events", "matched", *shown)),
            ]
            for row in rows
        ],
        _listed(rows),
        "summary.csv",
    )


def _time_chart(workspace: Workspace, code: str, window: Window, several: bool) -> TimeChart | None:
    length = window.end - window.start
    step = next((step for step in _STEPS if length <= _MOST_STEPS * step), _STEPS[-1])
    start = naive(window.start)
    start_us = (window.start - datetime.fromtimestamp(0, window.start.tzinfo)) // timedelta(microseconds=1)
    rows = {
        row["step"]: row
        for row in workspace.rows("page_times", code=code, start_us=start_us, step_us=step // timedelta(microseconds=1))
    }
    if start is None or not rows:
        return None
    count = -(-length // step)
    nothing = {"missing_events": 0, "missing_quantity": "0", "surplus_events": 0, "surplus_quantity": "0"}
    told = [(start + number * step, rows.get(number, nothing)) for number in range(count)]
    days, one_day = step >= timedelta(days=1), length <= timedelta(days=1)
    return TimeChart(
        title="Missing and too much over time" + (f", {code}" if several else ""),
        step=_words(step),
        steps=[
            Step(
                f"{at:%-d %b}" if days else f"{at:%H:%M}" if one_day else f"{at:%-d %b %H:%M}",
                int(Decimal(row["missing_quantity"])),
                int(Decimal(row["surplus_quantity"])),
            )
            for at, row in told
        ],
        table=Table(
            "times",
            f"What is missing and too much per {_words(step)}, by the end of the call or the event's own time (UTC).",
            [
                Column("from"),
                *(
                    Column(title, is_number=True)
                    for title in ("missing", "missing events", "too much", "events too much")
                ),
            ],
            [[Cell(f"{at:%Y-%m-%d %H:%M}"), *(_number(row[name]) for name in _TIME_NAMES)] for at, row in told],
            len(told),
            "discrepancies.csv",
        ),
    )


_TIME_NAMES = ("missing_quantity", "missing_events", "surplus_quantity", "surplus_events")


def _words(step: timedelta) -> str:
    for length, name in ((timedelta(days=7), "week"), (timedelta(days=1), "day"), (timedelta(hours=1), "hour")):
        if step >= length and step % length == timedelta(0):
            return name if step == length else f"{step // length} {name}s"
    minutes = step // timedelta(minutes=1)
    return "minute" if minutes == 1 else f"{minutes} minutes"


def _cause_cards(causes: tuple[Explanation, ...]) -> list[CauseCard]:
    whole = sum(item.events for item in causes)
    return [
        CauseCard(
            title=item.title,
            events=", ".join(f"{count:,} {kind}" for kind, count in item.kinds.items()),
            amounts=[
                *(f"{grouped(amount)} {code} missing" for code, amount in item.missing.items()),
                *(f"{grouped(amount)} {code} too much" for code, amount in item.surplus.items()),
                *([f"{usd(item.spend)} spent on these requests"] if item.spend else []),
                *([counted(item.subscription_count, "subscription")] if item.subscription_count else []),
            ],
            statement=item.statement,
            next_step=item.next_step,
            share=max(1, 100 * item.events // whole),
        )
        for item in causes
    ]


def _backfill(plan: PlanSummary) -> Backfilled:
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
                    _text(total.subscription),
                    _text(total.code),
                    _number(total.events),
                    _number(f"{total.quantity:f}"),
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
        _backfill(plan).table,
    )


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
_STEPS_BY_SORT = {(step.kind, step.reason, step.detail): step.text for step in NEXT_STEPS}


# What sending cannot mend comes first, what only a caller can change last.
_DECISION_ORDER = (
    Kind.AMBIGUOUS,
    Kind.MISMATCHED,
    Kind.MISATTRIBUTED,
    Kind.HELD,
    Kind.DUPLICATED,
    Kind.ORPHANED,
    Kind.UNATTRIBUTED,
)


def _decisions(rows: Sequence[Mapping[str, Any]], several: bool) -> list[Decision]:
    sorts = [
        (sort, list(members))
        for sort, members in groupby(rows, key=lambda row: (row["kind"], row["reason"], row["detail"]))
    ]
    ordered = sorted(sorts, key=lambda item: _DECISION_ORDER.index(Kind(item[0][0])))
    return [_decision(number, *sort, members, several) for number, (sort, members) in enumerate(ordered, start=1)]


def _decision(
    number: int, kind: str, reason: str, detail: str, rows: Sequence[Mapping[str, Any]], several: bool
) -> Decision:
    sort = Kind(kind), HoldReason(reason) if reason else None
    always = {"recorded_subscription"} if sort[0] is Kind.MISATTRIBUTED else set()
    never = {*(() if several else ("code",)), *(() if sort[0] is Kind.UNATTRIBUTED else ("tokens",))}
    names = [
        name
        for name in _DECISION_COLUMNS
        if name in always or (name not in never and any(row[name] not in {None, ""} for row in rows))
    ]
    title = ": ".join(part for part in (kind, reason.replace("_", " ")) if part)
    return Decision(
        kind,
        f"{title} ({grouped(_listed(rows))})",
        _STEPS_BY_SORT.get((*sort, detail)) or next_step(*sort),
        Table(
            f"decision-{number}",
            f"{detail[:1].upper()}{detail[1:]}." if detail else "Those with the most quantity.",
            [_DECISION_COLUMNS[name] for name in names],
            [[_decision_cell(name, row[name]) for name in names] for row in rows],
            _listed(rows),
            "discrepancies.csv",
        ),
    )


def _decision_cell(name: str, value: Any) -> Cell:
    if name == "time":
        return Cell("" if value is None else f"{value:%Y-%m-%d %H:%M:%S}")
    if name == "spend":
        return Cell("") if value == "" else _number(value, usd(value))
    if name == "cause":
        return Cell("" if value is None else CAUSE_TEXTS[Cause(value)].title)
    if _DECISION_COLUMNS[name].is_number:
        return Cell("") if value in {None, ""} else _number(value)
    if name in {"subscription", "recorded_subscription"}:
        return _text(value)
    return Cell(str(value)) if _DECISION_COLUMNS[name].is_id or not value else _text(value)


def _spend_logs_table(rows: Sequence[Mapping[str, Any]]) -> Table:
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
                *(_number(row[name]) for name in names),
                _number(row["spend"], usd(row["spend"])),
            ]
            for row in rows
        ],
        len(rows),
        "run.json",
    )


def _daily_table(rows: Sequence[Mapping[str, Any]]) -> Table | None:
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
            [Cell(row["day"]), _text(row["source"]), _text(row["model"]), *(_number(row[name]) for name in names)]
            for row in rows
        ],
        _listed(rows),
        "daily.csv",
    )
