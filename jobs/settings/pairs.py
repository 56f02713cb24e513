"""Reads the small CSV files that settings name."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from jobs.core.mapping import Match, Pattern
from jobs.drivers.patterns import fault_of
from jobs.errors import SettingError


def read_pairs(path: Path, columns: tuple[str, str], *, repeats: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the rows of a two-column CSV file with this header.

    Raises `SettingError` naming the file and line for an unreadable file, another header, a row of another width, an
    empty cell, or, unless it `repeats`, a first cell that came before with another second one.
    """
    seen: dict[str, str] = {}
    pairs: dict[tuple[str, str], None] = {}
    for line, row in _rows(path, (columns,)):
        if not all(row):
            raise SettingError(f"{path}, line {line}: no row of two cells", "Write two, neither empty")
        pairs[row[0], row[1]] = None
        if seen.setdefault(row[0], row[1]) != row[1] and not repeats:
            raise _twice(path, line, row[0])
    yield from pairs


def read_mapping(path: Path) -> tuple[tuple[tuple[str, str], ...], tuple[Pattern, ...]]:
    """Return the mapping file's rules for exactly one source, and those for many, in the file's order.

    Its columns are `source,subscription` and, where it has patterns, `match`: `exact`, `prefix` or `regex`. Raises
    `SettingError` naming the file and line as `read_pairs` does, and for a pattern that cannot be used.
    """
    found: dict[tuple[Match, str], str] = {}
    for line, row in _rows(path, (("source", "subscription"), ("source", "subscription", "match"))):
        source, subscription, match = (*row, "")[:3]
        if not (source and subscription):
            raise SettingError(f"{path}, line {line}: source or subscription is empty", "Write both")
        try:
            kind = Match(match or Match.EXACT)
        except ValueError as error:
            known = ", ".join(Match)
            raise SettingError(f"{path}, line {line}: match is {match!r}", f"Write one of {known}") from error
        fault = fault_of(Pattern(kind, source, subscription)) if kind is Match.REGEX else None
        if fault is not None:
            raise SettingError(
                f"{path}, line {line}: {source!r} is no regular expression of RE2: {fault}",
                "Correct it, or match by prefix",
            )
        if found.setdefault((kind, source), subscription) != subscription:
            raise _twice(path, line, source)
    exact = tuple((source, subscription) for (kind, source), subscription in found.items() if kind is Match.EXACT)
    patterns = (Pattern(kind, source, to) for (kind, source), to in found.items() if kind is not Match.EXACT)
    return exact, tuple(patterns)


def _rows(path: Path, headers: Sequence[tuple[str, ...]]) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not empty with its line; raise `SettingError` for another header or width."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = tuple(next(rows, ()))
            if header not in headers:
                lines = " or ".join(repr(",".join(columns)) for columns in headers)
                raise SettingError(f"{path} has another header", f"Begin it with the line {lines}")
            for row in rows:
                if not row:
                    continue
                if len(row) != len(header):
                    words = {2: "two", 3: "three"}[len(header)]
                    raise SettingError(
                        f"{path}, line {rows.line_num}: no row of {words} cells",
                        f"Write {words}{', neither empty' if len(header) == 2 else ''}",
                    )
                yield rows.line_num, row
    except (OSError, UnicodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingError(
            f"cannot read {str(path)!r}: {reason}", "Name a CSV file in UTF-8 that can be read"
        ) from error


def _twice(path: Path, line: int, cell: str) -> SettingError:
    return SettingError(f"{path}, line {line}: {cell!r} stands there twice, differently", "Remove one of them")
