"""Where a search goes on when it no longer improves: from new structures, or from crosses of local optima."""

import numpy as np

from nas.search.evolution.archive import Archive, total_violation
from nas.search.evolution.evaluation import Numbers
from nas.search.evolution.local_search import LocalSearch
from nas.search.evolution.selection import Survival
from nas.search.evolution.surrogate import AdditiveModel
from nas.search.evolution.variation import Variation
from search_spaces import Population, SearchSpace

_CROSS_EVERY = 3  # restarts
_STRUCTURES = 3  # random ones at a start, for each of those that are evaluated


class Restart:
    """Starts a search anew, from networks that were not evaluated yet.

    Parameters
    ----------
    space : whose networks.
    archive : what is known.
    local_search, variation, survival : of the search.
    n : networks to start from, before local search.
    rng : source of all randomness.

    Attributes
    ----------
    local_optima : (n_genes,) each, the networks that earlier starts ended at.
    """

    def __init__(
        self,
        space: SearchSpace,
        archive: Archive,
        local_search: LocalSearch,
        variation: Variation,
        survival: Survival,
        n: int,
        rng: np.random.Generator,
    ) -> None:
        self._space, self._archive, self._n, self._rng = space, archive, n, rng
        self._local_search, self._variation, self._survival = local_search, variation, survival
        self.local_optima: list[Population] = []

    def __call__(self, parents: Numbers, model: AdditiveModel) -> tuple[Numbers, AdditiveModel]:
        """New parents, in order from the best to the worst, and the model to go on with; no parents if none are new.

        Parameters
        ----------
        parents : in order from the best to the worst; the first is a local optimum.
        model : of the objective.
        """
        known = len(self._archive)
        self._local_search.reset()
        self.local_optima.append(self._archive.population[parents[0]])
        if len(self.local_optima) % _CROSS_EVERY:
            fresh, model = self.from_structures(parents)
        else:
            fresh = self._local_search.step(self._crosses(), model)
        fresh = fresh[fresh >= known]
        return self._survival(self._archive, fresh) if len(fresh) else fresh, model

    def from_structures(self, known: Numbers) -> tuple[Numbers, AdditiveModel]:
        """The best of `known` and of random structures whose operators a model of everything known has chosen."""
        model = AdditiveModel.of_archive(self._space, self._archive)
        structures = self._space.sample(_STRUCTURES * self._n, self._rng)
        filled = model.best(self._local_search.fill(structures, model), self._n)
        better = self._local_search.step(filled, model)
        return self._survival(self._archive, np.concatenate([known, better])), model

    def _crosses(self) -> Population:
        """Children of pairs of local optima."""
        ends = np.stack(self.local_optima)
        first, second = self._rng.integers(0, len(ends), size=(2, self._n))
        return self._variation.cross(ends[first], ends[second])


class Stagnation:
    """Counts the generations without a better network.

    Parameters
    ----------
    archive : what is known.
    parents : the first ones, in order from the best to the worst.

    Attributes
    ----------
    generations : since the best parent was last better than all before.
    """

    def __init__(self, archive: Archive, parents: Numbers) -> None:
        self._archive = archive
        self.reset(parents)

    def reset(self, parents: Numbers) -> None:
        """Count anew from these parents."""
        self.generations, self._best = 0, self._fitness(parents)

    def update(self, parents: Numbers) -> None:
        """Count a generation that ended with these parents."""
        now = self._fitness(parents)
        self.generations = 0 if now < self._best else self.generations + 1
        self._best = min(self._best, now)

    @property
    def feasible(self) -> bool:
        """Whether the best parent keeps the limits."""
        return self._best[0] == 0

    def _fitness(self, parents: Numbers) -> tuple[float, float]:
        """Violation and first objective of the best."""
        best = self._archive.scores.of(parents[:1])
        return float(total_violation(best.violations)[0]), float(best.objectives[0, 0])
