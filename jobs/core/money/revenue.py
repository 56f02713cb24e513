"""What Lago bills for the usage that a report tells: sums by currency, and what could not be priced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from jobs.core.figures import counted
from jobs.core.money.amounts import main_unit, shown
from jobs.core.money.worth import REASONS, Unpriced


@dataclass(frozen=True, slots=True)
class RevenueSum:
    """One line of a usage report: a period, a subscription, a model, or the total."""

    billed: Mapping[str, int] = field(default_factory=dict)
    """By currency, in its smallest unit."""
    margin: Decimal | None = None
    """What is billed in USD less what the same rows cost; None where nothing is billed in USD."""

    @property
    def text(self) -> str:
        """Return what is billed in one line, as `EUR 1,234.56 · USD 3.00`; empty for nothing."""
        return " · ".join(shown(amount, currency) for currency, amount in self.billed.items())


@dataclass(frozen=True, slots=True)
class Revenue:
    """What Lago bills for a report's usage."""

    sums: Mapping[tuple[str, str], RevenueSum]
    """By what is grouped by (`total`, `period`, `subscription`, `model`) and its name; absent without revenue."""
    elsewhere: Mapping[str, int]
    """What the same buckets bill for what the report does not tell, by currency, in its smallest unit."""
    unpriced: Mapping[Unpriced, int]
    """Rows of `usage.csv` without revenue, by reason."""

    def of(self, grouped_by: str, name: str = "") -> RevenueSum:
        """Return one line; without anything where nothing of it is priced."""
        return self.sums.get((grouped_by, name), RevenueSum())

    @property
    def reasons(self) -> tuple[str, ...]:
        """Return why rows have no revenue, one sentence each."""
        return tuple(
            f"{counted(lines, 'row')} of usage.csv without revenue: {REASONS[reason]}."
            for reason, lines in self.unpriced.items()
        )

    def document(self) -> Mapping[str, object]:
        """Return it as `run.json` tells it: amounts as texts in the main unit."""
        total = self.of("total")
        return {
            "billed": _texts(total.billed),
            "elsewhere": _texts(self.elsewhere),
            "margin": None if total.margin is None else f"{total.margin.normalize():f}",
            "unpriced_rows": {reason.value: lines for reason, lines in self.unpriced.items()},
        }


def _texts(amounts: Mapping[str, int]) -> Mapping[str, str]:
    return {currency: main_unit(amount, currency) for currency, amount in amounts.items()}
