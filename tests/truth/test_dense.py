"""The truth test of dense worlds, small; `make dense` plays all combinations with many seeds."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

import pytest

from tests.truth.dense_judge import judge
from tests.truth.dense_play import Cut, Played, Scene, Sent, scene
from tests.truth.dense_traffic import draw
from tests.truth.dense_world import CHARGES, ERAS, HOUR, METERS, STORES, Call, Combination, Fate, Kind, World
from tests.truth.month_drive import impatient

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
# The first is played in every run; the others are deep.
QUICK = 1
FEWEST = 0.98


def is_played(item: pytest.Item) -> TypeGuard[pytest.Function]:
    """Return whether this test plays one of the worlds."""
    return isinstance(item, pytest.Function) and item.originalname == "test_nothing_is_billed_twice_or_to_someone_else"


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> object:
    """Make the stand-in, and the databases that the chosen worlds need, once."""
    played: list[Any] = [item.callspec.params["combination"] for item in request.session.items if is_played(item)]
    eras = {combination.era for combination in played}
    before = dict(os.environ)
    impatient(tmp_path_factory.mktemp("no-certificates"))
    try:
        with scene(postgres_url, sorted(eras)) as made:
            yield made
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.mark.parametrize(
    ("combination", "seed"),
    [pytest.param(*world, marks=[] if world in WORLDS[:QUICK] else pytest.mark.deep) for world in WORLDS],
    ids=str,
)
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


@pytest.mark.deep
def test_the_worlds_are_not_all_alike() -> None:
    worlds = [draw(combination, seed) for combination, seed in WORLDS]
    assert {world.kind for world in worlds} == set(Kind)
    for choices, name in ((ERAS, "era"), (STORES, "store"), (METERS, "meter"), (CHARGES, "charge_by")):
        assert {getattr(world.combination, name) for world in worlds} == set(choices)


def _sent(
    world: World, call: Call, identity: str | None = None, subscription: str | None = None, timestamp: str | None = None
) -> Sent:
    """Return the event that the job would send for this call, unless changed."""
    return Sent(
        identity or world.identity(call, "total"),
        subscription or call.row_end_user,
        timestamp or call.end.isoformat(),
        {"total_tokens": call.quantity("total")},
    )


def test_the_judge_tells_right_from_wrong() -> None:
    world = draw(Combination("1.109", "postgres", "callback", "end_user_id"), 2)
    alone = Counter((call.owner, call.model, call.tokens) for call in world.calls)
    first = {call.fate: call for call in world.calls if alone[call.owner, call.model, call.tokens] == 1}
    nothing = Played(world, (), (), None, None)
    silent = judge(nothing)
    assert silent.decidable > 20
    assert (silent.found, silent.wrong, silent.sent) == (0, 0, 0)
    for fate, found in (
        (Fate.DELIVERED, (1, 0, 0, 0)),
        (Fate.LATE, (1, 0, 0, 0)),
        (Fate.ELSEWHERE, (1, 0, 0, 0)),
        (Fate.INTERNAL, (0, 1, 0, 0)),
        (Fate.TIMEOUT, (0, 0, 0, 1)),
    ):
        verdict = judge(replace(nothing, sent=(_sent(world, first[fate]),)))
        assert (verdict.twice, verdict.astray, verdict.at_another_time, verdict.found) == found, fate
        assert len(verdict.problems) == verdict.wrong
    lost = first[Fate.TIMEOUT]
    for changed, wrong in (
        (_sent(world, lost, timestamp=(lost.end + HOUR).isoformat()), (0, 0, 1)),
        (_sent(world, lost, subscription="frank"), (0, 1, 0)),
        (_sent(world, lost, identity="litellm-lago:1:invented"), (0, 1, 0)),
    ):
        verdict = judge(replace(nothing, sent=(changed,)))
        assert (verdict.twice, verdict.astray, verdict.at_another_time) == wrong, changed
    both = _sent(world, lost), _sent(world, lost, identity=world.identity(lost, "total", "/top-up"))
    assert judge(replace(nothing, sent=both)).twice == 1
    assert judge(replace(nothing, cuts=(Cut("cut", (world.identity(lost, "total"),)),))).cut == 1
    assert judge(replace(nothing, refused="no reason")).problems
