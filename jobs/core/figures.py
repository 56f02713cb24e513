"""Numbers as a person reads them: grouped digits, shares that never round up to all, money in USD."""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal

_CENT = Decimal("0.01")
_FINEST = Decimal("0.000001")


def grouped(number: int | str | Decimal) -> str:
    """Return a count or a plain decimal with its digits grouped: `1,234,567.5`."""
    return f"{Decimal(number):,f}"


def plain(number: Decimal) -> str:
    """Return a number as files and requests have it: fixed-point, no trailing zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def share(part: int | str | Decimal, whole: int | str | Decimal) -> str:
    """Return a part of a whole in percent; `100 %` is all of it and `0 %` is nothing, however close."""
    part, whole = Decimal(part), Decimal(whole)
    if not whole:
        return "-"
    percent = 100 * part / whole
    if 0 < part < whole:
        percent = max(percent, _CENT)
    text = f"{percent.quantize(_CENT, ROUND_DOWN):f}"
    return f"{text.rstrip('0').rstrip('.')} %"


def usd(amount: str | Decimal) -> str:
    """Return USD to the cent, or where it is less than ten cents to what can be told."""
    money = Decimal(amount)
    if not money:
        return "$0"
    if abs(money) >= Decimal("0.1"):
        return f"${money.quantize(_CENT, ROUND_HALF_EVEN):,f}"
    if abs(money) < _FINEST:
        return "<$0.000001"
    return f"${money.quantize(_FINEST, ROUND_HALF_EVEN):f}".rstrip("0").rstrip(".")


def counted(number: int, noun: str) -> str:
    """Return a count with its noun: `1 event`, `2,000 events`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
