"""The stages that look at what did not match within its subscription by id or content: elsewhere, late, near."""

from __future__ import annotations

from datetime import timedelta

from jobs.adapters.workspace import Workspace
from jobs.core.rules import Rules
from jobs.core.window import Window, microseconds, naive
from jobs.core.window_facts import SENT_TWICE_WITHIN, zone_offset

_MICROSECOND = timedelta(microseconds=1)


def match_beyond(workspace: Workspace, rules: Rules, window: Window) -> timedelta:
    """Run the stages that see what did not match within its subscription: elsewhere, late, near.

    Return by how much times are off, as a time zone is; zero where no such offset prevails.
    """
    edges, tolerance = read_edges(rules, window), rules.tolerance
    reach = {"early_us": tolerance.early_us, "late_us": tolerance.late_us}
    workspace.pair_by_time("elsewhere", "candidates_elsewhere", tolerance, edges)
    find_late_answers(workspace, rules, window)
    middle = (tolerance.late_us - tolerance.early_us) // 2
    zone = zone_offset(workspace.rows("late_offsets", middle_us=middle, **reach))
    pair_late_and_near(workspace, rules, window, zone)
    return zone


def find_left_over(workspace: Workspace) -> None:
    """Set apart what did not match within its subscription, and which of these events repeat a matched one."""
    workspace.run("find_unmatched")
    workspace.run("find_repeating", twin_within_us=SENT_TWICE_WITHIN // _MICROSECOND)


def find_late_answers(workspace: Workspace, rules: Rules, window: Window) -> None:
    read = rules.read_window(window)
    workspace.run(
        "find_late_answers",
        read_start=naive(read.start),
        read_end=naive(read.end),
        early_us=rules.tolerance.early_us,
        late_us=rules.tolerance.late_us,
    )


def pair_late_and_near(workspace: Workspace, rules: Rules, window: Window, zone: timedelta) -> None:
    """Pair what came late and was found, and what is evidently one call though its counts differ."""
    edges, tolerance = read_edges(rules, window), rules.tolerance
    workspace.run("pair_late", late_us=tolerance.late_us, early_us=tolerance.early_us, zone_us=zone // _MICROSECOND)
    (counted,) = workspace.rows("count_quantities")
    for place in range(1, counted["quantities"] + 1):
        workspace.pair_by_time("near", "candidates_near_count", tolerance, edges, place=place)
        workspace.run("mark_even_islands")
    workspace.pair_by_time("near", "candidates_near_bare", tolerance, edges)
    workspace.run("mark_even_islands")


def read_edges(rules: Rules, window: Window) -> dict[str, int]:
    read = rules.read_window(window)
    return {"read_start_us": microseconds(read.start), "read_end_us": microseconds(read.end)}
