import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nas.search.evolution.pareto import crowding_distance, front, hypervolume, non_dominated_rank

# Few different values, so that ties and duplicates are common.
OBJECTIVES = st.integers(2, 4).flatmap(
    lambda m: hnp.arrays(np.float64, st.tuples(st.integers(1, 25), st.just(m)), elements=st.integers(0, 5).map(float))
)


def brute_rank(values: np.ndarray) -> list[int]:
    rank = [-1] * len(values)
    level = 0
    while -1 in rank:
        left = [i for i, r in enumerate(rank) if r < 0]
        members = [
            i for i in left if not any((values[j] <= values[i]).all() and (values[j] < values[i]).any() for j in left)
        ]
        for i in members:
            rank[i] = level
        level += 1
    return rank


@given(OBJECTIVES)
@settings(deadline=None)
def test_rank_equals_brute_force(values: np.ndarray) -> None:
    assert non_dominated_rank(values).tolist() == brute_rank(values)


@given(OBJECTIVES)
@settings(deadline=None)
def test_front_is_rank_zero_without_duplicates(values: np.ndarray) -> None:
    expected = {tuple(v) for v, r in zip(values, brute_rank(values), strict=True) if r == 0}
    found = [tuple(v) for v in values[front(values)]]
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert [v[-1] for v in found] == sorted(v[-1] for v in found)


def test_ends_of_every_front_are_infinitely_lonely() -> None:
    values = np.array([[0, 4], [1, 2], [3, 1], [4, 0], [5, 5], [6, 4.5], [7, 4.2]], dtype=float)
    rank = non_dominated_rank(values)
    assert rank.tolist() == [0, 0, 0, 0, 1, 1, 1]
    distance = crowding_distance(values, rank)
    assert np.isinf(distance[[0, 3, 4, 6]]).all()
    assert distance[1] == pytest.approx(3 / 7 + 3 / 5)
    assert distance[2] == pytest.approx(3 / 7 + 2 / 5)


def test_hypervolume_of_known_boxes() -> None:
    points = np.array([[1, 3], [2, 2], [3, 1], [2.5, 2.5], [9, 0]], dtype=float)
    assert hypervolume(points, np.array([4, 4])) == pytest.approx(3 * 1 + 2 * 1 + 1 * 1)
    assert hypervolume(points + 10, np.array([4, 4])) == 0
