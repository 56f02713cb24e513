"""The mapping file's rules: which subscription pays for a source value, word for word or by a pattern."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Match(StrEnum):
    """How a rule of the mapping file names its sources."""

    EXACT = "exact"
    """Word for word."""
    PREFIX = "prefix"
    """By how they begin."""
    REGEX = "regex"
    """By a regular expression that all of a source answers to."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A rule of the mapping file for many sources."""

    match: Match
    """How; never `exact`."""
    source: str
    """The beginning or the expression; a valid one."""
    subscription: str
    """Who pays."""


def payer_of(exact: tuple[tuple[str, str], ...], patterns: tuple[Pattern, ...]) -> Callable[[str], str | None]:
    """Return who pays for a source: by the rule for exactly it, else by the first pattern that fits, else None."""
    by_name = dict(exact)
    rules = [
        (
            re.compile(re.escape(pattern.source) if pattern.match is Match.PREFIX else pattern.source, re.DOTALL),
            pattern.match is Match.PREFIX,
            pattern.subscription,
        )
        for pattern in patterns
    ]

    def payer(source: str) -> str | None:
        if source in by_name:
            return by_name[source]
        for expression, is_prefix, subscription in rules:
            if (expression.match if is_prefix else expression.fullmatch)(source):
                return subscription
        return None

    return payer
