"""Which networks survive a generation, and which of them become parents.

Limits follow Deb's rules (https://doi.org/10.1016/S0045-7825(99)00389-8): a network that keeps all limits is better
than one that does not, then less violation is better, then the objective. Whole fronts use NSGA-II's ranking
(https://doi.org/10.1109/4235.996017).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nas.search.evolution.archive import Archive, Scores, total_violation
from nas.search.evolution.evaluation import Numbers
from nas.search.evolution.pareto import crowding_distance, non_dominated_rank
from search_spaces import SearchSpace

Order = Callable[[Scores], NDArray[np.intp]]
"""Indices from the best to the worst."""


def by_constraint_domination(scores: Scores) -> NDArray[np.intp]:
    """Those that keep the limits first, by the first objective; then the others by how much they violate."""
    return np.lexsort((scores.objectives[:, 0], total_violation(scores.violations)))


def by_rank_and_crowding(scores: Scores) -> NDArray[np.intp]:
    """NSGA-II: those that keep the limits first, front after front and the most distant of a front first."""
    violation = total_violation(scores.violations)
    feasible = violation == 0
    rank = np.zeros(len(violation), dtype=np.int64)
    crowding = np.zeros(len(violation))
    if feasible.any():
        rank[feasible] = non_dominated_rank(scores.objectives[feasible])
        crowding[feasible] = crowding_distance(scores.objectives[feasible], rank[feasible])
    return np.lexsort((-crowding, rank, violation))


class Clearing:
    """Keeps of networks that differ in little only the best (https://doi.org/10.1109/ICEC.1996.542703).

    A population of similar networks would end at the first local optimum that one of them finds.

    Parameters
    ----------
    space : whose networks.
    least : operators and context genes in which a network differs from all better ones, at least.
    """

    def __init__(self, space: SearchSpace, least: int) -> None:
        self._space, self._least = space, least

    def __call__(self, archive: Archive, numbers: Numbers) -> Numbers:
        """Those of `numbers`, which stand in order from the best to the worst, that differ enough."""
        encoded = self._space.encode(archive.population[numbers])
        size = encoded.sum(axis=1)
        differ = np.maximum(size[:, None], size) - encoded @ encoded.T
        return np.asarray(numbers[~np.tril(differ < self._least, -1).any(axis=1)])


class Survival:
    """Chooses the networks that survive a generation.

    Parameters
    ----------
    order : what is better.
    most : networks that survive, at most.
    clearing : leaves similar networks out; None keeps them.
    """

    def __init__(self, order: Order, most: int, clearing: Clearing | None = None) -> None:
        self._order, self._most, self._clearing = order, most, clearing

    def __call__(self, archive: Archive, numbers: Numbers) -> Numbers:
        """The best of these networks of the archive, from the best to the worst."""
        numbers = np.unique(numbers)
        numbers = numbers[self._order(archive.scores.of(numbers))]
        if self._clearing is not None:
            numbers = self._clearing(archive, numbers)
        return numbers[: self._most]


def tournament(parents: Numbers, n: int, rng: np.random.Generator) -> Numbers:
    """`n` parents, each the better of two random ones; `parents` stand in order from the best to the worst."""
    return np.asarray(parents[rng.integers(0, len(parents), size=(2, n)).min(axis=0)])
