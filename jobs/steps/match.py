"""From two loaded sides to pairs within each subscription: the order in which the workspace's queries run.

What each query does stands in its own file under `sql/workspace/`; the exact assignment is `jobs/core/assignment.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from jobs.adapters.workspace import Workspace
from jobs.core.kinds import ChargeBy
from jobs.core.lago.values import Catalogue
from jobs.core.layout import Layout
from jobs.core.litellm.call_types import RESPONSE_MAKERS
from jobs.core.meters import NUMBER_SOURCES, TEXT_SOURCES
from jobs.core.rules import Rules
from jobs.core.window import Window, naive, whole_days
from jobs.steps.references import load_billing, load_event_references
from jobs.steps.stages import find_late_answers, find_left_over, pair_late_and_near, read_edges


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


def meter_spend_logs(workspace: Workspace, layout: Layout) -> None:
    """Make the events that the spend logs with a payer should have produced."""
    workspace.run(
        "meter_spend_logs",
        counts_spend=layout.counts_spend,
        compares_texts=layout.compares_texts,
        number_sources=len(NUMBER_SOURCES),
        text_sources=len(TEXT_SOURCES),
    )


def normalise_events(workspace: Workspace, rules: Rules, layout: Layout, catalogue: Catalogue, window: Window) -> None:
    """Bring the listed events into the shape of the expected ones; of the spend logs nothing is asked for it."""
    load_event_references(workspace, rules, layout)
    workspace.run(
        "normalise_listed_events",
        collapses_duplicates=catalogue.organization.event_store == "clickhouse",
        start=naive(window.start),
        end=naive(window.end),
    )
    workspace.run("drop_listed_events")


@dataclass(frozen=True, slots=True)
class Sides:
    """What is known of the two sides besides their rows."""

    may_pin_end_users: bool = False
    """This LiteLLM may log a wrong end user for a key."""
    ids_are_unique: bool = False
    """No request id can stand twice."""


def match_within(
    workspace: Workspace,
    rules: Rules,
    layout: Layout,
    catalogue: Catalogue,
    window: Window,
    sides: Sides,
    *,
    read_marks: Callable[[str], None] = lambda _: None,
) -> None:
    """Account for every spend log, meter it, pair what agrees within one subscription, and tally what was read.

    The events have been normalised. Nothing here looks beyond one subscription, so parts of the subscriptions can do it
    apart. `read_marks` brings in what the metadata tells of the spend logs that the query of this name lists.
    """
    edges = {"start": naive(window.start), "end": naive(window.end)}
    account(
        workspace,
        rules,
        window,
        charge_by_place=layout.charge_by_place,
        bills_spend=layout.bills_spend,
        ids_are_unique=sides.ids_are_unique,
    )
    meter_spend_logs(workspace, layout)
    load_billing(workspace, rules, catalogue, window)
    workspace.run("judge_billing", **edges)
    (own,) = workspace.rows("has_own_events")
    if own["has_own_events"]:
        workspace.run("add_top_ups")
        workspace.run("reduce_topped_up")
    if own["has_own_events"] or rules.id_template is not None:
        workspace.run("pair_by_transaction_id")
    ends = read_edges(rules, window)
    if own["has_own_events"]:
        workspace.pair_by_time("topped_up", "candidates_topped_up", rules.tolerance, ends)
    workspace.run("find_contents")
    workspace.run("pair_single_events", early_us=rules.tolerance.early_us, late_us=rules.tolerance.late_us)
    workspace.pair_by_time("content", "candidates_by_content", rules.tolerance, ends)
    workspace.run("mark_open_chains", **ends)
    _set_internal_calls_apart(workspace, rules, window, read_marks)
    _tally_days(workspace, window, read_marks)
    _tally(workspace, rules, window, sides)


def _set_internal_calls_apart(
    workspace: Workspace, rules: Rules, window: Window, read_marks: Callable[[str], None]
) -> None:
    """Ask the metadata of what is left over, and exclude the gateway's own calls for which Lago has no event."""
    tolerance, ends = rules.tolerance, read_edges(rules, window)
    workspace.run("find_alike_calls", early_us=tolerance.early_us, late_us=tolerance.late_us)
    read_marks("ask_about_left_over")
    (marks,) = workspace.rows("has_internal_calls")
    if marks["has_internal_calls"]:
        workspace.run("yield_pairs")
        for is_internal in (False, True):
            workspace.pair_by_time("content", "candidates_contested", tolerance, ends, is_internal=is_internal)
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
    find_left_over(workspace)
    for takes_turn in ("leave_callers_calls", "leave_internal_calls"):
        workspace.run(takes_turn)
        find_late_answers(workspace, rules, window)
        pair_late_and_near(workspace, rules, window, zone=timedelta())
    workspace.run("keep_answered_calls")


def _tally_days(workspace: Workspace, window: Window, read_marks: Callable[[str], None]) -> None:
    """Add up what LiteLLM's daily totals are compared with, and where they differ, ask for the gateway's own calls."""
    first_day, day_after = whole_days(window)
    (daily,) = workspace.rows("has_daily_totals")
    days = {"first_day": naive(first_day), "day_after": naive(day_after), "compares": daily["has_daily_totals"]}
    workspace.run("tally_days", **days)
    if not daily["has_daily_totals"]:
        return
    (before,) = workspace.rows("has_internal_calls")
    read_marks("ask_about_daily_differences")
    (after,) = workspace.rows("has_internal_calls")
    if before != after:
        workspace.run("tally_days", **days)


def _tally(workspace: Workspace, rules: Rules, window: Window, sides: Sides) -> None:
    """Add up all that was read: what follows asks these tables, and looks only at single rows that have not matched."""
    workspace.run("tally_sources", start=naive(window.start), end=naive(window.end))
    may_pin = sides.may_pin_end_users and rules.charge_by is ChargeBy.END_USER_ID
    workspace.run("tally_keys", may_pin_end_users=may_pin)
    for name in (
        "spend_logs",
        "call_types",
        "unbilled_spend",
        "named",
        "events",
        "unbilled",
        "codes",
        "filters",
        "minutes",
        "arrivals",
    ):
        workspace.run(f"tally_{name}")
