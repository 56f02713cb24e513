"""From what is left over to a kind for each event of the window: the guards, the discrepancies, the sums."""

from __future__ import annotations

from datetime import datetime, timedelta

from jobs.adapters.workspace import Workspace
from jobs.core.kinds import ChargeBy
from jobs.core.lago.values import Catalogue
from jobs.core.rules import Rules
from jobs.core.window import Window, naive
from jobs.core.window_facts import SENT_TWICE_WITHIN, WindowFacts
from jobs.steps.references import load_billing
from jobs.steps.stages import find_left_over, match_beyond

_MICROSECOND = timedelta(microseconds=1)
# An invoice that is final sooner might not have what is sent now.
_TIME_TO_SEND = timedelta(hours=1)


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
    find_left_over(workspace)
    load_billing(workspace, rules, catalogue, window)
    zone = match_beyond(workspace, rules, window)
    (late,) = workspace.rows("late_facts")
    longest_delay = late["longest_us"] * _MICROSECOND
    read = rules.read_window(window)
    reach = {"early_us": rules.tolerance.early_us, "late_us": rules.tolerance.late_us}
    pins = may_pin_end_users and rules.charge_by is ChargeBy.END_USER_ID
    workspace.run("find_foreign_answers", **reach)
    workspace.run("find_pinned_keys", may_pin_end_users=pins)
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
        in_time_until=naive(now + _TIME_TO_SEND),
        settled_until=naive(now - rules.settlement_lag),
        overtaken_until=naive(now - longest_delay),
        **reach,
    )
    workspace.run("find_top_ups")
    workspace.run("judge_expected_events")
    workspace.run("judge_recorded_events", twin_within_us=SENT_TWICE_WITHIN // timedelta(microseconds=1))
    workspace.run("collect_discrepancies")
    workspace.run("summarise")
    workspace.run("compare_daily_totals")
    (unproven,) = workspace.rows("count_unproven")
    return WindowFacts(
        zone=zone,
        late_events=late["late_events"],
        late_calls=late["late_calls"],
        longest_delay=longest_delay,
        unproven_calls=unproven["calls"],
        unproven_keys=unproven["api_keys"],
        unproven_tokens=unproven["tokens"],
    )
