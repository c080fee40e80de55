"""Which of many children are worth an evaluation: cheap limits first, then an additive model of the objective.

Near the front a network's objective is almost a sum over its operators, so ridge regression on the one-hot
encoding, fitted to the best networks known, tells promising children from hopeless ones at a hundredth of an
evaluation's cost (pre-selection, https://doi.org/10.1007/s00500-003-0328-5). It only chooses what is
evaluated; nothing it predicts is ever reported.
"""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from search_spaces import Population, SearchSpace

ROWS = 1000  # the best of what is known; more would fit networks far from the front
RIDGE = 0.1  # in units of one observation: only there to keep unseen operators at zero


@runtime_checkable
class SplitScore(Protocol):
    """A score whose limits can be judged without its objectives; calling it gives both."""

    def violations(self, population: Population) -> NDArray[np.float64]:
        """Shape (n, c), > 0 means violated."""

    def objectives(self, population: Population) -> NDArray[np.float64]:
        """Shape (n, m), minimised."""


@runtime_checkable
class SlopedScore(SplitScore, Protocol):
    """A score that can tell in which direction its first objective falls, as differentiable predictors can."""

    def slopes(self, population: Population) -> NDArray[np.float32]:
        """Derivatives of the first objective by the columns of ``space.encode``, shape (n, width)."""


class AdditiveModel:
    """The objective as a sum over operators at their places.

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

    def slopes(self, population: Population) -> NDArray[np.float32]:
        """The weights for every network: the sum's derivative is the same everywhere, (n, width)."""
        return np.broadcast_to(self.weights, (len(population), len(self.weights)))

    def predict(self, population: Population) -> NDArray[np.float32]:
        """The objective less a constant, shape ``(n,)``."""
        padded = np.append(self.weights, np.float32(0))  # an absent block adds nothing
        return np.asarray(padded[self._space.encoding_cells(population)].sum(axis=1))

    def best(self, population: Population, n: int) -> Population:
        """The `n` networks of least predicted objective, in the order given."""
        if len(population) <= n:
            return population
        return population[np.sort(np.argsort(self.predict(population), kind="stable")[:n])]
