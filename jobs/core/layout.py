"""Where each value of a bound meter stands in the lists that the workspace's queries pick from.

The query `meter_spend_logs` builds one list of numbers and one of texts per spend log, `normalise_listed_events` gets
one list of properties per event; a meter is then nothing but places in those lists, counted from one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.core.meters import LITERAL, METADATA, NUMBER_SOURCES, TEXT_SOURCES, BoundPart, MeterPart, Properties


@dataclass(frozen=True, slots=True)
class Layout:
    """A bound meter as rows for the workspace, and what has to be read for it."""

    metadata_paths: tuple[str, ...]
    """Dotted paths into the spend log's metadata, in the order of its `extras`."""
    property_names: tuple[str, ...]
    """Event properties to ask of Lago, in the order of `listed_event.properties`."""
    part_rows: tuple[tuple[object, ...], ...]
    """Rows of the workspace's table `meter_part`."""
    code_rows: tuple[tuple[object, ...], ...]
    """Rows of the workspace's table `metered_code`."""
    charge_by_place: int | None
    """Where in `extras` the value stands that attributes a spend log, if it comes from its metadata."""
    bills_spend: bool
    """Some metric bills what the request cost."""
    counts_spend: bool
    """Some meter part counts what the request cost, billed or not."""
    compares_texts: bool
    """Some meter part has a dimension that is one of the spend log's columns, besides the model."""


def lay_out(
    bound: Sequence[BoundPart], charge_by_path: str | None, id_template: str | None, also: Sequence[str] = ()
) -> Layout:
    """Return the layout of these meter parts; `charge_by_path` is the metadata path that attributes, if one does.

    `also` are more paths to read.
    """
    sources = [source for item in bound for _, source in _compared(item) + item.part.carried]
    sources += [item.part.cost for item in bound if item.part.cost is not None and item.part.amount is not None]
    paths = {source.removeprefix(METADATA): None for source in sources if source.startswith(METADATA)}
    if charge_by_path is not None:
        paths[charge_by_path] = None
    extras = tuple(dict.fromkeys((*paths, *also)))
    names = tuple(dict.fromkeys(name for item in bound for name, _ in _compared(item)))
    return Layout(
        metadata_paths=extras,
        property_names=names,
        part_rows=tuple(_part_row(item, extras, id_template) for item in bound),
        code_rows=tuple({item.part.code: _code_row(item, names) for item in reversed(bound)}.values()),
        charge_by_place=None if charge_by_path is None else extras.index(charge_by_path) + 1,
        bills_spend=any(_billed_source(item) == "spend" for item in bound),
        counts_spend=any(source == "spend" for item in bound for _, source in _quantities(item)),
        compares_texts=any(source in TEXT_SOURCES for item in bound for _, source in _other_dimensions(item)),
    )


def _quantities(item: BoundPart) -> Properties:
    return item.part.quantity_properties(item.billed)


def _billed_source(item: BoundPart) -> str | None:
    return next((source for name, source in _quantities(item) if name == item.billed), None)


def _compared(item: BoundPart) -> Properties:
    return item.part.dimensions + _quantities(item)


def _part_row(item: BoundPart, extras: tuple[str, ...], id_template: str | None) -> tuple[object, ...]:
    literals: list[str] = []
    dimension_places = []
    for _, source in _other_dimensions(item):
        if source.startswith(LITERAL):
            literals.append(source.removeprefix(LITERAL))
            dimension_places.append(len(TEXT_SOURCES) + len(extras) + len(literals))
        else:
            dimension_places.append(_place(source, TEXT_SOURCES, extras))
    billed = _billed_source(item)
    return (
        item.part.code,
        item.part.part,
        1 if _takes_model(item) else None,
        dimension_places,
        literals,
        [_place(source, NUMBER_SOURCES, extras) for _, source in _quantities(item)],
        None if billed is None else _place(billed, NUMBER_SOURCES, extras),
        item.part.skip_zero,
        id_template,
        *_cost_row(item.part, extras),
    )


def _cost_row(part: MeterPart, extras: tuple[str, ...]) -> tuple[object, ...]:
    """Return where the cost stands that an amount is made of (0 is the spend), the least of it, and the currency."""
    if part.cost is None or part.amount is None:
        return None, None, None
    place = _place(part.cost, (), extras) if part.cost.startswith(METADATA) else 0
    return place, part.amount.least_cost, part.amount.currency


def _code_row(item: BoundPart, names: tuple[str, ...]) -> tuple[object, ...]:
    quantities = _quantities(item)
    model = next((name for name, source in item.part.dimensions if source == "model"), None)
    return (
        item.part.code,
        None if model is None else names.index(model) + 1,
        [names.index(name) + 1 for name, _ in _other_dimensions(item)],
        [names.index(name) + 1 for name, _ in quantities],
        [source == "spend" for _, source in quantities],
        None if item.billed is None else names.index(item.billed) + 1,
        item.sums,
        item.known,
    )


def _takes_model(item: BoundPart) -> bool:
    return any(source == "model" for _, source in item.part.dimensions)


def _other_dimensions(item: BoundPart) -> Properties:
    return tuple(dimension for dimension in item.part.dimensions if dimension[1] != "model")


def _place(source: str, columns: Sequence[str], extras: tuple[str, ...]) -> int:
    if source.startswith(METADATA):
        return len(columns) + extras.index(source.removeprefix(METADATA)) + 1
    return columns.index(source) + 1
