"""How new networks come from known ones: uniform crossover, then mutation."""

import numpy as np

from nas.search.evolution.archive import Archive
from nas.search.evolution.evaluation import Numbers
from nas.search.evolution.selection import tournament
from search_spaces import Population, SearchSpace


class Variation:
    """Makes children of parents.

    Parameters
    ----------
    space : whose networks.
    changes : genes that a mutation redraws, on average.
    rng : source of all randomness.
    """

    def __init__(self, space: SearchSpace, changes: float, rng: np.random.Generator) -> None:
        self._space, self._rng = space, rng
        self._rate = min(1.0, changes / len(space.genes))

    def cross(self, first: Population, second: Population) -> Population:
        """A child of each pair, (n, n_genes)."""
        return self._space.mutate(self._space.crossover(first, second, self._rng), self._rate, self._rng)

    def children(self, archive: Archive, parents: Numbers, n: int) -> Population:
        """`n` children of parents that win a tournament each; `parents` stand in order from the best to the worst."""
        first, second = (archive.population[tournament(parents, n, self._rng)] for _ in range(2))
        return self.cross(first, second)
