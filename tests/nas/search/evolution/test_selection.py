import numpy as np

from nas.search.evolution.archive import Archive, Scores
from nas.search.evolution.initial import near_limits, over_all_costs
from nas.search.evolution.selection import (
    Clearing,
    Survival,
    by_constraint_domination,
    by_rank_and_crowding,
    tournament,
)
from search_spaces import get_space

SPACE = get_space("mobilenet_v3_small_images")


def test_less_violation_is_better_and_then_the_objective() -> None:
    scores = Scores(np.array([[1.0], [0.0], [3.0], [2.0]]), np.array([[-1.0, 0.5], [2.0, 2.0], [0.0, -1.0], [-1, -1]]))
    np.testing.assert_array_equal(by_constraint_domination(scores), [3, 2, 0, 1])


def test_front_after_front_and_the_ends_of_a_front_first() -> None:
    objectives = np.array([[0.0, 4.0], [1.0, 2.0], [1.1, 1.9], [4.0, 0.0], [4.0, 4.0], [0.0, 0.0]])
    violations = np.array([[0.0]] * 5 + [[1.0]])
    order = by_rank_and_crowding(Scores(objectives, violations)).tolist()
    assert set(order[:2]) == {0, 3}
    assert set(order[2:4]) == {1, 2}
    assert order[4:] == [4, 5]


def test_clearing_leaves_out_what_is_like_a_better_network() -> None:
    other = SPACE.max.copy()
    changed = next(i for i in range(len(other) - 1, -1, -1) if SPACE.n_choices[i] > 1)
    other[changed] = 0
    rows = SPACE.canonical(np.stack([SPACE.max, other, SPACE.min]))
    archive = Archive()
    archive.add(rows, Scores(np.array([[2.0], [1.0], [3.0]]), np.empty((3, 0))))
    numbers = np.array([2, 1, 0, 1])
    kept = Survival(by_constraint_domination, 5, Clearing(SPACE, 3))(archive, numbers)
    np.testing.assert_array_equal(kept, [1, 2])  # the max net is like a better one
    np.testing.assert_array_equal(Survival(by_constraint_domination, 2)(archive, numbers), [1, 0])


def test_better_parents_win_more_often() -> None:
    won = tournament(np.array([7, 5, 9]), 9000, np.random.default_rng(0))
    shares = [float((won == parent).mean()) for parent in (7, 5, 9)]
    np.testing.assert_allclose(shares, [5 / 9, 3 / 9, 1 / 9], atol=0.02)


def test_initial_networks_lie_over_all_costs_or_near_the_limits() -> None:
    macs = SPACE.costs(over_all_costs(SPACE, 200, np.random.default_rng(0))).macs
    least, most = (int(SPACE.costs(row[None]).macs[0]) for row in (SPACE.min, SPACE.max))
    assert (macs.min(), macs.max()) == (least, most)
    limit = 0.3 * most

    class Limited:
        def objectives(self, population):
            raise AssertionError("limits are enough")

        def violations(self, population):
            return (SPACE.costs(population).macs / limit - 1)[:, None]

    near = SPACE.costs(near_limits(SPACE, Limited(), 200, np.random.default_rng(0))).macs / limit
    assert len(near) == 200
    assert np.abs(near - 1).mean() < np.abs(macs / limit - 1).mean() / 2
