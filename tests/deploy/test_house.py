"""The house stays one that a newcomer finds his way in: rooms of few things, and files that are read at one sitting."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_MOST_LINES, _MOST_FILES, _MOST_AT_THE_ROOT = 400, 25, 16
_PYTHON = [path for room in ("jobs", "tests", "benchmarks") for path in sorted((_ROOT / room).rglob("*.py"))]


def test_no_file_is_too_long() -> None:
    lengths = {str(path.relative_to(_ROOT)): len(path.read_text().splitlines()) for path in _PYTHON}
    assert len(lengths) > 300
    assert {name: lines for name, lines in lengths.items() if lines > _MOST_LINES} == {}


def test_no_folder_is_too_full() -> None:
    """The workspace's folders tell the run's story, each as long as its chapter."""
    queries = [path for path in (_ROOT / "sql").rglob("*.sql") if "workspace" not in path.parts]
    counts = Counter(str(path.parent.relative_to(_ROOT)) for path in (*_PYTHON, *queries))
    assert len(counts) > 40
    assert {folder: files for folder, files in counts.items() if files > _MOST_FILES} == {}
    assert counts["jobs"] <= _MOST_AT_THE_ROOT
