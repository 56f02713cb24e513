"""The truth test, small; `make truth` plays more worlds and tells the table."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeGuard

import pytest

from jobs.core.lago.billing_rules import Unbilled
from tests.truth.month import Stage, stage
from tests.truth.month_drive import impatient
from tests.truth.month_world import ERAS, draw

# All deep: dense worlds, the simulated month, fault schedules and scenarios are played in every run.
SEEDS = range(1, 21)


def is_played(item: pytest.Item) -> TypeGuard[pytest.Function]:
    """Return whether this test plays one of the worlds."""
    return isinstance(item, pytest.Function) and item.originalname == "test_what_was_used_is_billed_once_or_reported"


@pytest.fixture(scope="module")
def scene(request: pytest.FixtureRequest, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> object:
    """Make the stand-in, and the databases that the chosen seeds need, once."""
    seeds: list[Any] = [item.callspec.params["seed"] for item in request.session.items if is_played(item)]
    before = dict(os.environ)
    impatient(tmp_path_factory.mktemp("no-certificates"))
    try:
        with stage(postgres_url, tuple(dict.fromkeys(draw(seed).era for seed in seeds))) as made:
            yield made
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.mark.deep
@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_used_is_billed_once_or_reported(seed: int, scene: Stage, tmp_path: Path) -> None:
    verdict = scene.play(seed, tmp_path)
    assert not verdict.problems, "\n".join(verdict.problems)
    assert verdict.due == verdict.due_sent


@pytest.mark.deep
def test_the_worlds_are_not_all_alike() -> None:
    worlds = [draw(seed) for seed in SEEDS]
    assert {world.store for world in worlds} == {"postgres", "clickhouse"}
    assert {world.era for world in worlds} == set(ERAS)
    assert len({world.zone for world in worlds}) == 3
    arrivals = [(world, arrival) for world in worlds for call in world.calls for arrival in call.arrivals]
    unbilled = {world.unbilled(arrival, world.ends + timedelta(days=60)) for world, arrival in arrivals}
    # Rows that never began are of every third world only, and no plan vanishes.
    assert unbilled >= {""} | {*Unbilled} - {
        Unbilled.UNKNOWN_METRIC,
        Unbilled.UNKNOWN_PLAN,
        Unbilled.SUBSCRIPTION_CANCELED,
    }
