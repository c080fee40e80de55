"""An additive model of the objective: where new networks look promising, and what a change of an operator promises.

Near the front a network's objective is almost a sum over its operators, so ridge regression on the one-hot encoding,
fitted to the best networks known, tells promising children from the others at a hundredth of an evaluation's cost
(pre-selection, https://doi.org/10.1007/s00500-003-0328-5). It only chooses what is evaluated; nothing it predicts is
reported.
"""

import numpy as np
from numpy.typing import NDArray

from nas.search.evolution.archive import Archive
from search_spaces import Population, SearchSpace

ROWS = 1000  # the best of what is known; more would fit networks far from the front
RIDGE = 0.1  # in units of one observation: only there to keep unseen operators at zero


class AdditiveModel:
    """The objective as a sum over operators at their positions.

    Parameters
    ----------
    space : whose networks.
    weights : what each column of ``space.encode`` adds, shape (width,).
    """

    def __init__(self, space: SearchSpace, weights: NDArray[np.float32]) -> None:
        self._space = space
        self.weights = weights

    @classmethod
    def fitted(cls, space: SearchSpace, population: Population, objective: NDArray[np.float64]) -> "AdditiveModel":
        """Learn from networks (n, n_genes) whose objective (n,) is known: from the `ROWS` where it is least."""
        best = np.argsort(objective, kind="stable")[:ROWS]
        features, target = space.encode(population[best]), objective[best]
        features = features - features.mean(axis=0)
        gram = features.T @ features + np.float32(RIDGE) * np.eye(features.shape[1], dtype=np.float32)
        return cls(space, np.linalg.solve(gram, features.T @ (target - target.mean()).astype(np.float32)))

    @classmethod
    def of_archive(cls, space: SearchSpace, archive: Archive) -> "AdditiveModel":
        """Learn from what is known and keeps the limits; from everything known where nothing does."""
        feasible = archive.feasible
        known = feasible if feasible.any() else slice(None)
        return cls.fitted(space, archive.population[known], archive.objectives[known, 0])

    def predict(self, population: Population) -> NDArray[np.float32]:
        """The objective less a constant, shape ``(n,)``."""
        padded = np.append(self.weights, np.float32(0))  # an absent block adds nothing
        return np.asarray(padded[self._space.encoding_cells(population)].sum(axis=1))

    def best(self, population: Population, n: int) -> Population:
        """The `n` networks of least predicted objective, in the order given."""
        if len(population) <= n:
            return population
        return population[np.sort(np.argsort(self.predict(population), kind="stable")[:n])]
