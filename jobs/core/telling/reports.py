"""The columns of every CSV a run leaves behind, in order; docs/files.md documents each with its unit."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from jobs.core.text import spreadsheet_safe


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of one CSV."""

    names: tuple[str, ...]
    """In order."""
    texts: frozenset[str]
    """Those that can hold strangers' text, which is neutralised; the others are numbers, times and words of our own."""


_LINES_AT_ONCE = 1000

# Columns of nothing but words, numbers and times of our own. One that is not named is taken for a stranger's.
_OURS = frozenset(
    """
    kind cause difference spend detail next_step timestamp quantity outcome verified day period requests revenue margin
    """.split()
)
_OUR_ENDINGS = ("_events", "_quantity", "_tokens", "_requests", "_spend", "_change", "_percent", "_time")


def _columns(names: str) -> Columns:
    listed = tuple(names.split())
    return Columns(listed, frozenset(name for name in listed if name not in _OURS and not name.endswith(_OUR_ENDINGS)))


def csv_lines(columns: Columns, rows: Iterable[Mapping[str, str]]) -> Iterator[bytes]:
    """Yield a CSV as pieces of whole lines, its header first, strangers' text made safe for a spreadsheet."""
    shown: list[tuple[str, Callable[[str], str]]] = [
        (name, spreadsheet_safe if name in columns.texts else str) for name in columns.names
    ]
    yield _csv([columns.names])
    rows = iter(rows)
    while some := list(islice(rows, _LINES_AT_ONCE)):
        yield _csv([show(row[name]) for name, show in shown] for row in some)


def _csv(rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


DISCREPANCY_COLUMNS = _columns(
    """
    kind reason cause subscription model code part request_id transaction_id expected_time recorded_time
    expected_quantity recorded_quantity difference
    missing_amount missing_currency surplus_amount surplus_currency unpriced recorded_subscription unbilled call_type
    prompt_tokens completion_tokens total_tokens spend api_key detail next_step
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
    billed_events billed_quantity unbilled_events unbilled_quantity
    currency missing_amount surplus_amount unpriced
    """
)
OUTCOME_COLUMNS = _columns(
    """
    transaction_id subscription model code part request_id timestamp quantity outcome reason verified verification
    """
)
USAGE_COLUMNS = _columns("subscription model day requests prompt_tokens completion_tokens total_tokens spend")
USAGE_REPORT_COLUMNS = _columns(
    """
    subscription model period requests prompt_tokens cached_tokens completion_tokens reasoning_tokens total_tokens spend
    revenue revenue_currency margin revenue_unpriced
    """
)
COMPARISON_COLUMNS = _columns(
    """
    subscription model
    requests previous_requests requests_change requests_change_percent
    total_tokens previous_total_tokens total_tokens_change total_tokens_change_percent
    spend previous_spend spend_change spend_change_percent
    """
)
DAILY_COLUMNS = _columns(
    """
    day source model logged_requests daily_requests logged_prompt_tokens daily_prompt_tokens
    logged_completion_tokens daily_completion_tokens
    """
)
