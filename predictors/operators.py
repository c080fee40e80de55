"""What a network makes a device do, in numbers that mean the same in every search space.

Layers fall into a few classes; of each class we count launches, multiply-accumulates and elements moved. All
are sums over slots, so a table over (slot, variant) serves whole populations. They are counted three times: for all
layers, for those that the slot's output needs, as runtimes that drop dead code execute, and for those of them that
something other than zeros reaches.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces import LayerSpec, SearchSpace
from search_spaces.layers import SLOT_INPUT
from search_spaces.tables import SlotTable

CLASSES = ("dense", "pointwise", "grouped", "depthwise", "linear", "pool", "elementwise")
QUANTITIES = ("launches", "macs", "elements", "weights")
WIDTH = len(CLASSES) * len(QUANTITIES)
"""Totals of one network: quantity by quantity, class by class."""


def layer_class(layer: LayerSpec) -> str:
    """Which of `CLASSES` a layer is of: layers of a class have about the same cost for a MAC or an element."""
    if layer.kind == "conv":
        if layer.is_depthwise:
            return "depthwise"
        if layer.groups > 1:
            return "grouped"
        return "pointwise" if layer.kernel == 1 else "dense"
    if layer.kind == "attention":
        return "pointwise"  # products of matrices, as 1x1 convolutions are
    if layer.kind == "linear":
        return "linear"
    return "pool" if layer.kind.endswith("pool") else "elementwise"


# The same layer stands in many variants; what is returned is not to be written to.
@lru_cache(maxsize=50_000)
def layer_totals(layer: LayerSpec) -> NDArray[np.float64]:
    """Launches, MACs, elements read and written, and weights of one layer, shape ``(WIDTH,)``."""
    totals = np.zeros((len(QUANTITIES), len(CLASSES)))
    moved = layer.read_elements + layer.output_elements
    totals[:, CLASSES.index(layer_class(layer))] = 1, layer.macs, moved, layer.weight_count
    return totals.ravel()


def needed(layers: Sequence[LayerSpec]) -> list[LayerSpec]:
    """The layers that the last one depends on, itself included."""
    if not layers:
        return []
    wanted = {layers[-1].name}
    kept = []
    for layer in reversed(layers):
        if layer.name in wanted:
            wanted.update(layer.inputs)
            kept.append(layer)
    return kept[::-1]


def working(layers: Sequence[LayerSpec]) -> list[LayerSpec]:
    """The needed layers that something other than zeros reaches; the last one, which writes the output, always."""
    fed = {SLOT_INPUT}
    for layer in layers:
        if layer.kind != "zero" and not fed.isdisjoint(layer.inputs):
            fed.add(layer.name)
    return [layer for layer in needed(layers) if layer.name in fed or layer is layers[-1]]


class OperatorTotals:
    """Totals of whole populations of `space`, from a table that is filled as it is needed."""

    def __init__(self, space: SearchSpace) -> None:
        self._table = SlotTable(space, _slot_totals, 3 * WIDTH, np.float32)

    def __call__(self, population: NDArray[Any]) -> NDArray[np.float32]:
        """Totals over all layers, the needed ones and the working ones, shape ``(n, 3 * WIDTH)``, of one image."""
        cells = self._table.cells(population)
        rows = self._table.columns.T
        totals = np.zeros((len(cells), 3 * WIDTH), dtype=np.float32)
        for column in cells.T:
            totals += rows[column]
        return totals


def _slot_totals(layers: tuple[LayerSpec, ...]) -> NDArray[np.float64]:
    return np.concatenate([_sum(layers), _sum(needed(layers)), _sum(working(layers))])


def _sum(layers: Sequence[LayerSpec]) -> NDArray[np.float64]:
    return sum(map(layer_totals, layers), start=np.zeros(WIDTH))
