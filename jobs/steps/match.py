"""From two loaded sides to judged events: the order in which the workspace's queries run.

What each step means stands in the query's own file under `sql/`; the exact assignment is `jobs/core/assignment.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from jobs.adapters.workspace import Workspace
from jobs.core.kinds import ChargeBy
from jobs.core.lago.billing_rules import BillingRules, Span, bills_what_is_sent, pricing_of
from jobs.core.lago.values import Catalogue
from jobs.core.layout import Layout
from jobs.core.litellm.call_types import CALL_TYPES, RESPONSE_MAKERS
from jobs.core.mapping import Match
from jobs.core.model_names import ModelNames, event_model
from jobs.core.rules import Rules
from jobs.core.sorts import DETAILS, NEXT_STEPS
from jobs.core.window import Window
from jobs.core.window_facts import FOREIGN_ONE_IN, SENT_TWICE_WITHIN, WindowFacts, zone_offset

_MICROSECOND = timedelta(microseconds=1)


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
    workspace.insert("metered_code", layout.code_rows)
    load_accounting(workspace, rules, charge_by_place=layout.charge_by_place)
    names = ModelNames(dict(rules.aliases))
    workspace.map_rows("listed_event_models", "model_name", lambda model: (model, names.key(model)))
    workspace.map_rows(
        "daily_models",
        "daily_model",
        lambda model, provider: (model, provider, names.key(event_model(model or "", provider))),
    )
    workspace.insert("allowed", rules.allowed or ())
    workspace.insert("next_step", NEXT_STEPS)
    workspace.insert("detail_sort", ((detail, *sort) for detail, sort in DETAILS.items()))
    load_prices(workspace, catalogue)


def load_prices(workspace: Workspace, catalogue: Catalogue) -> None:
    """Bring into the workspace which plan charges which metric, and how."""
    workspace.insert(
        "metric", ((metric.code, metric.recurring, bills_what_is_sent(metric)) for metric in catalogue.metrics)
    )
    workspace.insert("plan", ((plan.code,) for plan in catalogue.plans))
    charged = ((plan, code) for plan in catalogue.plans for code in {charge.metric_code for charge in plan.charges})
    priced = ((plan.code, code, pricing_of(plan, code)) for plan, code in charged)
    workspace.insert("charge", ((plan, code, how.pay_in_advance, how.needs_amount) for plan, code, how in priced))


def load_billing(workspace: Workspace, rules: Rules, catalogue: Catalogue, window: Window) -> None:
    """Bring in when Lago bills the subscriptions that something was read of, as far as the workspace lacks it."""
    billing, read = BillingRules(catalogue), rules.read_window(window)
    known = [name for name in workspace.texts("payers") if billing.has(name)]
    latest = ((name, billing.latest(name)) for name in known)
    workspace.insert("latest_row", ((name, row.plan_code, naive(row.terminated_at)) for name, row in latest if row))
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
    )


def load_accounting(workspace: Workspace, rules: Rules, *, charge_by_place: int | None) -> None:
    """Bring into the workspace what tells who pays for a spend log, and the model it names; they have been loaded."""
    names = ModelNames(dict(rules.aliases))
    workspace.map_rows(
        "spend_log_models",
        "spend_log_model",
        lambda model, provider: (model, provider, sent := event_model(model, provider), names.key(sent)),
    )
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
    workspace.insert("call_type", CALL_TYPES.items())


def account(
    workspace: Workspace,
    rules: Rules,
    window: Window,
    *,
    charge_by_place: int | None,
    bills_spend: bool,
    ids_are_unique: bool = False,
    excludes_internal_calls: bool = False,
) -> None:
    """Decide who pays for each spend log, or why it takes no part: one rule for reconciling and for usage reports.

    `charge_by_place` says where in `extras` the value stands that attributes, if it comes from the metadata;
    `bills_spend` that a cost which cannot be billed excludes its spend log, `ids_are_unique` that no request id can
    stand twice, so that none has to be looked for, `excludes_internal_calls` that no event will tell which of the
    gateway's own calls are billed, so that all are excluded.
    """
    payer = {
        "charge_by": rules.charge_by.value,
        "charge_by_place": charge_by_place,
        "has_attribution_file": rules.mapping is not None,
    }
    workspace.run("judge_readings", **payer, response_makers=list(RESPONSE_MAKERS))
    workspace.run("note_readings_by_others")
    workspace.run(
        "account_spend_logs",
        **payer,
        bill_cache_hits=rules.bill_cache_hits,
        bills_spend=bills_spend,
        ids_are_unique=ids_are_unique,
        excludes_internal_calls=excludes_internal_calls,
        start=naive(window.start),
        end=naive(window.end),
    )


def match_within(
    workspace: Workspace,
    rules: Rules,
    layout: Layout,
    catalogue: Catalogue,
    window: Window,
    *,
    may_pin_end_users: bool,
    ids_are_unique: bool = False,
    read_marks: Callable[[str], None] = lambda _: None,
) -> None:
    """Account for every spend log, meter it, pair what agrees within one subscription, and tally what was read.

    Nothing here looks beyond one subscription, so shards of the subscriptions can do it apart. `ids_are_unique` says
    that no request id can stand twice, `may_pin_end_users` that this LiteLLM may log a wrong end user for a key;
    `read_marks` brings in what the metadata tells of the spend logs that the query of this name lists.
    """
    edges = {"start": naive(window.start), "end": naive(window.end)}
    account(
        workspace,
        rules,
        window,
        charge_by_place=layout.charge_by_place,
        bills_spend=layout.bills_spend,
        ids_are_unique=ids_are_unique,
    )
    workspace.run("meter_spend_logs", counts_spend=layout.counts_spend, compares_texts=layout.compares_texts)
    workspace.run(
        "normalise_listed_events",
        collapses_duplicates=catalogue.organization.event_store == "clickhouse",
        **edges,
    )
    workspace.run("drop_listed_events")
    load_billing(workspace, rules, catalogue, window)
    workspace.run("judge_billing")
    (own,) = workspace.rows("has_own_events")
    if own["has_own_events"]:
        workspace.run("add_top_ups")
        workspace.run("reduce_topped_up")
    if own["has_own_events"] or rules.id_template is not None:
        workspace.run("pair_by_transaction_id")
    read_edges = _read_edges(rules, window)
    if own["has_own_events"]:
        workspace.pair_by_time("topped_up", "candidates_topped_up", rules.tolerance, read_edges)
    workspace.run("find_contents")
    workspace.run("pair_single_events", early_us=rules.tolerance.early_us, late_us=rules.tolerance.late_us)
    workspace.pair_by_time("content", "candidates_by_content", rules.tolerance, read_edges)
    workspace.run("mark_open_chains", **read_edges)
    _set_internal_calls_apart(workspace, rules, window, read_marks)
    _tally_days(workspace, window, read_marks)
    _tally(workspace, window, may_pin_end_users=may_pin_end_users and rules.charge_by is ChargeBy.END_USER_ID)


def _set_internal_calls_apart(
    workspace: Workspace, rules: Rules, window: Window, read_marks: Callable[[str], None]
) -> None:
    """Ask the metadata of what is left over, and exclude the gateway's own calls for which Lago has no event."""
    tolerance, read_edges = rules.tolerance, _read_edges(rules, window)
    workspace.run("find_alike_calls", early_us=tolerance.early_us, late_us=tolerance.late_us)
    read_marks("ask_about_left_over")
    (marks,) = workspace.rows("has_internal_calls")
    if marks["has_internal_calls"]:
        workspace.run("yield_pairs")
        for is_internal in (False, True):
            workspace.pair_by_time("content", "candidates_contested", tolerance, read_edges, is_internal=is_internal)
        _find_answered_internal_calls(workspace, rules, window)
        workspace.run("exclude_internal_calls")


def _find_answered_internal_calls(workspace: Workspace, rules: Rules, window: Window) -> None:
    """Find the gateway's own calls whose event came late, or counts otherwise, once the callers' calls have theirs.

    The stages are played for this alone: what they pair is taken back, and those found take part when they are run.
    """
    workspace.run("clear_answered_calls")
    (open_calls,) = workspace.rows("has_answerable_calls")
    # No end user stands in the body of a gateway's own call, so by end user nobody sends an event for one.
    if rules.charge_by is ChargeBy.END_USER_ID or not open_calls["has_answerable_calls"]:
        return
    workspace.run("find_unmatched")
    for takes_turn in ("leave_callers_calls", "leave_internal_calls"):
        workspace.run(takes_turn)
        _find_late_answers(workspace, rules, window)
        _pair_late_and_near(workspace, rules, window, zone=timedelta())
    workspace.run("keep_answered_calls")


def judge_left_over(
    workspace: Workspace,
    rules: Rules,
    catalogue: Catalogue,
    window: Window,
    now: datetime,
    *,
    may_pin_end_users: bool,
) -> WindowFacts:
    """Match what is left over across subscriptions, give each event of the window its kind, and collect discrepancies.

    `may_pin_end_users` says that this LiteLLM may log a wrong end user for keys that several users share.
    """
    workspace.run("find_unmatched")
    load_billing(workspace, rules, catalogue, window)
    zone = _match_beyond(workspace, rules, window)
    (late,) = workspace.rows("late_facts")
    longest_delay = late["longest_us"] * _MICROSECOND
    read = rules.read_window(window)
    pins = may_pin_end_users and rules.charge_by is ChargeBy.END_USER_ID
    workspace.run("find_pinned_keys", may_pin_end_users=pins, one_in=FOREIGN_ONE_IN)
    workspace.run(
        "guard_expected_events",
        charge_by=rules.charge_by.value,
        send_closed_periods=rules.send_closed_periods,
        allow_pay_in_advance=rules.allow_pay_in_advance,
        has_allowed_file=rules.allowed is not None,
        may_pin_end_users=pins,
        send_unproven_keys=rules.send_unproven_keys,
        proven_from=rules.proven_from,
        read_start=naive(read.start),
        read_end=naive(read.end),
        settled_until=naive(now - rules.settlement_lag),
        overtaken_until=naive(now - longest_delay),
        early_us=rules.tolerance.early_us,
        late_us=rules.tolerance.late_us,
        twin_within_us=SENT_TWICE_WITHIN // _MICROSECOND,
    )
    workspace.run("find_top_ups")
    workspace.run("judge_expected_events")
    workspace.run("judge_recorded_events", twin_within_us=SENT_TWICE_WITHIN // timedelta(microseconds=1))
    workspace.run("collect_discrepancies")
    workspace.run("summarise")
    (daily,) = workspace.rows("has_daily_totals")
    workspace.run("compare_daily_totals", compares=daily["has_daily_totals"])
    (unproven,) = workspace.rows("count_unproven")
    return WindowFacts(
        zone=zone,
        late_events=late["late_events"],
        longest_delay=longest_delay,
        unproven_calls=unproven["calls"],
        unproven_keys=unproven["api_keys"],
        unproven_tokens=unproven["tokens"],
    )


def _match_beyond(workspace: Workspace, rules: Rules, window: Window) -> timedelta:
    """Run the stages that see what did not match within its subscription: elsewhere, late, near.

    Return by how much times are off, as a time zone is; zero where no such offset prevails.
    """
    edges, tolerance = _read_edges(rules, window), rules.tolerance
    reach = {"early_us": tolerance.early_us, "late_us": tolerance.late_us}
    workspace.pair_by_time("elsewhere", "candidates_elsewhere", tolerance, edges)
    _find_late_answers(workspace, rules, window)
    middle = (tolerance.late_us - tolerance.early_us) // 2
    zone = zone_offset(workspace.rows("late_offsets", middle_us=middle, **reach))
    _pair_late_and_near(workspace, rules, window, zone)
    return zone


def _find_late_answers(workspace: Workspace, rules: Rules, window: Window) -> None:
    read = rules.read_window(window)
    workspace.run(
        "find_late_answers",
        read_start=naive(read.start),
        read_end=naive(read.end),
        twin_within_us=SENT_TWICE_WITHIN // timedelta(microseconds=1),
        early_us=rules.tolerance.early_us,
        late_us=rules.tolerance.late_us,
    )


def _pair_late_and_near(workspace: Workspace, rules: Rules, window: Window, zone: timedelta) -> None:
    """Pair what came late and was found, and what is evidently one call though its counts differ."""
    edges, tolerance = _read_edges(rules, window), rules.tolerance
    workspace.run("pair_late", late_us=tolerance.late_us, early_us=tolerance.early_us, zone_us=zone // _MICROSECOND)
    (counted,) = workspace.rows("count_quantities")
    for place in range(1, counted["quantities"] + 1):
        workspace.pair_by_time("near", "candidates_near_count", tolerance, edges, place=place)
        workspace.run("mark_even_islands")
    workspace.pair_by_time("near", "candidates_near_bare", tolerance, edges)
    workspace.run("mark_even_islands")


def _tally_days(workspace: Workspace, window: Window, read_marks: Callable[[str], None]) -> None:
    """Add up what LiteLLM's daily totals are compared with, and where they differ, ask for the gateway's own calls."""
    first_day, day_after = whole_days(window)
    days = {"first_day": naive(first_day), "day_after": naive(day_after)}
    workspace.run("tally_days", **days)
    (daily,) = workspace.rows("has_daily_totals")
    if not daily["has_daily_totals"]:
        return
    (before,) = workspace.rows("has_internal_calls")
    read_marks("ask_about_daily_differences")
    (after,) = workspace.rows("has_internal_calls")
    if before != after:
        workspace.run("tally_days", **days)


def _tally(workspace: Workspace, window: Window, *, may_pin_end_users: bool) -> None:
    """Add up all that was read: what follows asks these tables, and looks only at single rows that have not matched."""
    workspace.run("tally_sources", start=naive(window.start), end=naive(window.end))
    workspace.run("tally_keys", may_pin_end_users=may_pin_end_users)
    for name in (
        "spend_logs",
        "call_types",
        "unbilled_spend",
        "named",
        "events",
        "unbilled",
        "codes",
        "minutes",
        "arrivals",
    ):
        workspace.run(f"tally_{name}")


def _read_edges(rules: Rules, window: Window) -> dict[str, int]:
    read = rules.read_window(window)
    return {"read_start_us": _microseconds(read.start), "read_end_us": _microseconds(read.end)}


def whole_days(window: Window) -> tuple[datetime, datetime]:
    """Return the UTC days that lie wholly in the window: the daily tables count by the day of a call's start."""
    midnight = window.start.replace(hour=0, minute=0, second=0, microsecond=0)
    first_day = midnight if midnight == window.start else midnight + timedelta(days=1)
    return first_day, window.end.replace(hour=0, minute=0, second=0, microsecond=0)


def naive(instant: datetime | None) -> datetime | None:
    """Return the instant in UTC without a zone, as the workspace keeps times."""
    return None if instant is None else instant.astimezone(UTC).replace(tzinfo=None)


def _microseconds(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // _MICROSECOND
