"""The assignment against SciPy's, which is slower and sees the whole cost matrix."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from jobs.core.assignment import Tolerance, assign

times = st.lists(st.integers(0, 60), max_size=9).map(sorted)
tolerances = st.builds(Tolerance, st.integers(0, 8), st.integers(0, 30))
FORBIDDEN = 10**7


def best_size_and_distance(expected: list[int], recorded: list[int], tolerance: Tolerance) -> tuple[int, int]:
    """Return what SciPy reaches: pairs are worth far more than any distance costs."""
    if not expected or not recorded:
        return 0, 0
    cost = np.array([[abs(e - r) - FORBIDDEN if tolerance.allows(e, r) else 0 for r in recorded] for e in expected])
    pairs = [(e, r) for e, r in zip(*linear_sum_assignment(cost), strict=True) if cost[e, r] < 0]
    return len(pairs), sum(abs(expected[e] - recorded[r]) for e, r in pairs)


@pytest.mark.parametrize("examples", [300, pytest.param(1500, marks=pytest.mark.deep)])
def test_size_and_distance_are_the_best_there_are(examples: int) -> None:
    @settings(max_examples=examples)
    @given(times, times, tolerances)
    def check(expected: list[int], recorded: list[int], tolerance: Tolerance) -> None:
        pairs = assign(expected, recorded, tolerance)
        assert len({e for e, _ in pairs}) == len({r for _, r in pairs}) == len(pairs)
        assert all(tolerance.allows(expected[e], recorded[r]) for e, r in pairs)
        distance = sum(abs(expected[e] - recorded[r]) for e, r in pairs)
        assert (len(pairs), distance) == best_size_and_distance(expected, recorded, tolerance)

    check()


@settings(max_examples=300)
@given(
    st.lists(st.integers(0, 12), max_size=5).map(sorted),
    st.lists(st.integers(0, 12), max_size=5).map(sorted),
    tolerances,
)
def test_among_equals_the_earliest_expected_events_are_kept(
    expected: list[int], recorded: list[int], tolerance: Tolerance
) -> None:
    size, distance = best_size_and_distance(expected, recorded, tolerance)
    best = [
        chosen
        for chosen in combinations(range(len(expected)), size)
        for answered in combinations(range(len(recorded)), size)
        if all(tolerance.allows(expected[e], recorded[r]) for e, r in zip(chosen, answered, strict=True))
        and sum(abs(expected[e] - recorded[r]) for e, r in zip(chosen, answered, strict=True)) == distance
    ]
    kept_times = [expected[e] for e, _ in assign(expected, recorded, tolerance)]
    assert kept_times == min([expected[e] for e in chosen] for chosen in best)


@given(times, tolerances)
def test_identity(moments: list[int], tolerance: Tolerance) -> None:
    assert assign(moments, moments, tolerance) == [(index, index) for index in range(len(moments))]


def test_four_equal_calls_and_two_events_leave_the_first_two_calls() -> None:
    calls, events = [38_847, 40_132, 41_392, 42_637], [41_418, 42_658]
    assert assign(calls, events, Tolerance(5_000, 60_000)) == [(2, 0), (3, 1)]


def test_a_surplus_event_far_away_does_not_hide_a_missing_one_near_the_others() -> None:
    assert assign([0, 100, 200], [1, 201, 290], Tolerance(5, 60)) == [(0, 0), (2, 1)]


@pytest.mark.parametrize("lost_one_in", [2, 10, 1000])
def test_a_giant_island_is_solved_in_linear_time(lost_one_in: int) -> None:
    calls = [index * 500 for index in range(100_000)]
    events = [time + 700 for index, time in enumerate(calls) if index % lost_one_in]
    pairs = assign(calls, events, Tolerance(5_000, 60_000))
    assert len(pairs) == len(events)
