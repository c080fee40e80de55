"""Costs on paper: MACs, parameters, bytes of weights and of peak activations, from the layer specs."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from search_spaces.layers import LayerSpec, peak_activation_elements
from search_spaces.tables import SlotTable

BYTES_PER_ELEMENT = {"float32": 4, "float16": 2, "int8": 1}
N_QUANTITIES = 5


class Costs(NamedTuple):
    """Costs on paper of a population; each an integer array of shape ``(n,)``, for one image."""

    macs: NDArray[np.int64]
    params: NDArray[np.int64]
    weight_bytes: NDArray[np.int64]
    peak_activation_bytes: NDArray[np.int64]


def layers_costs(layers: tuple[LayerSpec, ...]) -> tuple[int, ...]:
    """MACs, parameters, weights, bytes of biases, and peak activation elements of `layers`."""
    sums = map(sum, zip(*map(_layer_costs, layers), strict=True)) if layers else (0, 0, 0, 0)
    return *sums, peak_activation_elements(layers)


# The same layer stands in many variants.
@lru_cache(maxsize=50_000)
def _layer_costs(layer: LayerSpec) -> tuple[int, int, int, int]:
    return layer.macs, layer.params, layer.weight_count, layer.weight_bytes(0)


def costs_of_cells(table: SlotTable, cells: NDArray[np.int64], precision: str) -> Costs:
    """Costs of populations given as cells of a table of `layers_costs`; see `SearchSpace.costs`."""
    if precision not in BYTES_PER_ELEMENT:
        raise ValueError(f"unknown precision {precision!r}; known: {', '.join(BYTES_PER_ELEMENT)}")
    width = BYTES_PER_ELEMENT[precision]
    macs, params, weights, bias_bytes, peak = table.columns
    return Costs(
        macs[cells].sum(axis=1),
        params[cells].sum(axis=1),
        (width * weights + bias_bytes)[cells].sum(axis=1),
        width * peak[cells].max(axis=1),
    )
