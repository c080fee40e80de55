"""The places of a space at which an operator is chosen, as one table of choices.

A *place* is a token of the space with its genes; tokens that share their genes (tied blocks) are one place. The
*structure* is what says which places there are and what they cost: depths and context genes, such as the resolution.
"""

from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from search_spaces import Population, SearchSpace

Floats = NDArray[np.float64]

_NEAR = 2  # choices of a depth or a resolution up to which another one is a neighbour


class Places:
    """Operators by (place, operator number), shapes ``(places, operators)`` with `valid` telling the real ones.

    Parameters
    ----------
    space : whose networks.

    Attributes
    ----------
    valid : bool (places, operators).
    structure : columns of the genes that decide which places there are and what they cost.
    context : of these, the columns that slots read besides their own genes.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        column = {gene.name: i for i, gene in enumerate(space.genes)}
        genes = list(dict.fromkeys(tuple(column[name] for name in token.genes) for token in space.tokens))
        choices = [list(product(*(range(space.n_choices[gene]) for gene in of))) for of in genes]
        n_operators = max(map(len, choices))
        self.valid = np.arange(n_operators) < np.array([len(of) for of in choices])[:, None]
        self._genes = np.zeros((len(genes), len(space.genes)), dtype=bool)
        self._operators = np.zeros((*self.valid.shape, len(space.genes)), dtype=np.int16)
        for place, (own, of) in enumerate(zip(genes, choices, strict=True)):
            self._genes[place, list(own)] = True
            for number, choice in enumerate(of):
                self._operators[place, number, list(own)] = choice
        self._first = np.array([own[0] for own in genes], dtype=np.intp)
        needs = [*(gene.needs for gene in space.genes), *(slot.needs for slot in space.slots)]
        context = {name for slot in space.slots for name in slot.context}
        deciding = {need[0] for need in needs if need} | context
        free = [i for i, gene in enumerate(space.genes) if len(gene.values) > 1]
        self.structure = [i for i in free if space.genes[i].name in deciding]
        self.context = [i for i in free if space.genes[i].name in context]

    @cached_property
    def changes(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Place and operator number of every change of one operator, shapes ``(n_changes,)``."""
        place, number = np.nonzero(self.valid)
        return place, number

    def beside_first(self, of_changes: Floats, absent: float) -> Floats:
        """What is known of `changes`, (n_changes, ...), by (place, operator, ...), less that of the first operator.

        `absent` stands where a place has no such operator.
        """
        table = np.full((*self.valid.shape, *of_changes.shape[1:]), absent)
        table[self.changes] = of_changes
        return table - table[:, :1]

    def changed(self, parent: Population) -> Population:
        """`parent` with each of `changes`, canonical, shape ``(n_changes, n_genes)``."""
        place, number = self.changes
        return self.space.canonical(np.where(self._genes[place], self._operators[place, number], parent))

    def changed_twice(self, parent: Population, first: NDArray[np.intp], second: NDArray[np.intp]) -> Population:
        """`parent` with changes number `first` and `second`, canonical, shape ``(n, n_genes)``."""
        rows: Population = parent
        for which in (first, second):
            place, number = (of[which] for of in self.changes)
            rows = np.where(self._genes[place], self._operators[place, number], rows)
        return self.space.canonical(rows)

    def bare(self, rows: Population) -> Population:
        """The rows with the first operator everywhere, canonical."""
        return self.space.canonical(np.where(self._genes.any(axis=0), np.int16(0), rows))

    def present(self, rows: Population) -> NDArray[np.bool_]:
        """Which places there are, shape ``(n, places)``."""
        return self.space.active(rows)[:, self._first]

    def filled(self, rows: Population, numbers: NDArray[np.intp]) -> Population:
        """The rows with operators `numbers` (n, places) instead of theirs, canonical."""
        out = np.where(self._genes.any(axis=0), np.int16(0), rows)
        for place in range(len(self.valid)):
            out += self._operators[place, numbers[:, place]]
        return self.space.canonical(out)

    def neighbours(self, parent: Population) -> Population:
        """`parent` with one or two genes of its structure changed to a near choice, shape ``(n, n_genes)``."""
        one = [
            (gene, choice)
            for gene in self.structure
            for choice in range(max(0, parent[gene] - _NEAR), min(self.space.n_choices[gene], parent[gene] + _NEAR + 1))
            if choice != parent[gene]
        ]
        pairs = [(a, b) for i, a in enumerate(one) for b in one[:i] if a[0] != b[0]]
        rows = np.repeat(parent[None], len(one) + len(pairs), axis=0)
        for row, changes in zip(rows, [*((change,) for change in one), *pairs], strict=True):
            for gene, choice in changes:
                row[gene] = choice
        return rows
