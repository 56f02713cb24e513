"""A setting as a value: its names, how its text is read, its default and its meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """One setting: where it comes from, how its text is read, and what it means."""

    name: str
    """Dotted name in the configuration file."""
    variable: str
    """Environment variable."""
    parse: Callable[[str], T]
    """Reads the text; raises `ValueError` with what would be right."""
    default: str | None
    """Text taken where nothing is set; None where there is no default."""
    help: str
    """One sentence for the documentation."""
    secret: bool = False
    """Never shown."""
