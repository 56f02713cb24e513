"""The columns of every CSV a run leaves behind, in order; README documents each with its unit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of one CSV."""

    names: tuple[str, ...]
    """In order."""
    texts: frozenset[str]
    """Those that can hold strangers' text; the others are numbers, times and words of our own."""


_TEXTS = frozenset(
    "subscription model code part request_id transaction_id recorded_subscription call_type api_key source".split()
)


def _columns(names: str) -> Columns:
    listed = tuple(names.split())
    return Columns(listed, _TEXTS.intersection(listed))


DISCREPANCY_COLUMNS = _columns(
    """
    kind reason subscription model code part request_id transaction_id expected_time recorded_time
    expected_quantity recorded_quantity difference recorded_subscription call_type
    prompt_tokens completion_tokens total_tokens spend api_key detail
    """
)
SUMMARY_COLUMNS = _columns(
    """
    subscription model code
    expected_events expected_quantity recorded_events recorded_quantity
    matched_expected_events matched_expected_quantity matched_recorded_events matched_recorded_quantity
    mismatched_expected_events mismatched_expected_quantity mismatched_recorded_events mismatched_recorded_quantity
    misattributed_expected_events misattributed_expected_quantity
    misattributed_recorded_events misattributed_recorded_quantity
    ambiguous_events ambiguous_quantity missing_events missing_quantity held_events held_quantity
    duplicated_events duplicated_quantity orphaned_events orphaned_quantity
    """
)
USAGE_COLUMNS = _columns("subscription model day requests prompt_tokens completion_tokens total_tokens spend")
DAILY_COLUMNS = _columns(
    """
    day source model logged_requests daily_requests logged_prompt_tokens daily_prompt_tokens
    logged_completion_tokens daily_completion_tokens
    """
)
