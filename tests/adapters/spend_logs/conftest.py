"""What the tests of this folder share: spend logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.adapters.spend_logs.helpers import Table


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Return a loader of CSV chunks."""
    return Table(tmp_path / "chunks.csv")
