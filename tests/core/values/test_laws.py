"""Fingerprints, columns, and the laws that a run checks."""

import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from jobs.core.kinds import ChargeBy
from jobs.core.laws import check_accounting, check_conservation, check_unbilled
from jobs.core.telling.reports import (
    DAILY_COLUMNS,
    DISCREPANCY_COLUMNS,
    OUTCOME_COLUMNS,
    Columns,
    _columns,
    csv_lines,
)
from jobs.errors import LawBrokenError
from tests.core.values.helpers import RULES


def test_a_fingerprint_tells_rules_apart_and_is_the_same_everywhere() -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", RULES.fingerprint())
    assert RULES.fingerprint() == replace(RULES).fingerprint()
    changes: list[dict[str, Any]] = [{"charge_by": ChargeBy.TEAM_ID}, {"top_up": True}, {"aliases": (("a", "b"),)}]
    assert len({RULES.fingerprint(), *(replace(RULES, **change).fingerprint() for change in changes)}) == 4


def test_csv_lines_are_safe_where_strangers_wrote_and_exact_elsewhere() -> None:
    columns = Columns(("model", "difference"), frozenset({"model"}))
    rows = [{"model": "=1", "difference": "-5", "other": "x"}, {"model": 'a,"b"\n', "difference": ""}]
    assert b"".join(csv_lines(columns, rows)) == b"model,difference\n'=1,-5\n" + b'"a,""b""\\n",\n'


def test_columns_know_which_of_them_hold_strangers_text() -> None:
    assert DAILY_COLUMNS.names[:4] == ("day", "source", "model", "logged_requests")
    assert DAILY_COLUMNS.texts == {"source", "model"}
    assert DISCREPANCY_COLUMNS.texts >= {"subscription", "model", "request_id", "transaction_id", "call_type"}
    assert DISCREPANCY_COLUMNS.texts.isdisjoint({"kind", "expected_time", "difference", "spend"})
    assert _columns("kind nobody_named_it spend").texts == {"nobody_named_it"}
    assert OUTCOME_COLUMNS.texts >= {"reason", "verification"}


def _summary_row(**numbers: int | Decimal) -> dict[str, object]:
    kinds = (
        "expected recorded matched_expected mismatched_expected misattributed_expected ambiguous missing held "
        "matched_recorded mismatched_recorded misattributed_recorded duplicated orphaned billed unbilled"
    )
    zero = {f"{kind}_{measure}": 0 for kind in kinds.split() for measure in ("events", "quantity")}
    return {"subscription": "s", "model": "m", "code": "c", **zero, **numbers}


@pytest.mark.parametrize("measure", ["events", "quantity"])
@pytest.mark.parametrize(
    ("side", "kinds"),
    [
        ("expected", "matched_expected mismatched_expected misattributed_expected missing held ambiguous"),
        ("recorded", "matched_recorded mismatched_recorded misattributed_recorded duplicated orphaned"),
        ("recorded", "billed unbilled"),
    ],
)
def test_conservation_is_checked_in_events_and_in_quantity(side: str, kinds: str, measure: str) -> None:
    whole = Decimal("0.3") if measure == "quantity" else 3
    for kind in kinds.split():
        # The recorded are told apart in two ways; of the other, all are of one sort.
        rest = {f"{'matched_recorded' if kind.endswith('billed') else 'billed'}_{measure}": whole}
        balanced = _summary_row(
            **{f"{side}_{measure}": whole, f"{kind}_{measure}": whole, **(rest if side == "recorded" else {})}
        )
        check_conservation([balanced])
        lost = {**balanced, f"{kind}_{measure}": whole - 1}
        with pytest.raises(LawBrokenError) as raised:
            check_conservation([balanced, lost])
        assert raised.value.what == (
            f"conservation is broken for subscription 's', model 'm', code 'c': {side} {measure} {whole}, "
            f"but {', '.join(kinds.split())} add up to {whole - 1}"
        )


@pytest.mark.parametrize("measure", ["events", "quantity"])
def test_what_is_not_billed_has_its_reasons(measure: str) -> None:
    whole = {"code": "c", "unbilled_events": 3, "unbilled_quantity": "10", "subscription": "TOTAL"}
    reasons = [
        {"code": "c", "reason": "no_charge", "events": 1, "quantity": "4"},
        {"code": "c", "reason": "period_invoiced", "events": 2, "quantity": "6"},
        {"code": "d", "reason": "period_invoiced", "events": 2, "quantity": "6"},
    ]
    check_unbilled([whole], reasons)
    with pytest.raises(LawBrokenError, match=f"code 'c': unbilled {measure}"):
        check_unbilled([whole], [{**reasons[0], measure: 0}, *reasons[1:]])


def test_every_spend_log_is_accounted_for() -> None:
    check_accounting(3, {"attributed": 2, "excluded": 1})
    with pytest.raises(LawBrokenError, match=r"^3 spend logs were read, but \{'attributed': 2\} are accounted for"):
        check_accounting(3, {"attributed": 2})
