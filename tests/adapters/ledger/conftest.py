"""What the tests of this folder share: ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.adapters.ledger import Ledger
from tests.adapters.ledger.helpers import opened


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty ledger on each back end."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/runs/ledger.sqlite"
    return str(request.getfixturevalue("database"))


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """Return an open, empty ledger."""
    with opened(url) as opened_ledger:
        yield opened_ledger
