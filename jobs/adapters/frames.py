"""Report frames: rows that were compared or shared in Python become a CSV by way of pandas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

import pandas as pd

from jobs.core.telling.reports import Columns
from jobs.core.text import spreadsheet_safe

_ROWS_AT_A_TIME = 10_000


def write_frames(path: Path, columns: Columns, rows: Iterable[Mapping[str, str]]) -> None:
    """Write rows of these columns, strangers' text made safe for a spreadsheet, few of them in memory at a time."""
    names, remaining = list(columns.names), iter(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        pd.DataFrame(columns=names).to_csv(file, index=False, lineterminator="\n")
        while some := list(islice(remaining, _ROWS_AT_A_TIME)):
            frame = pd.DataFrame.from_records(some, columns=names)
            safe = {name: frame[name].map(spreadsheet_safe) for name in columns.texts}
            frame.assign(**safe).to_csv(file, index=False, header=False, lineterminator="\n")
