"""The laws (docs/matching.md) that every run checks of itself before it reports anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from operator import itemgetter
from typing import Any

from jobs.core.kinds import PAIRED, WITHOUT_EVENT, WITHOUT_SPEND_LOG
from jobs.errors import LawBrokenError

_EXPECTED = ("matched_expected", *(f"{kind}_expected" for kind in PAIRED), *WITHOUT_EVENT)
_RECORDED = ("matched_recorded", *(f"{kind}_recorded" for kind in PAIRED), *WITHOUT_SPEND_LOG)
_BILLING = ("billed", "unbilled")
# Of each whole, its side, its measure, its kinds, and what picks their columns.
_WHOLES = tuple(
    (side, measure, kinds, itemgetter(*(f"{kind}_{measure}" for kind in kinds)))
    for side, kinds in (("expected", _EXPECTED), ("recorded", _RECORDED), ("recorded", _BILLING))
    for measure in ("events", "quantity")
)


def check_conservation(rows: Iterable[Mapping[str, Any]]) -> None:
    """Check law 1 on each row of the summary, in events and in quantity; raise `LawBrokenError` on the first breach."""
    for row in rows:
        for side, measure, kinds, parts_of in _WHOLES:
            whole, parts = Decimal(row[f"{side}_{measure}"]), sum(map(Decimal, parts_of(row)))
            if whole != parts:
                raise LawBrokenError(
                    f"conservation is broken for subscription {row['subscription']!r}, model {row['model']!r}, "
                    f"code {row['code']!r}: {side} {measure} {whole}, but {', '.join(kinds)} add up to {parts}"
                )


def check_unbilled(totals: Iterable[Mapping[str, Any]], reasons: Iterable[Mapping[str, Any]]) -> None:
    """Check that what is recorded and not billed has its reasons, per code; raise `LawBrokenError` if not."""
    found = list(reasons)
    for row in totals:
        for measure in ("events", "quantity"):
            whole = Decimal(row[f"unbilled_{measure}"])
            parts = sum((Decimal(one[measure]) for one in found if one["code"] == row["code"]), Decimal(0))
            if whole != parts:
                raise LawBrokenError(
                    f"conservation is broken for code {row['code']!r}: unbilled {measure} {whole}, but their reasons "
                    f"add up to {parts}"
                )


def check_accounting(read: int, dispositions: Mapping[str, int]) -> None:
    """Check that every spend log read is attributed, unattributed or excluded; raise `LawBrokenError` if not."""
    if read != sum(dispositions.values()):
        raise LawBrokenError(f"{read} spend logs were read, but {dict(dispositions)} are accounted for")
