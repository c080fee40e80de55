"""Fill a structure with operators that share out the budget all at once, as far as gains and costs add up.

Given what each operator at its place promises and costs, the best choice within the limits is a knapsack with one item
from each class. Its Lagrangian relaxation chooses for every place by itself at a price of the limits, and the price is
found by bisection: Sinha and Zoltners (1979), https://doi.org/10.1287/opre.27.3.503. Gumbel noise on what is promised
makes many good answers of one: Papandreou and Yuille (2011), https://doi.org/10.1109/ICCV.2011.6126242.
"""

from collections.abc import Callable

import numpy as np

from nas.search.places import Floats, Places
from search_spaces import Population

Violations = Callable[[Population], Floats]

_HALVINGS = 8
_LOG_PRICES = (-9.0, 2.5)  # accuracy for a whole budget: from nothing to 12 times all there is


class Filling:
    """Fills structures under limits that cost next to nothing to judge.

    Parameters
    ----------
    places : of the space.
    violations : of a population, (n, c), > 0 means violated.
    """

    def __init__(self, places: Places, violations: Violations) -> None:
        self._places, self._violations = places, violations
        self._costs: dict[tuple[int, ...], Floats] = {}

    def costs(self, context: tuple[int, ...]) -> Floats:
        """What each operator costs more than the first of its place, shape ``(places, operators, c)``.

        In the max net with these choices of the context genes.
        """
        if context not in self._costs:
            largest = self._places.space.max.copy()
            largest[self._places.context] = context
            over = self._violations(self._places.changed(largest))
            self._costs[context] = self._places.beside_first(over, absent=0.0)
        return self._costs[context]

    def __call__(
        self, structures: Population, gain: Floats, temperature: Floats, rng: np.random.Generator
    ) -> tuple[Population, Floats]:
        """One network of each structure, and the sum of its gains, (n,); it keeps the limits where costs add
        up and the structure can keep them.

        Parameters
        ----------
        structures : (n, n_genes); their operators do not matter.
        gain : of the objective, minimised, by (place, operator); infinite where there is no such operator.
        temperature : (n,), scale of the noise on the gains.
        """
        places = self._places
        bare = places.bare(structures)
        present = places.present(bare)
        slack = -self._violations(bare)  # (n, c)
        contexts, which = np.unique(bare[:, places.context], axis=0, return_inverse=True)
        tables = np.stack([self.costs(tuple(context)) for context in contexts.tolist()]).astype(np.float32)
        costs = tables[which.ravel()] * present[:, :, None, None]  # (n, places, operators, c)
        # Several limits are priced in a proportion drawn for each network; all of them must be kept.
        shares = rng.exponential(size=slack.shape).astype(np.float32)
        shares /= shares.sum(axis=1, keepdims=True)
        priced = (costs * shares[:, None, None]).sum(axis=3)
        promised = np.broadcast_to(gain.astype(np.float32), priced.shape)
        if temperature.any():
            uniform = np.clip(rng.random(priced.shape, dtype=np.float32), 1e-6, 1 - 1e-6)
            promised = promised + temperature.astype(np.float32)[:, None, None] * np.log(-np.log(uniform))
        low, high = (np.full(len(bare), end, dtype=np.float32) for end in _LOG_PRICES)
        rows, columns = np.arange(len(bare))[:, None], np.arange(present.shape[1])
        for _ in range(_HALVINGS):
            price = (low + high) / 2
            chosen = (promised + np.exp(price)[:, None, None] * priced).argmin(axis=2)
            over = (costs[rows, columns, chosen].sum(axis=1) > slack).any(axis=1)
            low, high = np.where(over, price, low), np.where(over, high, price)
        chosen = (promised + np.exp(high)[:, None, None] * priced).argmin(axis=2)
        sums = (gain[columns, chosen] * present).sum(axis=1)
        return places.filled(bare, chosen), sums
