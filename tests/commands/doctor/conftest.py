"""What the tests of this folder share: doctor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.backfilling import CODE, fill_litellm, new_organization

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn

from tests.commands.doctor.helpers import World, _database, _now, calls


@pytest.fixture(scope="module")
def healthy_database(litellm_database_for_module: str) -> str:
    """URL of LiteLLM's database with calls, for faults that lie elsewhere."""
    fill_litellm(litellm_database_for_module, calls(_now()))
    return litellm_database_for_module


@pytest.fixture
def world(
    healthy_database: str, litellm_database_at: Callable[[str], str], standin: LagoStandIn, tmp_path: Path
) -> Iterator[World]:
    """Give a healthy deployment of the newest LiteLLM."""
    organization = new_organization(standin, calls(_now()), now=None)
    environment = {
        "LAGO_API_BASE": organization.api_base,
        "LAGO_API_KEY": organization.api_key,
        "LAGO_API_EVENT_CODE": CODE,
        "RECONCILE_LAGO_RATE": "10000",
        "RECONCILE_OUTPUT": str(tmp_path / "runs"),
        **_database(healthy_database),
    }
    with ExitStack() as stack:
        yield World(healthy_database, organization, tmp_path, environment, stack, litellm_database_at)
