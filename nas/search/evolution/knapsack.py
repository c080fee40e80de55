"""Operators chosen anew for networks within limits, as far as gains and costs add up.

Given what each operator at its position promises and costs, the best choice within the limits is a knapsack with one
item from each class. Its Lagrangian relaxation chooses at every position by itself at a price of the limits, and the
price is found by bisection: Sinha and Zoltners (1979), https://doi.org/10.1287/opre.27.3.503.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nas.search.evolution.choices import Floats, OperatorChoices
from search_spaces import Population

Violations = Callable[[Population], Floats]

_HALVINGS = 7
_PRICES = 50.0  # of a limit: from one in so many to so many times what operators promise for what they cost


class Knapsack:
    """Chooses operators under limits that cost next to nothing to judge.

    Parameters
    ----------
    choices : of the space.
    violations : of a population, (n, c), > 0 means violated.
    """

    def __init__(self, choices: OperatorChoices, violations: Violations) -> None:
        self._choices, self._violations = choices, violations
        self._known: dict[tuple[int, ...], NDArray[np.float32]] = {}

    def _costs(self, context: tuple[int, ...]) -> NDArray[np.float32]:
        """What each operator adds to the violations, ``(c, positions, operators)``, but for a constant of its position.

        In the max net with these choices of the context genes.
        """
        if context not in self._known:
            largest = self._choices.space.max.copy()
            largest[self._choices.context] = context
            over = self._violations(self._choices.changed(largest))
            # Where there is no operator, it must not look cheaper than one.
            table = np.full((*self._choices.valid.shape, over.shape[1]), over.max(axis=0), dtype=np.float32)
            table[self._choices.valid] = over
            self._known[context] = np.moveaxis(table, 2, 0)
        return self._known[context]

    def __call__(
        self,
        rows: Population,
        violations: Floats,
        gains: NDArray[np.float32],
        scale: float,
        rng: np.random.Generator,
    ) -> Population:
        """The rows with operators chosen anew; they keep the limits where costs add up and the structure can.

        Parameters
        ----------
        rows : (n, n_genes), canonical.
        violations : theirs, (n, c): what is left of the limits, or too much.
        gains : of the objective, minimised, (n, positions, operators); infinite where there is no such operator.
        scale : what operators add, typically, in the unit of gains; prices are looked for around it.
        rng : several limits are priced in a proportion drawn for each network.
        """
        choices = self._choices
        present, own = choices.present(rows), choices.numbers(rows)
        if not own.size:  # there is nothing to choose
            return rows
        contexts, which = np.unique(rows[:, choices.context], axis=0, return_inverse=True)
        tables = np.stack([self._costs(tuple(context)) for context in contexts.tolist()], axis=1)
        costs = np.take(tables, which.ravel(), axis=1)  # (c, n, positions, operators)
        costs -= np.take_along_axis(costs, own[None, :, :, None], axis=3)
        costs *= present[:, :, None]
        if not len(costs):
            return choices.filled(rows, gains.argmin(axis=2))
        shares = rng.exponential(size=(len(costs), len(rows))).astype(np.float32)
        priced = np.einsum("cn,cnpo->npo", shares / shares.sum(axis=0), costs) if len(costs) > 1 else costs[0]
        unit = scale / max(float(np.abs(priced).mean()), 1e-12)
        cells = np.arange(own.size).reshape(own.shape) * gains.shape[2]
        chosen = priced.argmin(axis=2)  # where no price keeps the limits
        low, high = (np.full(len(rows), end) for end in (-np.log(_PRICES), np.log(_PRICES)))
        for _ in range(_HALVINGS):
            price = (low + high) / 2
            promised = priced * (unit * np.exp(price)).astype(np.float32)[:, None, None]
            promised += gains
            best = promised.argmin(axis=2)
            total = np.take(costs.reshape(len(costs), -1), cells + best, axis=1).sum(axis=2)  # (c, n)
            kept = (total <= -violations.T).all(axis=0)
            chosen[kept] = best[kept]
            low, high = np.where(kept, low, price), np.where(kept, price, high)
        return choices.filled(rows, chosen)
