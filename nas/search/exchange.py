"""Moves that trade one operator against another within the budget, chosen by an additive model.

Two thirds of what makes a network better near its budget is spending the budget elsewhere: a larger kernel
here, paid for by a narrower block there. Random mutation seldom finds both halves. So around a few parents
every change of one operator is judged, by the model and by the limits themselves, and of all pairs of
changes those that keep the limits (as far as their costs add up) and promise most become children. It is
the 2-exchange neighbourhood of the knapsack problem (Kellerer, Pferschy and Pisinger 2004,
https://doi.org/10.1007/978-3-540-24777-7), without its costs being known as a table.
"""

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nas.search.preselection import AdditiveModel
from search_spaces import Population, SearchSpace

Floats = NDArray[np.float64]


class Exchanges:
    """All changes of one operator, one depth or one context gene of a space.

    Parameters
    ----------
    space : whose networks.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        column = {gene.name: i for i, gene in enumerate(space.genes)}
        operators = list(dict.fromkeys(tuple(column[name] for name in token.genes) for token in space.tokens))
        chosen = {gene for genes in operators for gene in genes}
        groups = [*operators, *((i,) for i in range(len(space.genes)) if i not in chosen)]
        moves = [
            (number, list(genes), choice)
            for number, genes in enumerate(groups)
            for choice in product(*(range(space.n_choices[gene]) for gene in genes))
        ]
        self._group = np.array([number for number, _, _ in moves])
        self._changes = np.zeros((len(moves), len(space.genes)), dtype=bool)
        self._values = np.zeros((len(moves), len(space.genes)), dtype=np.int16)
        for row, (_, genes, choice) in enumerate(moves):
            self._changes[row, genes], self._values[row, genes] = True, choice

    def around(
        self,
        parents: Population,
        model: AdditiveModel,
        violations: Callable[[Population], Floats],
        n: int,
    ) -> Population:
        """Networks one or two changes away from `parents` (k, n_genes): of each the `n` most promising pairs.

        Parameters
        ----------
        model : of the objective, minimised.
        violations : of a population, (n, c), > 0 means violated; pairs are chosen as if it added up over changes.
        """
        space, n_moves = self._space, len(self._group)
        singles = space.canonical(np.where(self._changes, self._values, parents[:, None]).reshape(-1, parents.shape[1]))
        every = np.concatenate([parents, singles])
        gain, over = model.predict(every), violations(every)
        children = [singles[(over[len(parents) :] <= 0).all(axis=1)]]
        for number, parent in enumerate(parents):
            own = slice(len(parents) + number * n_moves, len(parents) + (number + 1) * n_moves)
            real = np.flatnonzero((every[own] != parent).any(axis=1))
            gains = gain[own][real] - gain[number]
            total = gains[:, None] + gains
            group = self._group[real]
            allowed = group[:, None] < group
            for costs, slack in zip((over[own][real] - over[number]).T, -over[number], strict=True):
                allowed &= costs[:, None] <= slack - costs
            pairs = np.flatnonzero(allowed)
            if len(pairs) > n:
                pairs = pairs[np.argpartition(total.ravel()[pairs], n)[:n]]
            traded = np.repeat(parent[None], len(pairs), axis=0)
            for half in (real[pairs // len(real)], real[pairs % len(real)]):
                traded = np.where(self._changes[half], self._values[half], traded)
            children.append(traded)
        return space.canonical(np.concatenate(children))
