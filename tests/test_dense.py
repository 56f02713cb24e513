"""The truth test of dense worlds, small; `make dense` plays all combinations with many seeds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .dense_judge import judge
from .dense_play import Scene, scene
from .dense_traffic import draw
from .dense_world import CHARGES, COMBINATIONS, ERAS, METERS, STORES, Combination, Kind
from .truth_drive import impatient

# Every second combination, so that each pair of choices is there, and each kind of world.
WORLDS = tuple(
    (combination, seed)
    for number, (combination, seed) in enumerate(zip(COMBINATIONS, (1, 2, 3, 4, 5, 6, 7, 8) * 4, strict=True))
    if number.bit_count() % 2 == 0
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
    verdict = judge(place.play(draw(combination, seed), tmp_path, most_cuts=3))
    assert not verdict.problems, "\n".join(verdict.problems)
    assert verdict.wrong == 0
    # One event of a world with few may be missed.
    assert verdict.found >= min(FEWEST * verdict.decidable, verdict.decidable - 1), verdict.missed


def test_the_worlds_are_not_all_alike() -> None:
    worlds = [draw(combination, seed) for combination, seed in WORLDS]
    assert {world.kind for world in worlds} == set(Kind)
    for choices, name in ((ERAS, "era"), (STORES, "store"), (METERS, "meter"), (CHARGES, "charge_by")):
        assert {getattr(world.combination, name) for world in worlds} == set(choices)
