"""What a network makes a device do, in numbers that mean the same in every search space.

Layers fall into a few classes; of each class we count launches, multiply-accumulates and elements moved. All
are sums over slots, so a table over (slot, variant) serves whole populations. They are counted twice: for all
layers, and for those that work for the slot's output (`live`), as runtimes that drop dead code execute.
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
    if layer.kind == "linear":
        return "linear"
    return "pool" if layer.kind.endswith("pool") else "elementwise"


# The same layer stands in many variants; what is returned is not to be written to.
@lru_cache(maxsize=50_000)
def layer_totals(layer: LayerSpec) -> NDArray[np.float64]:
    """Launches, MACs, elements read and written, and weights of one layer, shape ``(WIDTH,)``."""
    totals = np.zeros((len(QUANTITIES), len(CLASSES)))
    moved = layer.input_elements * len(layer.inputs) + layer.output_elements
    totals[:, CLASSES.index(layer_class(layer))] = 1, layer.macs, moved, layer.weight_count
    return totals.ravel()


def live(layers: Sequence[LayerSpec]) -> list[LayerSpec]:
    """The layers that work for the slot's output: it depends on them, and something other than zeros reaches them.

    The last layer, which writes the output, is always one of them.
    """
    if not layers:
        return []
    fed = {SLOT_INPUT}
    for layer in layers:
        if layer.kind != "zero" and not fed.isdisjoint(layer.inputs):
            fed.add(layer.name)
    wanted = {layers[-1].name}
    kept = []
    for layer in reversed(layers):
        if layer.name in wanted:
            wanted.update(layer.inputs)
            if layer.name in fed or layer is layers[-1]:
                kept.append(layer)
    return kept[::-1]


class OperatorTotals:
    """Totals of whole populations of `space`, from a table that is filled as it is needed."""

    def __init__(self, space: SearchSpace) -> None:
        self._table = SlotTable(space, _slot_totals, 2 * WIDTH, np.float32)

    def __call__(self, population: NDArray[Any]) -> NDArray[np.float32]:
        """Totals over all layers and over the live ones, shape ``(n, 2 * WIDTH)``, of one image."""
        cells = self._table.cells(population)
        rows = self._table.columns.T
        totals = np.zeros((len(cells), 2 * WIDTH), dtype=np.float32)
        for column in cells.T:
            totals += rows[column]
        return totals


def _slot_totals(layers: tuple[LayerSpec, ...]) -> NDArray[np.float64]:
    return np.concatenate([_sum(layers), _sum(live(layers))])


def _sum(layers: Sequence[LayerSpec]) -> NDArray[np.float64]:
    return sum(map(layer_totals, layers), start=np.zeros(WIDTH))
