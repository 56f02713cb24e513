"""Amounts of money: in the currency's smallest unit, split to the last of it, written in the main unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from jobs.core.figures import grouped
from jobs.core.lago.prices import currency_exponent

_DIGITS = 80


class Split:
    """Shares of an amount in proportion to quantities that come one by one; all together they are the amount.

    Each share is what the running total is worth less what it was worth before, so that it is off by less than one
    unit and the last one closes the sum, whatever the order.
    """

    def __init__(self, amount: int, whole: Decimal, parts: int) -> None:
        """Split this amount over `parts` quantities that add up to `whole`; where that is zero, evenly."""
        self._amount = amount
        self._whole = whole if whole else Decimal(parts)
        self._is_even = not whole
        self._reached = Decimal(0)
        self._given = 0

    def share(self, quantity: Decimal) -> int:
        """Return the share of the next quantity, in the amount's unit."""
        with localcontext() as context:
            context.prec = _DIGITS
            self._reached += 1 if self._is_even else quantity
            due = int((self._amount * self._reached / self._whole).quantize(Decimal(1), ROUND_HALF_EVEN))
        share = due - self._given
        self._given = due
        return share


def main_unit(amount: int, currency: str) -> str:
    """Return an amount in the currency's main unit with all its decimals, as `1234.56`, `-0.005` or `100`."""
    return f"{Decimal(amount).scaleb(-currency_exponent(currency)):f}"


def main_unit_of(amount: Decimal, currency: str) -> Decimal:
    """Return an amount in the smallest unit, with whatever fraction of it, in the currency's main unit."""
    return amount.scaleb(-currency_exponent(currency))


def shown(amount: int, currency: str) -> str:
    """Return an amount for a person, as `EUR 1,234.56`."""
    sign = "-" if amount < 0 else ""
    whole, _, fraction = main_unit(abs(amount), currency).partition(".")
    return f"{currency} {sign}{grouped(whole)}{'.' if fraction else ''}{fraction}"


def by_currency(amounts: Iterable[tuple[str, int]]) -> Mapping[str, int]:
    """Return the sums of (currency, amount) pairs, each currency on its own, in order of the code."""
    sums: dict[str, int] = {}
    for currency, amount in amounts:
        sums[currency] = sums.get(currency, 0) + amount
    return dict(sorted(sums.items()))
