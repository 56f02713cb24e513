"""When the simulated Lago bills what: its clock strikes every hour, for what rows are there, and drafts become final.

Written anew, and by nothing of the job: what is in an invoice is what had reached Lago when the invoice became final.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Customer:
    """Who pays for a subscription."""

    name: str
    zone: str = "UTC"
    """Whose midnights are the borders of its months."""
    grace_days: int = 0
    """How long an invoice stays a draft."""


@dataclass(frozen=True, slots=True)
class Term:
    """One row of a subscription in Lago."""

    external_id: str
    plan: str
    started_at: datetime
    terminated_at: datetime | None = None
    state: str = ""
    """Lago's word for a row that never ran: `incomplete`, `pending` or `canceled`; empty for one that does or did."""
    customer: Customer = Customer("customer")
    made_at: datetime | None = None
    """When somebody made it, with a start in the past; None where it was there from the beginning."""
    ends_with_invoice: bool = True
    """Whether its end is billed."""

    @property
    def status(self) -> str:
        """Return Lago's word for it."""
        return self.state or ("active" if self.terminated_at is None else "terminated")

    def is_there(self, now: datetime) -> bool:
        """Tell whether Lago has it at this instant."""
        return self.made_at is None or self.made_at <= now

    def is_active(self, at: datetime) -> bool:
        """Tell whether an event of this time is its own."""
        return not self.state and self.started_at <= at <= (self.terminated_at or at)


@dataclass(frozen=True, slots=True)
class Bill:
    """One invoice of one row."""

    term: Term
    start: datetime
    """First instant of what it bills."""
    end: datetime
    """Instant after the last."""
    made_at: datetime
    """When it is made."""
    final_at: datetime
    """When it is final: what has come by then is in."""

    def holds(self, at: datetime) -> bool:
        """Tell whether an event of this time belongs to it."""
        return self.start <= at < self.end


def bills_of(terms: Iterable[Term], first: date, last: date) -> Iterator[Bill]:
    """Yield the invoices of months that end from the first to the last of these days, and of rows that end."""
    for term in terms:
        if not term.state:
            yield from _bills_of(term, first, last)


def _bills_of(term: Term, first: date, last: date) -> Iterator[Bill]:
    zone, start = ZoneInfo(term.customer.zone), term.started_at
    day = first
    while day <= last:
        border = datetime.combine(day, time.min, zone).astimezone(UTC)
        if day.day == 1 and term.is_active(border) and term.started_at < border:
            made = _strikes(border, zone, term)
            if made is not None:
                yield Bill(term, start, border, made, _final(made, zone, term.customer.grace_days))
            start = border
        day += _DAY
    ended = term.terminated_at
    if ended is not None and term.ends_with_invoice:
        yield Bill(term, start, ended + timedelta(microseconds=1), ended, _final(ended, zone, term.customer.grace_days))


def _strikes(border: datetime, zone: ZoneInfo, term: Term) -> datetime | None:
    """Return ten minutes past the first hour of the customer's day at which the row is there; None for none."""
    strike = border.replace(minute=10)
    while strike.astimezone(zone).date() <= border.astimezone(zone).date():
        if strike >= border and term.is_there(strike):
            return strike
        strike += _HOUR
    return None


def _final(made: datetime, zone: ZoneInfo, grace_days: int) -> datetime:
    """Return twenty past the first hour, on a day of UTC that is the customer's day of the invoice and the grace."""
    if not grace_days:
        return made
    due = made.astimezone(zone).date() + grace_days * _DAY
    strike = made.replace(minute=20, second=0, microsecond=0)
    while strike < made or strike.date() < due:
        strike += _HOUR
    return strike
