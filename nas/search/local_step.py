"""Everything around one network: what each change of one operator does, and the best combinations of them.

Most of what makes a network better near its budget is spending the budget elsewhere: a larger kernel here, paid for by
a narrower block there, or by a whole block. Random mutation seldom finds all parts of such a trade. So every change
of one operator is evaluated, and as objective and limits nearly add up over such changes close by, the best of three
kinds of networks are tried: pairs of changes (the 2-exchange neighbourhood of the knapsack problem: Kellerer, Pferschy
and Pisinger 2004, https://doi.org/10.1007/978-3-540-24777-7), all operators chosen anew, and all operators
chosen anew with other depths or another resolution (`nas.search.filling`).
"""

import numpy as np
from numpy.typing import NDArray

from nas.search.archive import Scores
from nas.search.filling import Filling, Violations
from nas.search.places import Floats, Places
from nas.search.preselection import AdditiveModel
from search_spaces import Population

_FILLS = 2  # for each that is evaluated
_TEMPERATURE = 0.3  # of fills at most, in standard deviations of what changes do


class LocalStep:
    """Proposes networks around a parent.

    Parameters
    ----------
    places : of the space.
    violations : of a population, (n, c), > 0 means violated; costs next to nothing.
    """

    def __init__(self, places: Places, violations: Violations) -> None:
        self.places = places
        self._violations = violations
        self._fill = Filling(places, violations)
        self._unit: tuple[AdditiveModel, Floats] | None = None

    def combinations(
        self,
        parent: Population,
        own: Scores,
        singles: Population,
        scores: Scores,
        model: AdditiveModel,
        n: int,
        rng: np.random.Generator,
    ) -> tuple[Population, Population]:
        """Networks within the limits that the scores of single changes promise most of.

        Parameters
        ----------
        parent : (n_genes,).
        own : its scores, one row.
        singles, scores : ``places.changed(parent)``, and their scores.
        model : of the objective, for places that `parent` does not have, and to compare structures.
        n : how many at most, each of the two times.
        rng : the randomness of fills.

        Returns
        -------
        Networks of the same structure, most promising first; networks of neighbouring structures.
        """
        places = self.places
        place, number = places.changes
        gain = scores.objectives[:, 0] - own.objectives[0, 0]
        cost = scores.violations - own.violations
        here = places.present(parent[None])[0]
        table = self._gains(model)
        table[place, number] = np.where(here[place], gain, table[place, number])
        temperature = _TEMPERATURE * float(gain[gain != 0].std()) if (gain != 0).any() else 0.0

        real = np.flatnonzero((singles != parent).any(axis=1))
        pairs, promised = self._pairs(parent, real, gain[real], cost[real], -own.violations[0], n)
        several = np.repeat(parent[None], _FILLS * n, axis=0)
        refilled, sums = self._fill(several, table, temperature * rng.random(_FILLS * n), rng)
        order = np.argsort(np.concatenate([promised, sums]), kind="stable")
        same = self._within(np.concatenate([pairs, refilled])[order])
        if not places.structure:
            return same, same[:0]
        others, _ = self._fill(structures := places.neighbours(parent), table, np.zeros(len(structures)), rng)
        return same, model.best(self._within(others), n)

    def fills(self, structures: Population, model: AdditiveModel, rng: np.random.Generator) -> Population:
        """One network of each structure within the limits, as far as it can be, that the model promises much of.

        Noise of up to the spread of what operators do makes them differ in more than structure.
        """
        gains = self._gains(model)
        spread = float(gains[np.isfinite(gains)].std())
        return self._fill(structures, gains, spread * rng.random(len(structures)), rng)[0]

    def _pairs(
        self, parent: Population, changes: NDArray[np.intp], gain: Floats, cost: Floats, slack: Floats, n: int
    ) -> tuple[Population, Floats]:
        """The `n` pairs of `changes` that promise most and keep the limits if costs add up; what they promise."""
        place = self.places.changes[0][changes]
        total = gain[:, None] + gain
        allowed = place[:, None] < place
        for costs, left in zip(cost.T, slack, strict=True):
            allowed &= costs[:, None] + costs <= left
        pairs = np.flatnonzero(allowed)
        if len(pairs) > n:
            pairs = pairs[np.argpartition(total.ravel()[pairs], n)[:n]]
        first, second = changes[pairs // len(changes)], changes[pairs % len(changes)]
        return self.places.changed_twice(parent, first, second), total.ravel()[pairs]

    def _within(self, rows: Population) -> Population:
        return rows[(self._violations(rows) <= 0).all(axis=1)] if len(rows) else rows

    def _gains(self, model: AdditiveModel) -> Floats:
        """What the model promises of each operator beside the first of its place, (places, operators)."""
        if self._unit is None or self._unit[0] is not model:
            predicted = model.predict(self.places.changed(self.places.space.max)).astype(np.float64)
            self._unit = model, self.places.beside_first(predicted, absent=np.inf)
        return self._unit[1].copy()
