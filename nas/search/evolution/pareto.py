"""Pareto fronts, vectorised. Objectives are minimised everywhere: negate what should grow.

Non-dominated sorting and crowding distance follow NSGA-II (Deb et al. 2002,
https://doi.org/10.1109/4235.996017).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def dominates(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether row i of `first` (n, m) is no worse than row j of `second` (k, m) everywhere and better once: (n, k)."""
    no_worse = np.ones((len(first), len(second)), dtype=bool)
    better = np.zeros_like(no_worse)
    # One objective at a time: half the memory traffic of a (n, k, m) comparison, and m is small.
    for column in range(first.shape[1]):
        a, b = first[:, column, None], second[None, :, column]
        no_worse &= a <= b
        better |= a < b
    return no_worse & better


def front(objectives: NDArray[Any]) -> NDArray[np.intp]:
    """Indices of the non-dominated rows, ordered by the last objective; of equal rows the earliest is kept.

    Parameters
    ----------
    objectives : array of shape (n, m), minimised.
    """
    values = np.asarray(objectives, dtype=np.float64)
    order = np.lexsort(values.T)  # by the last objective, ties by the one before it
    if values.shape[1] == 2:
        first = values[order, 0]
        best_so_far = np.minimum.accumulate(np.concatenate([[np.inf], first[:-1]]))
        return np.asarray(order[first < best_so_far])
    # In lexicographic order no row is dominated by a later one: the first is on the front, drop what it
    # dominates or equals, repeat. One vectorised pass for each member of the front.
    keep = []
    while len(order):
        keep.append(order[0])
        order = order[(values[order] < values[order[0]]).any(axis=1)]
    return np.array(keep, dtype=np.intp)


def non_dominated_rank(objectives: NDArray[Any]) -> NDArray[np.int64]:
    """Front number of every row: 0 for the Pareto front, 1 for the front once that is removed, and so on."""
    values = np.asarray(objectives, dtype=np.float64)
    dominating = dominates(values, values)
    n_dominators = dominating.sum(axis=0)
    rank = np.full(len(values), -1, dtype=np.int64)
    level = 0
    while (rank < 0).any():
        members = (n_dominators == 0) & (rank < 0)
        rank[members] = level
        n_dominators = n_dominators - dominating[members].sum(axis=0)
        level += 1
    return rank


def crowding_distance(objectives: NDArray[Any], rank: NDArray[np.int64]) -> NDArray[np.float64]:
    """Perimeter of the box between a row's neighbours on its front, in units of the objectives' ranges: (n,).

    The ends of each front are infinitely far from their neighbours, so that they survive.
    """
    values = np.asarray(objectives, dtype=np.float64)
    n, m = values.shape
    distance = np.zeros(n)
    for column in range(m):
        order = np.lexsort((values[:, column], rank))  # front after front, each by this objective
        ordered, fronts = values[order, column], rank[order]
        span = np.ptp(ordered) or 1.0
        gap = np.full(n, np.inf)
        gap[1:-1] = (ordered[2:] - ordered[:-2]) / span
        ends = np.ones(n, dtype=bool)
        ends[1:-1] = (fronts[1:-1] != fronts[:-2]) | (fronts[1:-1] != fronts[2:])
        gap[ends] = np.inf
        distance[order] += gap
    return distance


def hypervolume(objectives: NDArray[Any], reference: NDArray[Any]) -> float:
    """Area that two minimised objectives (n, 2) dominate, up to `reference` (2,)."""
    values = np.asarray(objectives, dtype=np.float64)
    values = values[(values < reference).all(axis=1)]
    points = values[front(values)]  # by the second objective ascending, so the first descends
    if not len(points):
        return 0.0
    tops = np.append(points[1:, 1], reference[1])
    return float(((reference[0] - points[:, 0]) * (tops - points[:, 1])).sum())
