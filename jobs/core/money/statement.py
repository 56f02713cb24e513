"""What a run says about money: sums by currency, and how much could not be priced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from jobs.core.figures import counted, grouped, plain
from jobs.core.money.amounts import by_currency, main_unit, shown
from jobs.core.money.carried import Carried
from jobs.core.money.worth import REASONS, Unpriced

BEFORE = "Amounts are at Lago's own prices, before taxes, coupons, commitments and wallets."
"""What every amount leaves out."""


@dataclass(frozen=True, slots=True)
class Money:
    """What the discrepancies of a window are worth."""

    missing: Mapping[str, int] = field(default_factory=dict)
    """What Lago would bill more with what is missing: by currency, in its smallest unit."""
    surplus: Mapping[str, int] = field(default_factory=dict)
    """What Lago bills for what is too much, likewise."""
    unpriced: Mapping[Unpriced, int] = field(default_factory=dict)
    """Buckets that could not be priced, by reason."""
    carried: Mapping[str, Decimal] = field(default_factory=dict)
    """The sum of the amounts that a plan's events carry: by currency, in its main unit."""
    at_most: Mapping[str, int] = field(default_factory=dict)
    """The most that Lago bills more for these: by currency, in its smallest unit."""

    @property
    def headline(self) -> str:
        """Return it in one line, as `EUR 1,234.56 not billed · 3 buckets could not be priced`; empty for nothing."""
        parts = [f"{shown(amount, currency)} not billed" for currency, amount in self.missing.items()]
        parts += [f"{shown(amount, currency)} billed too much" for currency, amount in self.surplus.items()]
        buckets = sum(self.unpriced.values())
        parts += [f"{counted(buckets, 'bucket')} could not be priced"] if buckets else []
        return " · ".join(parts)

    @property
    def forecast(self) -> str:
        """Return what sending what is missing would bill, as `EUR 1,234.56 · 3 buckets could not be priced`.

        Of amounts that events carry the most that it may be, as `USD 0.38 at most by their own amounts, USD 0.375`.
        """
        parts = [shown(amount, currency) for currency, amount in self.missing.items()]
        parts += [
            f"{shown(most, currency)} at most by the events' own amounts, "
            f"{currency} {grouped(plain(self.carried[currency]))}"
            for currency, most in self.at_most.items()
        ]
        buckets = sum(self.unpriced.values())
        parts += [f"{counted(buckets, 'bucket')} could not be priced"] if buckets else []
        return " · ".join(parts)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Return why buckets could not be priced, one sentence each."""
        return tuple(
            f"{counted(count, 'bucket')} could not be priced: {REASONS[reason]}."
            for reason, count in self.unpriced.items()
        )

    def document(self) -> Mapping[str, object]:
        """Return it as `run.json` tells it: amounts as texts in the main unit."""
        return {
            "missing": {currency: main_unit(amount, currency) for currency, amount in self.missing.items()},
            "surplus": {currency: main_unit(amount, currency) for currency, amount in self.surplus.items()},
            "unpriced_buckets": {reason.value: count for reason, count in self.unpriced.items()},
        }


def with_carried(money: Money, carried: Carried) -> Money:
    """Return what a plan bills, with what its events carry."""
    unpriced = {
        reason: count
        for reason in Unpriced
        if (count := money.unpriced.get(reason, 0) + carried.unpriced.get(reason, 0))
    }
    return replace(money, unpriced=unpriced, carried=carried.sums, at_most=carried.at_most)


def added(moneys: Iterable[Money]) -> Money:
    """Return what several windows are worth together; a bucket that could not be priced counts in each."""
    listed = list(moneys)
    unpriced = {reason: sum(one.unpriced.get(reason, 0) for one in listed) for reason in Unpriced}
    return Money(
        missing=by_currency(pair for one in listed for pair in one.missing.items()),
        surplus=by_currency(pair for one in listed for pair in one.surplus.items()),
        unpriced={reason: count for reason, count in unpriced.items() if count},
    )
