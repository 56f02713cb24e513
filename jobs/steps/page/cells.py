"""Cells of the page's tables: short texts, and numbers to read beside numbers to sort by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.core.figures import grouped
from jobs.core.telling.page import Cell

_LONGEST_NAME = 80


def number_cell(text: object, shown: str | None = None) -> Cell:
    """Return a number, its thousands grouped or as `shown`, to be sorted by its value."""
    return Cell(grouped(str(text)) if shown is None else shown, str(text))


def text_cell(text: object) -> Cell:
    """Return a stranger's text, cut where it is long."""
    name = str(text) or "(none)"
    return Cell(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}… ({len(name)} characters)")


def listed(rows: Sequence[Mapping[str, Any]]) -> int:
    """Return how many rows there are in all, of which a query gave these first ones."""
    return int(rows[0]["listed"]) if rows else 0
