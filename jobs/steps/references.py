"""What the workspace's queries look things up in: models, payers, words, and how Lago bills."""

from __future__ import annotations

from collections.abc import Iterable

from jobs.adapters.workspace import Workspace
from jobs.core.lago.billing_rules import BillingRules, Span, bills_what_is_sent, pricing_of
from jobs.core.lago.values import Catalogue
from jobs.core.layout import Layout
from jobs.core.litellm.call_types import CALL_TYPES
from jobs.core.mapping import Match
from jobs.core.model_names import ModelNames, event_model
from jobs.core.rules import Rules
from jobs.core.sorts import DETAILS, NEXT_STEPS
from jobs.core.window import Window, naive


def load_references(
    workspace: Workspace,
    rules: Rules,
    layout: Layout,
    catalogue: Catalogue,
    unsendable: Iterable[str] = (),
    sent_before: Iterable[tuple[str, int]] = (),
) -> None:
    """Bring into the workspace what the queries look things up in; both sides have been loaded before."""
    workspace.insert("unsendable", ((identity,) for identity in unsendable))
    workspace.insert("sent_before", sent_before)
    workspace.insert("meter_part", layout.part_rows)
    load_accounting(workspace, rules, charge_by_place=layout.charge_by_place)
    names = ModelNames(dict(rules.aliases))
    workspace.map_rows(
        "daily_models",
        "daily_model",
        lambda model, provider: (model, provider, names.key(event_model(model or "", provider))),
    )
    workspace.insert("allowed", rules.allowed or ())
    workspace.insert("next_step", NEXT_STEPS)
    workspace.insert("detail_sort", ((detail, *sort) for detail, sort in DETAILS.items()))
    load_prices(workspace, catalogue)


def load_event_references(workspace: Workspace, rules: Rules, layout: Layout) -> None:
    """Bring into the workspace what its events are looked up in; they have been loaded before."""
    workspace.insert("metered_code", layout.code_rows)
    names = ModelNames(dict(rules.aliases))
    workspace.map_rows("listed_event_models", "model_name", lambda model: (model, names.key(model)))


def load_prices(workspace: Workspace, catalogue: Catalogue) -> None:
    """Bring into the workspace which plan charges which metric, and how."""
    workspace.insert(
        "metric", ((metric.code, metric.recurring, bills_what_is_sent(metric)) for metric in catalogue.metrics)
    )
    workspace.insert("plan", ((plan.code, plan.currency) for plan in catalogue.plans))
    charged = ((plan, code) for plan in catalogue.plans for code in {charge.metric_code for charge in plan.charges})
    priced = ((plan.code, code, pricing_of(plan, code)) for plan, code in charged)
    workspace.insert(
        "charge",
        ((plan, code, how.pay_in_advance, how.bills_periods, how.bills_amount) for plan, code, how in priced),
    )


def load_billing(workspace: Workspace, rules: Rules, catalogue: Catalogue, window: Window) -> None:
    """Bring in when Lago bills the subscriptions that something was read of, as far as the workspace lacks it."""
    billing, read = BillingRules(catalogue), rules.read_window(window)
    known = [name for name in workspace.texts("payers") if billing.has(name)]
    workspace.insert(
        "looking_back",
        (
            (name, place, one.row.plan_code, naive(one.until), naive(one.closes_at))
            for name in known
            for place, one in enumerate(billing.looking_back(name))
        ),
    )
    workspace.insert("billing_span", (_span_row(span) for name in known for span in billing.spans(name, read)))


def _span_row(span: Span) -> tuple[object, ...]:
    return (
        span.external_id,
        naive(span.start),
        naive(span.end),
        None if span.unbilled is None else span.unbilled.value,
        None if span.row is None else span.row.plan_code,
        span.state.value,
        naive(span.closes_at),
        naive(span.draft_until),
        span.is_invoiced,
        None if span.row is None else naive(span.row.created_at),
    )


def load_accounting(workspace: Workspace, rules: Rules, *, charge_by_place: int | None) -> None:
    """Bring into the workspace what tells who pays for a spend log, and the model it names; they have been loaded."""
    names = ModelNames(dict(rules.aliases))
    workspace.map_rows(
        "spend_log_models",
        "spend_log_model",
        lambda model, provider: (model, provider, sent := event_model(model, provider), names.key(sent)),
    )
    load_attribution(workspace, rules, charge_by_place=charge_by_place)
    workspace.insert("call_type", CALL_TYPES.items())


def load_attribution(workspace: Workspace, rules: Rules, *, charge_by_place: int | None) -> None:
    """Bring into the workspace who pays for which source value, where a mapping file says so; both sides are there."""
    workspace.insert("attribution", rules.mapping or ())
    if rules.patterns:
        workspace.run("find_sources", charge_by=rules.charge_by.value, charge_by_place=charge_by_place)
    for pattern in rules.patterns:
        workspace.run(
            "attribute_by_pattern",
            is_prefix=pattern.match is Match.PREFIX,
            pattern=pattern.source,
            subscription=pattern.subscription,
        )
