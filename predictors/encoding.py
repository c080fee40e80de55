"""What predictors read of an architecture: operators at positions, operators counted, costs on paper.

Every group of columns is centred and scaled over a fixed random sample of the space, so that the prior of a
group's weights means the same in every space.
"""

from collections.abc import Iterator
from functools import cached_property
from math import prod
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from predictors.operators import CLASSES, QUANTITIES, WIDTH, OperatorTotals
from search_spaces import SearchSpace
from search_spaces.genes import TRAINING_KINDS

Rows = NDArray[np.float32]

REFERENCE_SIZE = 1000
ROWS_AT_ONCE = 4096  # a piece of features stays in the processor's cache


def pieces(population: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Consecutive parts of a large population, at least one."""
    for start in range(0, max(len(population), 1), ROWS_AT_ONCE):
        yield population[start : start + ROWS_AT_ONCE]


class _Standard(NamedTuple):
    """The columns of a group that vary, their means over the reference and what they are multiplied by."""

    columns: NDArray[np.intp]
    centre: Rows
    factor: Rows


def _pretrained(positions: Rows, log_costs: Rows) -> Rows:
    """How much each operator at its place is expected to matter, shape ``(width,)``, before any accuracy is known.

    Learnt from what costs nothing to know, as FBNetV3 pretrains its embedding (https://arxiv.org/abs/2006.02049):
    ridge regression of MACs and parameters, whose weights say what an operator moves. Half of the expectation stays
    equal for all, for operators that cost nothing and matter all the same.

    Parameters
    ----------
    positions : shape (n, width), centred.
    log_costs : shape (n, 2), logarithms of MACs and parameters.
    """
    target = (log_costs - log_costs.mean(axis=0)) / np.maximum(log_costs.std(axis=0), 1e-6)
    gram = positions.T @ positions
    ridge = 1e-3 * float(np.trace(gram)) / max(len(gram), 1)
    effect = np.square(np.linalg.solve(gram + ridge * np.eye(len(gram)), positions.T @ target)).sum(axis=1)
    share: Rows = np.sqrt(0.5 + 0.5 * effect / max(float(effect.mean()), 1e-9)).astype(np.float32)
    return share


class ArchitectureEncoding:
    """Turns populations of `space` into feature rows, group by group.

    ``positions`` is one-hot: operators at their places, and the context genes; for accuracy those that move MACs and
    parameters weigh more. ``counts`` says how often each operator occurs, wherever it stands. Both are scaled to unit
    length. Then, for latency, ``launches`` of each class of layers and ``work``, their MACs, elements moved and
    weights, as fractions of what the average network has of the quantity (latency is about linear in them), ``dead``:
    the part of both that no output depends on, and ``unfed``: the part that is needed and works on zeros only. Or, for
    accuracy, ``costs``: logarithms of MACs, parameters, peak activation and number of blocks.

    Parameters
    ----------
    space : where the populations come from.
    target : what the features are to predict.
    """

    def __init__(self, space: SearchSpace, target: Literal["latency", "accuracy"]) -> None:
        self.space = space
        self.target = target

    @property
    def widths(self) -> dict[str, int]:
        """Columns of each group, in order; 0 where a group does not vary."""
        return {name: len(standard.columns) for name, standard in self._standards.items()}

    @cached_property
    def _operator_columns(self) -> Rows:
        """Which operator each column of ``space.encode`` stands for, shape ``(width, n_operators)``; context is none.

        Two columns are the same operator when the genes that choose them are of one kind and read alike.
        """
        space = self.space
        sizes = [len(gene.values) for gene in space.context_genes]
        names: list[str | None] = [None] * sum(size for size in sizes if size > 1)
        for token in space.tokens:
            labels, genes = [""], [space.genes[space.columns[name]] for name in token.genes]
            for gene in genes:
                labels = [f"{have} {gene.kind} {gene.label(i)}" for have in labels for i in range(len(gene.values))]
            if prod(len(gene.values) for gene in genes) > 1 or token.needs:
                names += labels
        operators = list(dict.fromkeys(name for name in names if name is not None))
        table = np.zeros((len(names), len(operators)), dtype=np.float32)
        for column, operator in enumerate(names):
            if operator is not None:
                table[column, operators.index(operator)] = 1
        return table

    @cached_property
    def _training_genes(self) -> list[int]:
        """Columns of the genes that no latency depends on."""
        return [column for column, gene in enumerate(self.space.genes) if gene.kind in TRAINING_KINDS]

    @cached_property
    def _totals(self) -> OperatorTotals:
        return OperatorTotals(self.space)

    def _raw(self, population: NDArray[Any]) -> dict[str, Rows]:
        if self.target == "latency" and self._training_genes:
            population = np.array(population, copy=True)
            population[..., self._training_genes] = 0
        positions = self.space.encode(population)
        counts = positions @ self._operator_columns
        groups = {"positions": positions, "counts": counts}
        if self.target == "latency":
            totals = self._totals(population)
            launches = len(CLASSES)
            return groups | {
                "launches": totals[:, :launches],
                "work": totals[:, launches:WIDTH],
                "dead": totals[:, :WIDTH] - totals[:, WIDTH : 2 * WIDTH],
                "unfed": totals[:, WIDTH : 2 * WIDTH] - totals[:, 2 * WIDTH :],
            }
        costs = self.space.costs(population)
        on_paper = np.stack([costs.macs, costs.params, costs.peak_activation_bytes, counts.sum(axis=1)], axis=1)
        return groups | {"costs": np.log(np.maximum(on_paper, 1)).astype(np.float32)}

    @cached_property
    def reference(self) -> NDArray[np.int16]:
        """The sample that centres and scales are taken from; the same for everyone."""
        return self.space.sample(REFERENCE_SIZE, np.random.default_rng(0))

    @cached_property
    def _standards(self) -> dict[str, _Standard]:
        raw = self._raw(self.reference)
        standards = {}
        for name, features in raw.items():
            columns = np.flatnonzero(np.ptp(features, axis=0) > 0)
            centre = features.mean(axis=0)
            if name in ("positions", "counts"):
                factor = np.ones_like(centre)
                if name == "positions" and self.target == "accuracy":
                    factor[columns] = _pretrained(features[:, columns] - centre[columns], raw["costs"][:, :2])
                length = np.sqrt(np.square((features - centre) * factor).sum(axis=1).mean())
                factor /= max(float(length), 1e-9)
            elif name == "costs":
                factor = 1 / np.maximum(features.std(axis=0), 1e-6)
            else:
                totals = np.concatenate([raw["launches"], raw["work"]], axis=1)
                average = totals.mean(axis=0).reshape(len(QUANTITIES), len(CLASSES)).sum(axis=1)
                factor = np.repeat(1 / np.maximum(average, 1e-9), len(CLASSES)).astype(np.float32)
                factor = {"launches": factor[: len(CLASSES)], "work": factor[len(CLASSES) :]}.get(name, factor)
            standards[name] = _Standard(columns, centre[columns], factor[columns])
        return standards

    def weights_of_prices(self, prices: NDArray[np.float64]) -> NDArray[np.float64]:
        """What working layers cost, as a linear function of feature rows; only where the target is latency.

        Parameters
        ----------
        prices : shape (WIDTH + 1, m), what one unit of each total of `predictors.operators` costs, and an inference.

        Returns
        -------
        ndarray of shape (1 + width, m): a constant and the weights of the columns, divided by the cost of the mean
        network of the reference.
        """
        totals = self._totals(self.reference)[:, 2 * WIDTH :].astype(np.float64).mean(axis=0)
        prices = prices[:-1] / np.maximum(totals @ prices[:-1] + prices[-1], 1e-30)
        split = len(CLASSES)
        # Working layers are all layers (launches, work) without the others.
        groups = {"launches": prices[:split], "work": prices[split:], "dead": -prices, "unfed": -prices}
        weights = [np.ones((1, prices.shape[1]))]
        for name, standard in self._standards.items():
            if name in groups:
                weights.append(groups[name][standard.columns] / standard.factor[:, None])
            else:
                weights.append(np.zeros((len(standard.columns), prices.shape[1])))
        return np.concatenate(weights)

    def __call__(self, population: NDArray[Any]) -> Rows:
        """Feature rows, shape ``(n, sum of widths)``, float32."""
        raw = self._raw(population)
        groups = [(raw[name][:, s.columns] - s.centre) * s.factor for name, s in self._standards.items()]
        return np.concatenate(groups, axis=1, dtype=np.float32)
