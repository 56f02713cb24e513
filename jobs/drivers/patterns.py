"""The mapping file's patterns, fitted by RE2: no expression takes longer than in proportion to a stranger's text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import duckdb

from jobs.core.mapping import Match, Pattern
from jobs.drivers.queries import query


def fault_of(pattern: Pattern) -> str | None:
    """Return in a few words why a pattern cannot be used; None where it can."""
    with duckdb.connect() as database:
        try:
            _fitting(database, [""], pattern)
        except duckdb.Error as error:
            return str(error).partition("\n")[0].partition(": ")[2]
    return None


def payers(sources: Iterable[str], patterns: Sequence[Pattern]) -> dict[str, str]:
    """Return who pays for each of these sources by the first pattern that fits; what none fits is left out."""
    left, found = dict.fromkeys(sources), dict[str, str]()
    with duckdb.connect() as database:
        for pattern in patterns:
            for source in _fitting(database, list(left), pattern):
                found[source] = pattern.subscription
                del left[source]
    return found


def _fitting(database: duckdb.DuckDBPyConnection, sources: Sequence[str], pattern: Pattern) -> list[str]:
    asked = {"sources": sources, "is_prefix": pattern.match is Match.PREFIX, "pattern": pattern.source}
    return [source for (source,) in database.execute(query("workspace", "sources_that_fit"), asked).fetchall()]
