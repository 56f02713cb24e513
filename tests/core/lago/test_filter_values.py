"""Values that no filter of the metric declares are told where prices differ by them."""

from __future__ import annotations

from jobs.core.lago.filter_values import Chosen, undeclared_values
from jobs.core.lago.values import BillableMetric, Catalogue, Charge, ChargeFilter, Organization, Plan


def told(*chosen: Chosen, charges: tuple[Charge, ...]) -> list[str]:
    metric = BillableMetric("tokens", "sum_agg", "q", None, (("model", ("a", "b")), ("kind", ("in",))))
    plans = (Plan("plan", charges),)
    return [*undeclared_values(chosen, Catalogue(Organization(None, None, "postgres"), (metric,), plans, ()))]


def charge(amount: str, *keys: str) -> Charge:
    filters = tuple(ChargeFilter({key: ("a",)}) for key in keys)
    return Charge("tokens", False, properties={"amount": amount}, filters=filters)


def test_only_values_that_choose_a_price_are_told() -> None:
    events = [
        Chosen("tokens", {"model": "a", "kind": "odd"}, 5),
        Chosen("tokens", {"model": None}, 7),
        Chosen("tokens", {"model": "c"}, 2),
        Chosen("tokens", {"model": "d"}, 1),
        Chosen("other", {"model": "c"}, 3),
    ]
    (text,) = told(*events, charges=(charge("0", "model"),))
    assert "with a model" in text
    assert "(c, d): 3." in text
    assert "default price, which is 0;" in text
    (paid,) = told(*events, charges=(charge("0", "model"), charge("1", "model")))
    assert "which is 0" not in paid
    assert told(*events, charges=(charge("0"),)) == []
    assert len(told(*events, charges=(charge("0", "model", "kind"),))) == 2
