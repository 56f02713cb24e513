"""The truth test of dense worlds, small; `make dense` plays all combinations with many seeds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .dense_judge import judge
from .dense_play import Scene, scene
from .dense_traffic import draw
from .dense_world import CHARGES, ERAS, METERS, STORES, Combination, Kind
from .truth_drive import impatient

# Each era with each store, meter and payer, and each kind of world.
WORLDS = (
    (Combination("1.53", "postgres", "callback", "end_user_id"), 5),
    (Combination("1.53", "clickhouse", "input-output", "team_id"), 1),
    (Combination("1.53", "clickhouse", "callback", "team_id"), 3),
    (Combination("1.65", "clickhouse", "callback", "end_user_id"), 2),
    (Combination("1.65", "postgres", "input-output", "team_id"), 4),
    (Combination("1.79", "postgres", "callback", "end_user_id"), 7),
    (Combination("1.79", "clickhouse", "input-output", "end_user_id"), 6),
    (Combination("1.79", "postgres", "callback", "team_id"), 9),
    (Combination("1.109", "postgres", "input-output", "end_user_id"), 1),
    (Combination("1.109", "clickhouse", "callback", "team_id"), 2),
)
FEWEST = 0.98


@pytest.fixture(scope="module")
def place(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> object:
    """Make the databases and the stand-in once."""
    before = dict(os.environ)
    impatient(tmp_path_factory.mktemp("no-certificates"))
    try:
        with scene(postgres_url, ERAS) as made:
            yield made
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.mark.parametrize(("combination", "seed"), WORLDS, ids=str)
def test_nothing_is_billed_twice_or_to_someone_else(
    combination: Combination, seed: int, place: Scene, tmp_path: Path
) -> None:
    verdict = judge(place.play(draw(combination, seed), tmp_path, most_cuts=2))
    assert not verdict.problems, "\n".join(verdict.problems)
    assert verdict.wrong == 0
    # One event of a world with few may be missed.
    assert verdict.found >= min(FEWEST * verdict.decidable, verdict.decidable - 1), verdict.missed
    for (cause, is_true), count in verdict.advice.items():
        assert is_true is not False or count <= max(1, (1 - FEWEST) * verdict.told(cause)), (cause, verdict.untrue)


def test_the_worlds_are_not_all_alike() -> None:
    worlds = [draw(combination, seed) for combination, seed in WORLDS]
    assert {world.kind for world in worlds} == set(Kind)
    for choices, name in ((ERAS, "era"), (STORES, "store"), (METERS, "meter"), (CHARGES, "charge_by")):
        assert {getattr(world.combination, name) for world in worlds} == set(choices)
