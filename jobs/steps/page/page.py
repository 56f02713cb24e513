"""The whole page, and what stands on it first: the statement, the sums, the causes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from jobs.adapters.workspace import Workspace
from jobs.core.certification import Reason
from jobs.core.figures import counted, grouped, share, usd
from jobs.core.kinds import Cause, Kind
from jobs.core.money.statement import BEFORE, Money
from jobs.core.patterns import Explanation
from jobs.core.telling.page import CauseCard, ReasonLine, ReportPage, Tile
from jobs.core.window import Window
from jobs.steps.page.decisions import decision_tables
from jobs.steps.page.sending import planned_backfill
from jobs.steps.page.tables import codes_table, daily_table, models_table, spend_logs_table, subscriptions_table
from jobs.steps.page.times import time_chart
from jobs.steps.plan import PlanSummary

PAGE_FILE = "report.html"
# The page stays small and quick whatever was found: the CSVs have every row.
_MOST_SUBSCRIPTIONS = 25
_MOST_MODELS = 300
_MOST_DECISIONS = 50
_MOST_DAYS = 50
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
    money: Money
    """What the discrepancies are worth."""


def make_page(workspace: Workspace, found: Findings) -> ReportPage:
    """Return what the page says; the causes have been found before."""
    codes = workspace.rows("page_codes")
    (money,) = workspace.rows("page_money")
    several = len(codes) > 1
    kinds = {kind.value for kind in Kind}
    return ReportPage(
        window=_span(found.window),
        certified=not found.reasons,
        summary=_summary(codes, found),
        money=found.money.headline,
        money_notes=[*([BEFORE] if found.money.missing or found.money.surplus else []), *found.money.reasons],
        reasons=[_reason(reason) for reason in found.reasons],
        warnings=found.warnings,
        tiles=_tiles(codes, money, found.spend_logs),
        codes=codes_table(codes) if several else None,
        subscriptions=subscriptions_table(workspace.rows("page_subscriptions", most=_MOST_SUBSCRIPTIONS), several),
        times=time_chart(workspace, str(codes[0]["code"]), found.window, several) if codes else None,
        models=models_table(workspace.rows("page_models", most=_MOST_MODELS), several),
        causes=_cause_cards(found.causes),
        backfill=planned_backfill(found.plan),
        decisions=decision_tables(workspace.rows("page_decisions", most=_MOST_DECISIONS), several),
        spend_logs=spend_logs_table(found.spend_logs),
        source_reasons=[_reason(reason) for reason in found.reasons if reason.code not in kinds],
        daily=daily_table(workspace.rows("page_daily_differences", most=_MOST_DAYS)),
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
        return f"Every one of {counted(expected, 'expected event')} is billed as it should be, and nothing else is."
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
    if first["unbilled_events"]:
        tiles.append(
            Tile(
                "Recorded, not billed",
                grouped(first["unbilled_quantity"]),
                code,
                [f"{counted(first['unbilled_events'], 'event')} that Lago has and does not bill"],
                "missing",
            )
        )
    return tiles


def _cause_cards(causes: tuple[Explanation, ...]) -> list[CauseCard]:
    whole = sum(item.events for item in causes)
    return [
        CauseCard(
            title=item.title,
            events=", ".join(f"{count:,} {kind}" for kind, count in item.kinds.items()),
            amounts=[
                *(
                    f"{grouped(amount)} {code} {'not billed' if item.cause is Cause.NOT_BILLED else 'missing'}"
                    for code, amount in item.missing.items()
                ),
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
