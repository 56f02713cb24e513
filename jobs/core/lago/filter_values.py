"""Events that Lago bills at a default price, because they carry a value that the metric's filters do not declare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from jobs.core.lago.values import Catalogue, Charge

_MOST_VALUES = 3


@dataclass(frozen=True, slots=True)
class Chosen:
    """Recorded events whose properties are equal."""

    code: str
    """The billable metric's code."""
    properties: Mapping[str, str | None]
    """The properties that can choose a price, as far as the meter knows them."""
    events: int
    """How many there are."""


def undeclared_values(chosen: Iterable[Chosen], catalogue: Catalogue) -> Iterator[str]:
    """Yield a sentence for each property of a metric by which prices differ, and of which events have other values.

    An event without a value is nobody's mistake: the default price is for it.
    """
    declared = {metric.code: dict(metric.filters) for metric in catalogue.metrics}
    charges: dict[str, list[Charge]] = {}
    for plan in catalogue.plans:
        for charge in plan.charges:
            charges.setdefault(charge.metric_code, []).append(charge)
    found: dict[tuple[str, str], dict[str, int]] = {}
    for one in chosen:
        for key, value in one.properties.items():
            is_declared = value is None or value in declared.get(one.code, {}).get(key, (value,))
            if not is_declared and any(key in each.values for it in charges.get(one.code, ()) for each in it.filters):
                values = found.setdefault((one.code, key), {})
                values[str(value)] = values.get(str(value), 0) + one.events
    for (code, key), values in sorted(found.items()):
        choosing = [it for it in charges[code] if any(key in each.values for each in it.filters)]
        more = f" and {len(values) - _MOST_VALUES} more" if len(values) > _MOST_VALUES else ""
        yield (
            f"Events of {code} with a {key} that the metric's filters do not declare "
            f"({', '.join(sorted(values)[:_MOST_VALUES])}{more}): {sum(values.values()):,}. Lago bills them at the "
            f"charge's default price{', which is 0' if all(map(_is_free, choosing)) else ''}; declare the value and "
            "its price there"
        )


def _is_free(charge: Charge) -> bool:
    try:
        return charge.charge_model == "standard" and Decimal(str(charge.properties.get("amount") or 0)) == 0
    except InvalidOperation:
        return False
