"""What the tests of this folder share: lago events."""

from __future__ import annotations

import pytest

from jobs.playground.lago_standin import LagoStandIn
from jobs.playground.lago_standin.handle import Organization


@pytest.fixture
def organization(standin: LagoStandIn) -> Organization:
    return standin.create_organization("events")
