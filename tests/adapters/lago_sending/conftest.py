"""What the tests of this folder share: lago sending."""

from __future__ import annotations

import pytest

from jobs.playground.lago_standin import LagoStandIn, Organization
from tests.adapters.lago_sending.helpers import POSTGRES, SERVERS, new_organization


# An older server differs from a newer one in what it does with a refused batch: `refusing` has both.
@pytest.fixture(
    params=[pytest.param(server, marks=[pytest.mark.deep] if server == SERVERS[0] else []) for server in SERVERS],
    ids="-".join,
)
def organization(standin: LagoStandIn, request: pytest.FixtureRequest) -> Organization:
    """Give an organization of each kind of server."""
    return new_organization(standin, request.param)


@pytest.fixture(params=POSTGRES, ids="-".join)
def refusing(standin: LagoStandIn, request: pytest.FixtureRequest) -> Organization:
    """Give an organization that refuses ids it has already."""
    return new_organization(standin, request.param)
