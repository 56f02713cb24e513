"""What the tests of this folder share: cli."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import psycopg
import pytest

from tests.support.scenario import SCENARIOS, Scenario

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn, Organization


@pytest.fixture
def organization(standin: LagoStandIn) -> Organization:
    """An organization that lacks one of three events."""
    scenario = Scenario(SCENARIOS / "class-d-lago-refused")
    organization = scenario.make_organization(standin)
    scenario.send(organization)
    return organization


@pytest.fixture
def environment(litellm_database: str, organization: Organization, tmp_path: Path) -> dict[str, str]:
    """What a deployment of LiteLLM has set, and three spend logs in its database."""
    with psycopg.connect(litellm_database, autocommit=True) as connection:
        Scenario(SCENARIOS / "class-d-lago-refused").fill_litellm(connection)
    parts = urlsplit(litellm_database)
    return {
        "DATABASE_HOST": f"{parts.hostname}:{parts.port or 5432}",
        "DATABASE_NAME": parts.path.removeprefix("/"),
        "DATABASE_USERNAME": unquote(parts.username or ""),
        "DATABASE_PASSWORD": unquote(parts.password or ""),
        "LAGO_API_BASE": f"{organization.api_base}/api/v1/",
        "LAGO_API_KEY": organization.api_key,
        "LAGO_API_EVENT_CODE": "llm_tokens",
        "RECONCILE_OUTPUT": str(tmp_path / "runs"),
    }
