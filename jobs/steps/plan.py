"""From judged events to a plan file: what would be sent, in a fixed order, to the byte."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from typing import Any

import orjson

from jobs import __version__
from jobs.adapters.run_folder import RunFolder
from jobs.adapters.workspace import Workspace
from jobs.core.caps import Caps, PlanFilter, PlanTotal, amount_exceeded, caps_exceeded
from jobs.core.figures import plain
from jobs.core.lago.billing_rules import BillingRules
from jobs.core.lago.values import Catalogue
from jobs.core.layout import Layout
from jobs.core.meters import AMOUNT, LITERAL, METADATA, TOP_UP, BoundPart, Properties
from jobs.core.model_names import ModelNames
from jobs.core.money.amounts import main_unit
from jobs.core.money.carried import CarriedAmounts
from jobs.core.money.statement import Money, with_carried
from jobs.core.plan import FORMAT, PlannedEvent, content_hash, event_line
from jobs.core.rules import Rules
from jobs.core.window import Window
from jobs.errors import LawBrokenError
from jobs.steps.plan_files import PLAN_FILE


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """What a plan holds, for the caller to show and decide on."""

    sha256: str
    """The plan's hash."""
    events: int
    """Events it would send."""
    totals: tuple[PlanTotal, ...]
    """Per subscription and code."""
    worth: Money
    """What Lago would bill more."""
    exceeded: tuple[str, ...]
    """The caps it exceeds, one sentence each; it may be applied only if there is none."""


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """Which plan is wanted."""

    window: Window
    """What was judged."""
    rules: Rules
    """By which rules."""
    caps: Caps
    """The most the plan may hold to be applied."""
    only: PlanFilter
    """Which part of what is missing goes into it."""


@dataclass(frozen=True, slots=True)
class Writing:
    """How an event is written: what its properties are, and how Lago spells them."""

    layout: Layout
    """Where the spend logs' texts stand."""
    bound: tuple[BoundPart, ...]
    """The meter's parts, each with its metric."""
    catalogue: Catalogue
    """What Lago's metrics declare."""


def choose_events(workspace: Workspace, asked: PlanRequest) -> None:
    """Make the table `planned_event`; raise `LawBrokenError` where one of them has an answer that nothing explains."""
    workspace.run("plan_events", top_up=asked.rules.top_up, **_chosen(asked))
    for row in workspace.rows("second_answers"):
        raise LawBrokenError(
            f"the event planned for request {row['request_id']!r} has an answer that no other call explains, "
            f"{row['recorded_id']!r}"
        )


def _chosen(asked: PlanRequest) -> dict[str, list[str]]:
    chosen = {"subscriptions": asked.only.subscriptions, "models": asked.only.models, "codes": asked.only.codes}
    return {name: list(values) for name, values in chosen.items()}


def plan_worth(worth: Money) -> dict[str, object]:
    """Return what a plan would bill as its header tells it: amounts in the main unit by currency.

    `carried` is the sum of what the events say they cost, and `at_most` what Lago can make of it.
    """
    told = worth.document()
    return {
        "amounts": told["missing"],
        "unpriced_buckets": told["unpriced_buckets"],
        "carried": {currency: plain(amount) for currency, amount in worth.carried.items()},
        "at_most": {currency: main_unit(amount, currency) for currency, amount in worth.at_most.items()},
    }


def write_plan(
    workspace: Workspace, folder: RunFolder, asked: PlanRequest, writing: Writing, worth: Money
) -> PlanSummary:
    """Write the chosen events as `plan.jsonl` into the run's folder; raise `LawBrokenError` where two share an id.

    `worth` is what Lago would bill more by its prices; what the events' own amounts bill is added to it.
    """
    totals = tuple(_total(row) for row in workspace.rows("plan_totals"))
    parts = {(item.part.code, item.part.part): item for item in writing.bound}
    spellings = model_spellings(writing.bound, writing.catalogue, ModelNames(dict(asked.rules.aliases)))
    events = (
        planned_event(row, parts[row["code"], row["part"]], writing.layout, spellings)
        for row in workspace.records("planned_events")
    )
    body = folder.scratch / "plan-events"
    amounts = CarriedAmounts(BillingRules(writing.catalogue), writing.bound)
    with body.open("wb") as file:
        for event in events:
            amounts.add(event)
            file.write(event_line(event) + b"\n")
    worth = with_carried(worth, amounts.total())
    header: dict[str, Any] = {
        "format": FORMAT,
        "sha256": "",
        "code_version": __version__,
        "window": {"start": asked.window.start.isoformat(), "end": asked.window.end.isoformat()},
        "rules": asked.rules.fingerprint(),
        "caps": {"events": asked.caps.events, "quantity": str(asked.caps.quantity), "share": str(asked.caps.share)},
        "only": _chosen(asked),
        "worth": plan_worth(worth),
        "events": sum(total.events for total in totals),
    }
    with body.open("rb") as lines:
        header["sha256"] = content_hash(header, (line.removesuffix(b"\n") for line in lines))
    with body.open("rb") as lines:
        folder.write_lines(PLAN_FILE, chain([orjson.dumps(header) + b"\n"], lines))
    exceeded = (*caps_exceeded(totals, asked.caps), *amount_exceeded(header["worth"], asked.caps))
    return PlanSummary(header["sha256"], header["events"], totals, worth, exceeded)


def _total(row: Mapping[str, Any]) -> PlanTotal:
    if row["repeats_ids"]:
        raise LawBrokenError(f"two planned events of subscription {row['subscription']!r} share a transaction id")
    return PlanTotal(
        row["subscription"],
        row["code"],
        row["events"],
        Decimal(row["quantity"]),
        row["expected_events"],
        Decimal(row["expected_quantity"]),
    )


def model_spellings(
    bound: Iterable[BoundPart], catalogue: Catalogue, names: ModelNames
) -> Mapping[tuple[str, str], str]:
    """Return by (code, model key) the spelling that the metric's filter declares: Lago prices by that text only."""
    filters = {metric.code: dict(metric.filters) for metric in catalogue.metrics}
    return {
        (item.part.code, names.key(value)): value
        for item in bound
        for name, source in item.part.dimensions
        if source == "model"
        for value in reversed(filters.get(item.part.code, {}).get(name, ()))
    }


def planned_event(
    row: Mapping[str, Any], bound: BoundPart, layout: Layout, spellings: Mapping[tuple[str, str], str]
) -> PlannedEvent:
    """Return the event that this row of `planned_events` makes; a top-up carries only what it adds.

    `spellings` tells by (code, model key) how Lago's metric writes a model.
    """
    part = bound.part
    row = {**row, "model": spellings.get((part.code, row["model_key"]), row["model"]), AMOUNT: None}
    amount = ""
    # The amount of a part of an event is nobody's to say.
    if part.amount is not None and row["cost"] is not None and not row["is_top_up"]:
        cost = Decimal(row["cost"])
        amount = plain(part.amount.smallest_unit(cost))
        row[AMOUNT] = plain(part.amount.main_unit(cost))
    if row["is_top_up"]:
        properties = [*_texts(part.dimensions, row, layout), (str(bound.billed), str(row["quantity"]))]
    else:
        properties = _texts(part.dimensions + part.quantities + part.carried, row, layout)
    return PlannedEvent(
        transaction_id=row["transaction_id"],
        subscription=row["subscription"],
        code=row["code"],
        part=part.part + (TOP_UP if row["is_top_up"] else ""),
        request_id=row["request_id"],
        timestamp=str(Decimal(row["time_ms"]).scaleb(-3)),
        properties=tuple(properties),
        quantity=row["quantity"],
        model=row["model_key"],
        spend=_text(row["spend"]) or "",
        amount="" if amount == "0" else amount,
    )


def _texts(properties: Properties, row: Mapping[str, Any], layout: Layout) -> list[tuple[str, str]]:
    """Return the properties that the spend log has a value for; Lago's filters match texts only."""
    found = ((name, _text(_value(source, row, layout))) for name, source in properties)
    return [(name, text) for name, text in found if text is not None]


def _value(source: str, row: Mapping[str, Any], layout: Layout) -> object:
    if source.startswith(LITERAL):
        return source.removeprefix(LITERAL)
    if source.startswith(METADATA):
        extras = row["extras"]
        return None if extras is None else extras[layout.metadata_paths.index(source.removeprefix(METADATA))]
    return row[source]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
