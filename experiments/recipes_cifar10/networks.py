"""The networks of the study: nine of one space, and the max net scaled down uniformly. MACs are of one image."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces import LayerSpec, Population, SearchSpace, Slot, get_space

SPACE = "mobilenet_v3_small_images"

DEPTHS = {
    "small": (1, 1, 2, 2, 2),
    "middle": (2, 2, 2, 2, 2),
    "large": (2, 2, 3, 3, 3),
}
"""Blocks of each stage. Their kernels are 5 and their expansions follow from the depths (1 block: 2, 2: 3, 3: 4),
so that CompOFA, which trains no others, has trained them too."""

RANDOM_MACS = (2.5e6, 4.0e6, 5.5e6, 6.5e6)
"""About what the random networks cost; seeded, the same for every run."""

UNIFORM = {
    "width-0.4": {"width_mult": 0.4},
    "resolution-22": {"resolutions": (22,)},
    "width-0.75": {"width_mult": 0.75},
}
"""The max net scaled to the three middle sizes, each the cheapest that costs no less (channels come in eights)."""


class OneNetwork(SearchSpace):
    """The space of a single network of another space, so that the same engine trains it from scratch."""

    def __init__(self, space: SearchSpace, genotype: NDArray[Any]) -> None:
        row = space.canonical(genotype)
        active, values = space.active(row)[0], space.gene_values(row)[0].tolist()
        genes = [
            replace(gene, values=(value,), needs=None)
            for gene, value, there in zip(space.genes, values, active, strict=True)
            if there
        ]
        slots = [
            # Blocks of equal choices are no longer of equal layers.
            replace(slot, needs=None, same_as="")
            for slot, layers in zip(space.slots, space.layers(row), strict=True)
            if layers
        ]
        self.of, self.architecture = space, space.format(row)[0]
        super().__init__(f"{space.name}, {self.architecture} alone", genes, slots, space.num_classes)

    @property
    def options(self) -> dict[str, Any]:
        """See `SearchSpace.options`."""
        return self.of.options

    def slot_layers(self, slot: Slot, choice: Mapping[str, int]) -> tuple[LayerSpec, ...]:
        """See `SearchSpace.slot_layers`."""
        return self.of.slot_layers(slot, choice)


@dataclass(frozen=True)
class Networks:
    """Some networks of one space.

    Attributes
    ----------
    names : what the study calls them.
    population : genotypes, shape ``(n, n_genes)``.
    """

    space: SearchSpace
    names: tuple[str, ...]
    population: Population


SIZES = ("min", *DEPTHS, "max")


def chosen() -> Networks:
    """The five sizes, ascending, and the random networks."""
    space = get_space(SPACE)
    rows = [space.min, *(_coupled(space, depths) for depths in DEPTHS.values()), space.max]
    pool = space.sample(2000, np.random.default_rng(0), tilt=1.5)
    macs = space.costs(pool).macs
    rows += [pool[np.abs(macs - wanted).argmin()] for wanted in RANDOM_MACS]
    names = (*SIZES, *(f"random{i + 1}" for i in range(len(RANDOM_MACS))))
    return Networks(space, names, space.canonical(np.stack(rows)))


def uniform(name: str) -> SearchSpace:
    """The max net, scaled as `UNIFORM` says, alone in its space."""
    full = get_space(SPACE)
    options = full.options | {name: full.options[name][-1:] for name in ("depths", "kernels", "expansions")}
    return get_space(SPACE, **options | UNIFORM[name])


def _coupled(space: SearchSpace, depths: tuple[int, ...]) -> Population:
    row = space.max.copy()
    for i, gene in enumerate(space.genes):
        stage = gene.name.partition("_")[0].removeprefix("stage")
        if gene.kind in ("depth", "expansion"):
            row[i] = depths[int(stage) - 1] - 1
    return row
