"""The operators that can be chosen in a space, as one table by position and operator.

A *position* is a token of the space with its genes; tokens that share their genes (tied blocks) are one position. The
*structure* says which positions there are and what they cost: depths and context genes, such as the resolution.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from search_spaces import Population, SearchSpace

Floats = NDArray[np.float64]


class OperatorChoices:
    """Operators by (position, operator number).

    A space may have no position, or one operator at each: then only structures differ.

    Parameters
    ----------
    space : whose networks.

    Attributes
    ----------
    valid : bool (positions, operators), where a position has such an operator.
    structure : columns of the genes that decide which positions there are and what they cost.
    context : of these, the columns that slots read besides their own genes.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        genes = list(dict.fromkeys(tuple(space.columns[name] for name in token.genes) for token in space.tokens))
        choices = [np.array(list(product(*(range(space.n_choices[gene]) for gene in of)))) for of in genes]
        n_operators = max(map(len, choices), default=1)
        self.valid = np.arange(n_operators) < np.array([len(of) for of in choices], dtype=np.intp)[:, None]
        # Each gene of an operator: its column, position, choice by operator number, and what it adds to that number.
        self._columns = np.array([gene for own in genes for gene in own], dtype=np.intp)
        self._position = np.array([i for i, own in enumerate(genes) for _ in own], dtype=np.intp)
        self._choice = np.zeros((len(self._columns), n_operators), dtype=np.int16)
        self._radix = np.zeros((len(space.genes), len(genes)), dtype=np.float32)
        of_genes = (row for of in choices for row in of.T)
        for i, (gene, position, row) in enumerate(zip(self._columns, self._position, of_genes, strict=True)):
            self._choice[i, : len(row)] = row
            self._radix[gene, position] = np.argmax(row == 1) if row.any() else 0
        self._first = np.array([own[0] for own in genes], dtype=np.intp)
        needs = [*(gene.needs for gene in space.genes), *(slot.needs for slot in space.slots)]
        context = {gene.name for gene in space.context_genes}
        deciding = {need[0] for need in needs if need} | context
        free = [i for i, gene in enumerate(space.genes) if len(gene.values) > 1]
        self.structure = [i for i in free if space.genes[i].name in deciding]
        self.context = [i for i in free if space.genes[i].name in context]
        self._encoded = self._columns_of_encoding()

    def _columns_of_encoding(self) -> NDArray[np.intp]:
        """Columns of ``space.encode`` of each operator, ``(tied, positions, operators)``; the width where none."""
        position, _ = np.nonzero(self.valid)
        cells = self.space.encoding_cells(self.changed(self.space.max))
        found = [(own := cells[position == p])[:, (own != own[0]).any(axis=0)].T for p in range(len(self.valid))]
        tied = max(map(len, found), default=0)
        table = np.full((tied, *self.valid.shape), self.space.encoding_width, dtype=np.intp)
        for p, columns in enumerate(found):
            table[: len(columns), p, : columns.shape[1]] = columns
        return table

    def changed(self, row: Population) -> Population:
        """`row` with each operator of each position in turn, in the order of `valid`, canonical."""
        numbers = np.repeat(self.numbers(row[None]), self.valid.sum(), axis=0)
        position, number = np.nonzero(self.valid)
        numbers[np.arange(len(position)), position] = number
        return self.filled(np.repeat(row[None], len(position), axis=0), numbers)

    def gains(self, weights: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """What each operator adds beyond the first of its position, by weights of the columns of ``space.encode``.

        Shape ``(positions, operators)``; infinite where a position has no such operator. And their standard deviation.
        """
        padded = np.append(weights, np.float32(0))
        by_operator = np.zeros(self.valid.shape, dtype=np.float32)
        for tied in self._encoded:
            by_operator += padded[tied]
        by_operator -= by_operator[:, :1].copy()
        scale = float(by_operator[self.valid].std()) if self.valid.any() else 0.0
        by_operator[~self.valid] = np.inf
        return by_operator, scale

    def present(self, rows: Population) -> NDArray[np.bool_]:
        """Which positions there are, shape ``(n, positions)``."""
        return self.space.active(rows)[:, self._first]

    def numbers(self, rows: Population) -> NDArray[np.intp]:
        """The operator at each position, shape ``(n, positions)``; the first where there is no position."""
        return np.asarray((rows.astype(np.float32) @ self._radix).astype(np.intp))

    def filled(self, rows: Population, numbers: NDArray[np.intp]) -> Population:
        """The rows with operators `numbers` (n, positions) instead of theirs, canonical."""
        out = rows.copy()
        out[:, self._columns] = self._choice[np.arange(len(self._columns)), numbers[:, self._position]]
        return self.space.canonical(out)
