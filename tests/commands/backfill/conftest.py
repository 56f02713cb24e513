"""What the tests of this folder share: backfill."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.backfilling import (
    fill_litellm,
    new_organization,
)

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn

from tests.commands.backfill.helpers import CALLS, World


@pytest.fixture
def world(litellm_database: str, standin: LagoStandIn, tmp_path: Path) -> World:
    """Give eighteen calls of which six events are lost."""
    fill_litellm(litellm_database, CALLS)
    return World(CALLS, new_organization(standin, CALLS), litellm_database, tmp_path)
