"""From judged events to causes: the order in which evidence is gathered, decided on and applied.

What each query looks at stands in its own file under `sql/`; what counts as a pattern is `jobs/core/patterns.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from jobs.adapters.workspace import Workspace
from jobs.core import patterns
from jobs.core.kinds import Cause, ChargeBy
from jobs.core.patterns import Explanation, Stretch
from jobs.core.rules import Rules
from jobs.core.window import Window, naive
from jobs.core.window_facts import SENT_TWICE_WITHIN, WindowFacts

_LOST = ("missing", "held")
_MOST_PATTERNS, _MOST_SUBSCRIPTIONS = 5, 5


# LiteLLM 1.53 to 1.90 sends these calls twice or three times, each event with an id of its own, and never chat
# completions and embeddings (docs/facts/litellm.md).
_SENT_TWICE = """
    image_generation aimage_generation image_edit aimage_edit rerank arerank transcription atranscription
    moderation amoderation anthropic_messages text_completion atext_completion
"""


def find_causes(
    workspace: Workspace,
    rules: Rules,
    window: Window,
    window_facts: WindowFacts,
    *,
    logs_users_of_headers: bool = True,
) -> tuple[Explanation, ...]:
    """Give every discrepancy its cause in the workspace, and return the causes with their evidence.

    `logs_users_of_headers` says that a spend log may name an end user whom the callback does not see.
    """
    reach = {"early_us": rules.tolerance.early_us, "late_us": rules.tolerance.late_us}
    may_be_unseen = logs_users_of_headers and rules.charge_by is ChargeBy.END_USER_ID
    counts = {row["kind"]: row["findings"] for row in workspace.rows("finding_counts")}
    if not counts:
        return ()
    workspace.run("pair_doubtful_findings", **reach)
    workspace.run(
        "cause_by_evidence",
        zone_us=window_facts.zone // timedelta(microseconds=1),
        fewest=patterns.FEWEST_OF_A_KIND,
        fewest_foreign=patterns.FEWEST_OF_A_SENDER,
        **reach,
    )
    (ground,) = workspace.rows("common_ground")
    if patterns.have_nothing_in_common(**ground):
        workspace.run("cause_by_strangers")
    one_in = patterns.COUNTED_ONE_IN
    workspace.run("cause_by_counts", fewest=patterns.FEWEST_COUNTED_OTHERWISE, one_in=one_in, **reach)
    if counts.keys() & {"orphaned", "duplicated"}:
        (charged,) = workspace.rows("count_causes", cause=Cause.WRONG_CHARGE_BY.value)
        # Under a wrong setting events are left over for that reason: a burst of them is no restart, and equal content
        # proves nothing about a spend log that names nobody.
        knows_settings = not window_facts.zone and charged["findings"] < patterns.FEWEST_OF_A_KIND
        has_file = rules.mapping is not None
        _explain_surplus(workspace, window, reach, has_attribution_file=has_file, knows_settings=knows_settings)
    if counts.keys() & set(_LOST):
        _explain_losses(workspace, window, may_be_unseen=may_be_unseen)
    workspace.run("cause_unexplained")
    return patterns.explanations(
        workspace.rows("cause_totals"),
        workspace.rows("cause_patterns", most=_MOST_PATTERNS),
        workspace.rows("cause_subscriptions", most=_MOST_SUBSCRIPTIONS),
    )


def _explain_surplus(
    workspace: Workspace,
    window: Window,
    reach: dict[str, int],
    *,
    has_attribution_file: bool,
    knows_settings: bool,
) -> None:
    within_us = SENT_TWICE_WITHIN // timedelta(microseconds=1)
    if knows_settings:
        workspace.run(
            "cause_by_other_spend_log", has_attribution_file=has_attribution_file, within_us=within_us, **reach
        )
    workspace.run("cause_by_daily_totals")
    workspace.run("cause_by_twin", within_us=within_us, sent_twice_types=_SENT_TWICE.split())
    if not knows_settings:
        return
    within = window.end - window.start
    bursts = workspace.rows("bursts", apart_us=patterns.BURST_APART // timedelta(microseconds=1))
    # Orphans show where the gateway stopped; what it lost there may also look like a call that has its event.
    _apply(workspace, Cause.RESTART, patterns.restarts(bursts, within), ("orphaned", "duplicated"))


def _explain_losses(workspace: Workspace, window: Window, *, may_be_unseen: bool) -> None:
    start, end = naive(window.start), naive(window.end)
    assert start is not None and end is not None  # noqa: S101, PT018 - a window has both ends
    (counted,) = workspace.rows("arrival_counts")
    if patterns.nothing_arrived(counted["expected"], counted["arrivals"]):
        _apply(workspace, Cause.NOTHING_ARRIVED, (Stretch(start, end),), _LOST)
        return
    found = patterns.silences(workspace.rows("silences", fewest=patterns.FEWEST_IN_A_SILENCE), start, end)
    _apply(workspace, Cause.SILENCE, found, _LOST)
    workspace.run("cause_by_call_type", fewest=patterns.FEWEST_OF_A_KIND)
    busy = workspace.rows("rushes", fewest_calls=patterns.BUSY_CALLS, times_typical=patterns.BUSY_TIMES)
    _apply(workspace, Cause.RUSH, patterns.rushes(busy), _LOST)
    workspace.run("cause_by_balance", fewest=patterns.FEWEST_OF_STRANGERS, one_in=patterns.COUNTED_ONE_IN)
    if may_be_unseen:
        workspace.run("find_lone_losses", fewest=patterns.FEWEST_OF_A_KIND)
        workspace.insert(
            "losing_sender", ((name,) for name in patterns.losing_senders(workspace.rows("sender_losses")))
        )
        workspace.run("cause_by_sender")


def _apply(workspace: Workspace, cause: Cause, stretches: Iterable[Stretch], kinds: tuple[str, ...]) -> None:
    rows = [(cause.value, stretch.began, stretch.ended, stretch.subscription) for stretch in stretches]
    if rows:
        workspace.insert("cause_stretch", rows)
        workspace.run("cause_by_stretch", cause=cause.value, kinds=list(kinds))
