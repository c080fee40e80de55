"""Numbers of every (slot, variant), so that a whole population is described by one gather.

A variant is worked out from its layers when it is first asked for: a space with tens of thousands of variants
costs nothing until they are used. Slots that are the same share their rows.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from search_spaces.genes import Slot
from search_spaces.layers import LayerSpec


class Slotted(Protocol):
    """The part of a search space that a table needs."""

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The slots, in network order."""

    @property
    def n_variants(self) -> NDArray[np.int64]:
        """Variants of each slot, shape ``(n_slots,)``."""

    def variants(self, population: NDArray[Any], /) -> NDArray[np.int64]:
        """Variant of every slot, shape ``(n, n_slots)``."""

    def variant_layers(self, slot: int, variant: int, /) -> tuple[LayerSpec, ...]:
        """Layers of a variant of a slot."""


class SlotTable:
    """A table over the slots' variants.

    Parameters
    ----------
    space : the space it is of.
    describe : maps the layers of one variant to `width` numbers; none (an absent block) is all zeros.
    width : how many.
    dtype : of the numbers.

    Attributes
    ----------
    columns : ndarray of shape (width, n_cells), known for the cells that `cells` has returned so far.
    """

    def __init__(
        self,
        space: Slotted,
        describe: Callable[[tuple[LayerSpec, ...]], Sequence[float] | NDArray[Any]],
        width: int,
        dtype: DTypeLike,
    ) -> None:
        self._space = space
        self._describe = describe
        optional = np.array([slot.needs is not None for slot in space.slots], dtype=np.int64)
        owners = [i for i, slot in enumerate(space.slots) if not slot.same_as]
        # The cells of a slot start with the empty variant, which only an optional slot can reach.
        starts = np.cumsum([0, *(space.n_variants[owners] - optional[owners] + 1)], dtype=np.int64)
        start_of = {space.slots[owner].name: start for owner, start in zip(owners, starts[:-1], strict=True)}
        self._offsets = np.array([start_of[slot.same_as or slot.name] for slot in space.slots]) + 1 - optional
        self._owners = np.array(owners, dtype=np.int64)
        self._starts = starts[:-1]
        self.columns = np.zeros((width, int(starts[-1])), dtype=dtype)
        self._known = np.zeros(int(starts[-1]), dtype=bool)
        self._known[self._starts] = True

    def cells(self, population: NDArray[Any]) -> NDArray[np.int64]:
        """Where the numbers of each slot of `population` stand in `columns`, shape ``(n, n_slots)``."""
        cells: NDArray[np.int64] = self._space.variants(population) + self._offsets
        wanted = np.zeros(len(self._known), dtype=bool)
        wanted[cells] = True
        self._fill(np.flatnonzero(wanted & ~self._known))
        return cells

    def _fill(self, cells: NDArray[np.int64]) -> None:
        if not len(cells):
            return
        slots = self._owners[np.searchsorted(self._starts, cells, side="right") - 1]
        variants = cells - self._offsets[slots]
        every = [
            self._describe(self._space.variant_layers(slot, variant))
            for slot, variant in zip(slots.tolist(), variants.tolist(), strict=True)
        ]
        self.columns[:, cells] = np.array(every).T
        self._known[cells] = True
