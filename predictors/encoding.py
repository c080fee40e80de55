"""What predictors read of an architecture: operators at positions, operators counted, costs on paper.

Every group of columns is centred and scaled over a fixed random sample of the space so that a row has about
unit length: a prior of a group's weight then means the same in every space.
"""

from collections.abc import Iterator
from functools import cached_property
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from search_spaces import SearchSpace

Rows = NDArray[np.float32]

REFERENCE_SIZE = 1000
ROWS_AT_ONCE = 4096  # a piece of features stays in the processor's cache


def pieces(population: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Consecutive parts of a large population, at least one."""
    for start in range(0, max(len(population), 1), ROWS_AT_ONCE):
        yield population[start : start + ROWS_AT_ONCE]


class ArchitectureEncoding:
    """Turns populations of `space` into feature rows, in three groups.

    ``positions`` is one-hot: operators at their places, and the context genes. ``counts`` says how often each
    operator occurs, wherever it stands. ``costs`` are MACs, parameters, peak activation and number of blocks.

    Parameters
    ----------
    space : where the populations come from.
    costs : ``relative`` gives the costs as fractions of the average network's (latency is about linear in
        them), ``logarithmic`` their logarithms (accuracy saturates).
    """

    def __init__(self, space: SearchSpace, costs: Literal["relative", "logarithmic"] = "relative") -> None:
        self.space = space
        self.costs = costs

    @property
    def widths(self) -> dict[str, int]:
        """Columns of each group, in order."""
        return {name: len(centre) for name, (centre, _) in self._standards.items()}

    @cached_property
    def _operator_columns(self) -> Rows:
        """Which operator each column of ``space.encode`` stands for, shape ``(width, n_operators)``; context is none.

        Two columns are the same operator when the genes that choose them are of one kind and read alike.
        """
        space = self.space
        genes = {gene.name: gene for gene in space.genes}
        context = dict.fromkeys(name for slot in space.slots for name in slot.context)
        sizes = [len(genes[name].values) for name in context]
        names: list[str | None] = [None] * sum(size for size in sizes if size > 1)
        for token in space.tokens:
            labels = [""]
            for name in token.genes:
                gene = genes[name]
                labels = [f"{have} {gene.kind} {gene.label(i)}" for have in labels for i in range(len(gene.values))]
            if prod(len(genes[name].values) for name in token.genes) > 1 or token.needs:
                names += labels
        operators = list(dict.fromkeys(name for name in names if name is not None))
        table = np.zeros((len(names), len(operators)), dtype=np.float32)
        for column, operator in enumerate(names):
            if operator is not None:
                table[column, operators.index(operator)] = 1
        return table

    def _raw(self, population: NDArray[Any]) -> dict[str, Rows]:
        positions = self.space.encode(population)
        counts = positions @ self._operator_columns
        costs = self.space.costs(population)
        on_paper = np.stack([costs.macs, costs.params, costs.peak_activation_bytes, counts.sum(axis=1)], axis=1)
        if self.costs == "logarithmic":
            on_paper = np.log(np.maximum(on_paper, 1))
        return {"positions": positions, "counts": counts, "costs": on_paper.astype(np.float32)}

    @cached_property
    def reference(self) -> NDArray[np.int16]:
        """The sample that centres and scales are taken from; the same for everyone."""
        return self.space.sample(REFERENCE_SIZE, np.random.default_rng(0))

    @cached_property
    def _standards(self) -> dict[str, tuple[Rows, Rows]]:
        """Centre and factor of each group's columns."""
        standards = {}
        for name, columns in self._raw(self.reference).items():
            centre = columns.mean(axis=0)
            length = np.sqrt(np.square(columns - centre).sum(axis=1).mean())
            factor = np.full_like(centre, 1 / max(float(length), 1e-9))
            if name == "costs":
                spread = centre if self.costs == "relative" else columns.std(axis=0)
                factor = np.where(spread > 1e-6, 1 / np.maximum(spread, 1e-6), 0).astype(np.float32)
            standards[name] = (centre, factor)
        return standards

    def __call__(self, population: NDArray[Any]) -> Rows:
        """Feature rows, shape ``(n, sum of widths)``, float32."""
        raw = self._raw(population)
        return np.concatenate([(raw[k] - c) * f for k, (c, f) in self._standards.items()], axis=1, dtype=np.float32)
