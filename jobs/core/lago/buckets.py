"""In which of a plan's buckets an event counts: what Lago adds up and prices on its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from jobs.core.lago.values import BillableMetric, Charge

_ALL_VALUES = "__ALL_FILTER_VALUES__"


@dataclass(frozen=True, slots=True)
class Bucket:
    """What Lago adds up and prices on its own."""

    charge: Charge
    """The charge."""
    filter_position: int | None
    """Which of the charge's filters, from 0; None is the default bucket."""
    groups: tuple[tuple[str, str | None], ...]
    """The pricing group: keys with their values, None where the event has none or an empty one."""

    def key(self, subscription: str) -> BucketKey:
        """Return the bucket's key under a subscription."""
        position = self.filter_position
        values = None if position is None else self.charge.filters[position].values
        return bucket_key(subscription, self.charge.lago_id, values, self.groups)


BucketKey = tuple[str, str, str, tuple[tuple[str, str | None], ...]]
"""A bucket of a subscription: external id, the charge's Lago id, its filter's values, its group."""


def bucket_key(
    subscription: str,
    charge_id: str,
    values: Mapping[str, Iterable[str]] | None,
    groups: Iterable[tuple[str, str | None]],
) -> BucketKey:
    """Return what tells a bucket from all others, here and in what Lago tells of usage."""
    shown = "; ".join(f"{key}: {', '.join(sorted(values[key]))}" for key in sorted(values)) if values else ""
    return subscription, charge_id, shown, tuple(sorted(groups))


def buckets_of(charge: Charge, metric: BillableMetric, properties: Mapping[str, str | None]) -> Iterator[Bucket]:
    """Yield the buckets of a charge that an event with these properties counts in: the default one if no filter fits.

    A filter gives way to one that fits too and asks for more keys, or with its own keys for fewer values; of two that
    are the same the first counts. Two that merely overlap both count the event.
    """
    declared = dict(metric.filters)
    values = [
        {key: set(declared.get(key, ()) if given == (_ALL_VALUES,) else given) for key, given in one.values.items()}
        for one in charge.filters
    ]
    fitting = [
        place
        for place, one in enumerate(values)
        if all(properties.get(key) in accepted for key, accepted in one.items())
    ]
    found: list[int | None] = [
        place
        for place in fitting
        if not any(_gives_way(values[place], values[other], other < place) for other in fitting if other != place)
    ]
    for place in found or [None]:
        own = charge.properties if place is None else charge.filters[place].properties
        keys = own.get("pricing_group_keys") or charge.properties.get("pricing_group_keys") or ()
        yield Bucket(charge, place, tuple((key, properties.get(key) or None) for key in keys))


def properties_looked_at(charge: Charge) -> tuple[str, ...]:
    """Return the names of the properties that decide in which of a charge's buckets an event counts."""
    filtered = (name for one in charge.filters for name in one.values)
    priced = (charge.properties, *(one.properties for one in charge.filters))
    grouped = (name for properties in priced for name in properties.get("pricing_group_keys") or ())
    return tuple(dict.fromkeys((*filtered, *grouped)))


def _gives_way(wide: Mapping[str, set[str]], narrow: Mapping[str, set[str]], narrow_is_first: bool) -> bool:
    if not narrow.keys() >= wide.keys():
        return False
    if narrow.keys() > wide.keys():
        return True
    return all(wide[key] >= narrow[key] for key in wide) and (wide != narrow or narrow_is_first)
