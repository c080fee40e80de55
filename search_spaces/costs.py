"""Costs on paper: MACs, parameters, bytes of weights and of peak activations, from the layer specs.

Every slot has a table of its variants; a row is worked out when it is first asked for, so that a space with
tens of thousands of variants costs nothing until they are used. Slots that are the same share one table.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from search_spaces.layers import LayerSpec, peak_activation_elements

if TYPE_CHECKING:
    from search_spaces.space import SearchSpace

BYTES_PER_ELEMENT = {"float32": 4, "int8": 1}


class Costs(NamedTuple):
    """Costs on paper of a population; each an integer array of shape ``(n,)``, for one image."""

    macs: NDArray[np.int64]
    params: NDArray[np.int64]
    weight_bytes: NDArray[np.int64]
    peak_activation_bytes: NDArray[np.int64]


class CostTable:
    """The costs of every (slot, variant) of `space`, filled as they are needed."""

    def __init__(self, space: "SearchSpace") -> None:
        self._space = space
        names = [slot.same_as or slot.name for slot in space.slots]
        owners = [i for i, slot in enumerate(space.slots) if not slot.same_as]
        optional = np.array([slot.needs is not None for slot in space.slots], dtype=np.int64)
        # Each table starts with the empty variant, which only an optional slot can reach.
        sizes = space.n_variants[owners] - optional[owners] + 1
        starts = np.concatenate([[0], np.cumsum(sizes)])
        start_of = {space.slots[owner].name: int(start) for owner, start in zip(owners, starts, strict=False)}
        self._offsets = np.array([start_of[name] for name in names], dtype=np.int64) + 1 - optional
        self._owners = np.array(owners)
        self._starts = starts[:-1]
        # Rows: MACs, parameters, weights, bytes of biases, peak activation elements.
        self._rows = np.zeros((5, int(starts[-1])), dtype=np.int64)
        self._known = np.zeros(int(starts[-1]), dtype=bool)
        self._known[self._starts] = True

    def costs(self, variants: NDArray[Any], precision: str) -> Costs:
        """Costs of populations given as variants, shape ``(n, n_slots)``; see `SearchSpace.costs`."""
        if precision not in BYTES_PER_ELEMENT:
            raise ValueError(f"unknown precision {precision!r}; known: {', '.join(BYTES_PER_ELEMENT)}")
        width = BYTES_PER_ELEMENT[precision]
        cells = variants + self._offsets
        wanted = np.zeros(len(self._known), dtype=bool)
        wanted[cells] = True
        self._fill(np.flatnonzero(wanted & ~self._known))
        macs, params, weights, bias_bytes, peak = self._rows
        return Costs(
            macs[cells].sum(axis=1),
            params[cells].sum(axis=1),
            (width * weights + bias_bytes)[cells].sum(axis=1),
            width * peak[cells].max(axis=1),
        )

    def _fill(self, cells: NDArray[np.int64]) -> None:
        owners = np.searchsorted(self._starts, cells, side="right") - 1
        slots = self._owners[owners]
        variants = cells - self._offsets[slots]
        rows = []
        for slot, variant in zip(slots.tolist(), variants.tolist(), strict=True):
            layers = self._space.variant_layers(slot, variant)
            sums = map(sum, zip(*map(_layer_costs, layers), strict=True)) if layers else (0, 0, 0, 0)
            rows.append((*sums, peak_activation_elements(layers)))
        if rows:
            self._rows[:, cells] = np.array(rows).T
        self._known[cells] = True


# The same layer stands in many variants.
@lru_cache(maxsize=50_000)
def _layer_costs(layer: LayerSpec) -> tuple[int, int, int, int]:
    return layer.macs, layer.params, layer.weight_count, layer.weight_bytes(0)
