"""What speaks against the spend logs themselves: money without a quantity, usage of nobody, call types nobody knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.core.certification import Reason
from jobs.core.text import visible

MOST_NAMED = 20
"""So many rows of each sort are told in `run.json`."""
_MOST_IN_A_SENTENCE = 3


@dataclass(frozen=True, slots=True)
class UsageEvidence:
    """Spend without a quantity and call types without a name, as the workspace's queries found them."""

    unbilled: Sequence[Mapping[str, Any]]
    """Rows of `unbilled_spend`, the greatest spend of each sort first."""
    unknown_types: Sequence[Mapping[str, Any]]
    """Rows of `unknown_call_types`."""

    def reasons(self) -> Iterator[Reason]:
        """Yield why the window cannot be certified."""
        for sort, (what, step) in _REASONS.items():
            rows = self._of(sort)
            if rows:
                first = rows[0]
                amount = f"{first['all_spend']} USD"
                count = first["all_spend_logs"]
                text = what.format(
                    amount=amount, count=f"{count:,}", s="" if count == 1 else "s", tokens=first["all_tokens"]
                )
                yield Reason(sort, f"{text}: {_named(rows)}", step)

    def warnings(self) -> Iterator[str]:
        """Yield what a person should know besides."""
        rows = self._of("otherwise_priced")
        if rows:
            count = rows[0]["all_spend_logs"]
            yield (
                f"Spend of calls that are not priced by tokens and have none: {rows[0]['all_spend']} USD in {count:,} "
                f"spend log{'' if count == 1 else 's'} ({_named(rows)}). A metric that sums tokens does not bill it"
            )
        if self.unknown_types:
            told = ", ".join(
                f"{visible(row['call_type']) or 'none'} ({row['spend_logs']}, {row['tokens']} tokens)"
                for row in self.unknown_types
            )
            yield f"Call types that this job does not know, counted as usage because they show some: {told}"

    def _of(self, sort: str) -> Sequence[Mapping[str, Any]]:
        return [row for row in self.unbilled if row["sort"] == sort]


_REASONS = {
    "without_tokens": (
        "{amount} were spent in {count} call{s} whose spend log shows no tokens to bill",
        "Find their usage (unbilled_spend in run.json) and charge it by hand; let streams report usage "
        "(stream_options.include_usage) so that it is logged.",
    ),
    "failed": (
        "{amount} were spent in {count} failed call{s}, such as interrupted streams and retried attempts",
        "Decide whether callers pay for them (unbilled_spend in run.json); LiteLLM's callback sends no event for them.",
    ),
    "unclear_reading": (
        "{count} spend log{s} of reading a response with usage that no other one shows ({tokens} tokens, {amount})",
        "Find out who made these responses (unbilled_spend in run.json) and charge them by hand if nobody has been.",
    ),
}


def _named(rows: Sequence[Mapping[str, Any]]) -> str:
    named = [
        f"{row['spend']} {visible(row['model']) or 'unnamed'} ({visible(row['call_type'])})"
        for row in rows[:_MOST_IN_A_SENTENCE]
    ]
    return ", ".join(named) + (", …" if len(rows) > _MOST_IN_A_SENTENCE else "")
