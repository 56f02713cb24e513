"""The mapping file's rules: which subscription pays for a source value, word for word or by a pattern."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Match(StrEnum):
    """How a rule of the mapping file names its sources."""

    EXACT = "exact"
    """Word for word."""
    PREFIX = "prefix"
    """By how they begin."""
    REGEX = "regex"
    """By a regular expression (RE2's) that all of a source answers to."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A rule of the mapping file for many sources."""

    match: Match
    """How; never `exact`."""
    source: str
    """The beginning or the expression; a valid one."""
    subscription: str
    """Who pays."""
