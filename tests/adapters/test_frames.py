"""Frames as CSV: what the standard library writes of the same rows, whatever is in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.adapters import frames
from jobs.core.telling.reports import Columns, csv_lines


@pytest.mark.parametrize("at_a_time", [1, 2, 100])
def test_frames_are_written_like_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_a_time: int) -> None:
    monkeypatch.setattr(frames, "_ROWS_AT_A_TIME", at_a_time)
    columns = Columns(("model", "difference"), frozenset({"model"}))
    rows = [
        {"model": "=1+1", "difference": "-5"},
        {"model": 'a,"b"\n', "difference": ""},
        {"model": "NA", "difference": "1e400"},
        {"model": "007", "difference": "0.10"},
    ]
    frames.write_frames(tmp_path / "some.csv", columns, iter(rows))
    assert (tmp_path / "some.csv").read_bytes() == b"".join(csv_lines(columns, rows))
    frames.write_frames(tmp_path / "none.csv", columns, [])
    assert (tmp_path / "none.csv").read_bytes() == b"model,difference\n"
