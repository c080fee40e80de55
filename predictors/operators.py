"""What a network makes a device do, in numbers that mean the same in every search space.

Layers fall into a few classes; of each class we count launches, multiply-accumulates and elements moved. All
are sums over slots, so a table over (slot, variant) serves whole populations. They are counted twice: for all
layers, and for those that the slot's output depends on, as runtimes that drop dead code execute.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces import LayerSpec, SearchSpace

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


def layer_totals(layer: LayerSpec) -> NDArray[np.float64]:
    """Launches, MACs, elements read and written, and weights of one layer, shape ``(WIDTH,)``."""
    totals = np.zeros((len(QUANTITIES), len(CLASSES)))
    moved = layer.read_elements + layer.output_elements
    totals[:, CLASSES.index(layer_class(layer))] = 1, layer.macs, moved, layer.weight_count
    return totals.ravel()


def live(layers: Sequence[LayerSpec]) -> list[LayerSpec]:
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


class OperatorTotals:
    """Totals of whole populations of `space`, from a table that is filled as it is needed."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._first = {slot.name: i for i, slot in enumerate(space.slots)}
        self._owner = np.array([self._first[slot.same_as or slot.name] for slot in space.slots])
        self._optional = np.array([slot.needs is not None for slot in space.slots], dtype=np.int64)
        self._layers: dict[LayerSpec, NDArray[np.float64]] = {}
        self._starts = np.concatenate([[0], np.cumsum(space.n_variants + 1)])
        self._table = np.zeros((int(self._starts[-1]), 2 * WIDTH), dtype=np.float32)
        self._known = np.zeros(len(self._table), dtype=bool)

    def __call__(self, population: NDArray[Any]) -> NDArray[np.float32]:
        """Totals over all layers and over the live ones, shape ``(n, 2 * WIDTH)``, of one image."""
        # Variant 0 is the empty one of every slot; those that cannot be empty start at 1.
        cells = self.space.variants(population) + (1 - self._optional) + self._starts[self._owner]
        wanted = np.zeros(len(self._known), dtype=bool)
        wanted[cells] = True
        self._fill(np.flatnonzero(wanted & ~self._known))
        totals = np.zeros((len(cells), 2 * WIDTH), dtype=np.float32)
        for column in cells.T:
            totals += self._table[column]
        return totals

    def _fill(self, cells: NDArray[np.int64]) -> None:
        slots = np.searchsorted(self._starts, cells, side="right") - 1
        for cell, slot, variant in zip(cells, slots, cells - self._starts[slots], strict=True):
            layers = self.space.variant_layers(int(slot), int(variant - 1 + self._optional[slot])) if variant else ()
            self._table[cell, :WIDTH] = self._sum(layers)
            self._table[cell, WIDTH:] = self._sum(live(layers))
        self._known[cells] = True

    def _sum(self, layers: Sequence[LayerSpec]) -> NDArray[np.float64]:
        total = np.zeros(WIDTH)
        for layer in layers:
            known = self._layers.get(layer)
            if known is None:
                known = self._layers[layer] = layer_totals(layer)
            total += known
        return total
