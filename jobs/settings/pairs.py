"""Reads the two-column CSV files that settings name."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from jobs.errors import SettingError


def read_pairs(path: Path, columns: tuple[str, str], *, repeats: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the rows of a two-column CSV file with this header.

    Raises `SettingError` naming the file and line for an unreadable file, another header, a row of another width, an
    empty cell, or, unless it `repeats`, a first cell that came before with another second one.
    """
    seen: dict[str, str] = {}
    pairs: dict[tuple[str, str], None] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            if next(rows, None) != list(columns):
                raise SettingError(f"{path} has another header", f"Begin it with the line {','.join(columns)!r}")
            for row in rows:
                if not row:
                    continue
                if len(row) != 2 or not all(row):
                    raise SettingError(f"{path}, line {rows.line_num}: no row of two cells", "Write two, neither empty")
                pairs[row[0], row[1]] = None
                if seen.setdefault(row[0], row[1]) != row[1] and not repeats:
                    raise SettingError(
                        f"{path}, line {rows.line_num}: {row[0]!r} stands there twice, differently",
                        "Remove one of them",
                    )
        yield from pairs
    except (OSError, UnicodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingError(
            f"cannot read {str(path)!r}: {reason}", "Name a CSV file in UTF-8 that can be read"
        ) from error
