"""Proposals downhill: a network's operators chosen anew where the slopes of the objective say that it pays.

The objective's slopes at a network tell what each change of one operator would do, nearly, and so which of its
quadrillions of neighbours is worth an evaluation. Within a budget the best step along the slopes is a knapsack
(`nas.search.evolution.knapsack`); as slopes hold only nearby, an operator is changed only where that promises
enough (sequential linear programming with a penalty on the step, as in https://doi.org/10.1007/BF01582292). What
slopes promise is never believed: the proposal is evaluated, and taken if it is better.
"""

import numpy as np
from numpy.typing import NDArray

from nas.search.evolution.choices import Floats, Places
from nas.search.evolution.knapsack import Filling, Violations
from search_spaces import Population

# In standard deviations of what operators do.
_ENOUGH = 0.7  # less changes more operators at once, than which slopes know better
_NOISE = 0.3  # Gumbel noise on what is promised to random structures, so that they differ in more than that


class Descent:
    """Proposes networks below given ones, within the limits.

    Parameters
    ----------
    places : of the space.
    violations : of a population, (n, c), > 0 means violated; costs next to nothing.
    """

    def __init__(self, places: Places, violations: Violations) -> None:
        self._places, self.violations = places, violations
        self._fill = Filling(places, violations)

    def proposals(
        self, rows: Population, violations: Floats, slopes: NDArray[np.float32], rng: np.random.Generator
    ) -> Population:
        """A network of the same structure for each, shape ``(n, n_genes)``; its own where nothing promises enough.

        Parameters
        ----------
        rows : (n, n_genes), canonical.
        violations : theirs, (n, c).
        slopes : of the objective there, by the columns of ``space.encode``, (n, width).
        rng : see `Filling`.
        """
        gains, scale = self._places.gains(slopes)
        own = self._places.numbers(rows)[:, :, None]
        stay = np.take_along_axis(gains, own, axis=2) - np.float32(_ENOUGH * scale)
        np.put_along_axis(gains, own, stay, axis=2)
        return self._fill(rows, violations, gains, scale, rng)

    def fills(self, structures: Population, slopes: NDArray[np.float32], rng: np.random.Generator) -> Population:
        """A network of each structure, with operators as the slopes (width,) and noise have it."""
        gains, scale = self._places.gains(slopes[None])
        noise = rng.gumbel(size=(len(structures), *gains.shape[1:])).astype(np.float32)
        gains = gains - np.float32(_NOISE * scale) * noise
        return self._fill(structures, self.violations(structures), gains, scale, rng)
