"""What the tests of this folder share: lago standin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobs.playground.lago_standin import LagoStandIn
from tests.playground.lago_standin.helpers import NOW, Api


@pytest.fixture
def make_api(standin: LagoStandIn, request: pytest.FixtureRequest) -> Iterator[Callable[..., Api]]:
    made: list[Api] = []

    def make(**options: Any) -> Api:
        organization = standin.create_organization(request.node.name, **options)
        organization.configure(now=NOW)
        made.append(Api(organization))
        return made[-1]

    yield make
    for api in made:
        api.close()


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    return make_api()


@pytest.fixture
def clickhouse(make_api: Callable[..., Api]) -> Api:
    return make_api(event_store="clickhouse")
