"""Which networks become finalists: the best by prediction, and the best of those that were evaluated before."""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.search.budget import Budget
from nas.search.evolution.archive import Archive, row_keys, total_violation
from nas.search.latency import CostKey
from nas.search.objectives import Objectives
from search_spaces import Population, SearchSpace


class Evaluated(NamedTuple):
    """Networks whose accuracy was evaluated before the search.

    Attributes
    ----------
    population : int16 (n, n_genes).
    accuracy : (n,), fractions.
    """

    population: Population
    accuracy: NDArray[np.float64]


def choose_finalists(
    space: SearchSpace,
    archive: Archive,
    budget: Budget,
    n: int,
    exclude: Population,
    slack: float = 0.1,
    measured: Collection[CostKey] | None = None,
) -> Population:
    """The most accurate networks within the budget that differ from each other, with growing slack in latency.

    Predictions have similar errors for similar networks, so finalists differ in at least a twentieth of their genes.
    Each leaves a little more of the limit unused than the one before, the last a share of `slack`, in case all are too
    slow. Where none keeps the limits, those closest to the `measured` ones (by default all latencies) are taken.

    Returns
    -------
    int16 array of shape (at most n, n_genes).
    """
    candidates = ~np.isin(row_keys(archive.population), row_keys(exclude))
    if (candidates & archive.feasible).any():
        candidates &= archive.feasible
    else:  # after a correction everything known may be too slow
        hard = budget.without(*(budget.latencies if measured is None else measured)).limits
        candidates &= (archive.scores.violations[:, [limit in hard for limit in budget.limits]] <= 0).all(axis=1)
        candidates &= archive.violation <= np.sort(archive.violation[candidates])[:n].max(initial=0)
    index = np.nonzero(candidates)[0]
    index = index[np.argsort(archive.objectives[index, 0], kind="stable")]
    rows = archive.population[index]
    latencies = np.flatnonzero([limit.latency is not None for limit in budget.limits])
    room = -archive.scores.violations[np.ix_(index, latencies)].max(axis=1, initial=-1)
    distance = max(1, round(len(space.genes) / 20))
    unlike = np.ones(len(index), dtype=bool)
    free = np.ones(len(index), dtype=bool)
    chosen: list[int] = []
    for i in range(min(n, len(index))):
        roomy = room >= slack * i / max(1, n - 1)
        pick = next(int(np.argmax(m)) for m in (free & unlike & roomy, free & roomy, free & unlike, free) if m.any())
        chosen.append(pick)
        free[pick] = False
        unlike &= (rows != rows[pick]).sum(axis=1) >= distance
    return rows[chosen]


def choose_evaluated(
    objectives: Objectives, evaluated: Evaluated, budget: Budget, n: int, exclude: Population, worth: float = -np.inf
) -> Population:
    """Of networks that were evaluated those that are worth most, and more than `worth`.

    A predictor that learnt from a few dozen networks errs by more than an evaluation does; a search shall not return a
    network that is worse than one it knew.

    Parameters
    ----------
    objectives : by whose confidence a network is within `budget`.
    exclude : networks that are not taken.

    Returns
    -------
    int16 array of shape (at most n, n_genes), the best first.
    """
    rows, found = evaluated.population, evaluated.accuracy
    if objectives.exponent:
        found = objectives.weighed(found, objectives.costs(rows, budget), budget)
    within = total_violation(objectives.scorer(budget).violations(rows)) <= 0
    index = np.flatnonzero(within & (found > worth) & ~np.isin(row_keys(rows), row_keys(exclude)))
    return rows[index[np.argsort(-found[index], kind="stable")[:n]]]
