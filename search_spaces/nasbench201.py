"""The NAS-Bench-201 space: one cell of six edges, repeated 15 times.

NAS-Bench-201: extending the scope of reproducible neural architecture search (ICLR 2020),
https://arxiv.org/abs/2001.00326. A cell has four nodes; node 0 is its input, every other node adds up what
comes over the edges from all earlier nodes, the last is its output. Sizes are pixels.

Networks are built to the letter of the benchmark, which trained and measured each of the 15,625 cells by
itself: a convolution that nothing feeds, or that nothing reads, is there and counts, and has its own name.
"""

from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.genes import Gene, Slot, Token
from search_spaces.layers import SLOT_INPUT, LayerSpec
from search_spaces.space import Population, SearchSpace
from search_spaces.stages import ascending

NONE, SKIP, CONV1, CONV3, POOL3 = range(5)
"""The benchmark's numbers of the operators."""
OPERATORS = {NONE: "none", SKIP: "skip", POOL3: "pool3", CONV1: "conv1", CONV3: "conv3"}
"""In ascending cost."""
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
"""(to, from) in the order of genes."""
STAGES = 3
CHANNELS, CELLS = 16, 5
"""Of the first stage, and in each stage of the benchmark."""


# Cells differ in few layers: made once, thousands of variants share them.
@cache
def _layer(name: str, kind: Any, channels: int, size: int, *inputs: str, **rest: Any) -> LayerSpec:
    return LayerSpec(name, kind, channels, channels, size, inputs=inputs, **rest)


def cell(operators: Mapping[tuple[int, int], int], channels: int, size: int) -> tuple[LayerSpec, ...]:
    """The layers of a cell with these operators by edge; no layers where it passes its input on."""
    layers: dict[str, LayerSpec] = {}

    def make(name: str, kind: str, *inputs: str, **rest: Any) -> str:
        layers.setdefault(name, _layer(name, kind, channels, size, *inputs, **rest))
        return name

    tensors: list[str | None] = [SLOT_INPUT]
    for node in range(1, 4):
        terms = []
        for source in range(node):
            operator = operators[node, source]
            if operator == NONE:
                continue
            tensor = tensors[source]
            if tensor is None:
                tensor = make(f"zero{source}", "zero", SLOT_INPUT)
            if operator == POOL3:
                tensor = make(f"pool{node}{source}", "avg_pool", tensor, kernel=3)
            elif operator in (CONV1, CONV3):
                relu = make(f"relu{source}", "identity", tensor, activation="relu")
                kernel = 3 if operator == CONV3 else 1
                tensor = make(f"conv{node}{source}", "conv", relu, kernel=kernel, norm=True)
            terms.append(tensor)
        total = terms[0] if terms else None
        for i, term in enumerate(terms[1:]):
            total = make(f"add{node}{i}", "add", str(total), term)
        tensors.append(total)
    output = tensors[-1]
    if output is None:
        make("zero3", "zero", SLOT_INPUT)
    elif layers and output != next(reversed(layers)):
        make("output", "identity", output)
    return tuple(layers.values())


def reduction(in_channels: int, size: int) -> tuple[LayerSpec, ...]:
    """Residual block that doubles the channels and halves the size."""
    out = 2 * in_channels
    return (
        LayerSpec("relu", "identity", in_channels, in_channels, size, activation="relu"),
        LayerSpec("conv1", "conv", in_channels, out, size, 3, 2, activation="relu", norm=True, inputs=("relu",)),
        LayerSpec("conv2", "conv", out, out, size // 2, 3, norm=True, inputs=("conv1",)),
        LayerSpec("pool", "avg_pool", in_channels, in_channels, size, 2, 2),
        LayerSpec("shortcut", "conv", in_channels, out, size // 2, inputs=("pool",)),
        LayerSpec("residual", "add", out, out, size // 2, inputs=("conv2", "shortcut")),
    )


class NASBench201Space(SearchSpace):
    """A gene for each edge of the cell; its values are the benchmark's numbers of the operators.

    ``space.from_values(numbers)`` makes genotypes of rows of six such numbers. Other channels and cells than the
    benchmark's stand in the name, as in ``nasbench201_c32_n3``, for a network of such a space has other costs.

    Parameters
    ----------
    channels : of the first stage; each of the two others doubles them.
    cells : in each stage.
    resolutions : sides of the input image in pixels, ascending multiples of four.
    num_classes : outputs of the classifier.

    Raises
    ------
    ValueError : a number that is not positive, resolutions not as above.
    """

    may_be_cut = True

    def __init__(self, *, channels: int, cells: int, resolutions: Sequence[int], num_classes: int) -> None:
        self.resolutions = ascending("resolutions", resolutions)
        if any(resolution % 4 for resolution in self.resolutions):
            raise ValueError(f"resolutions of nasbench201 must be multiples of 4, got {list(self.resolutions)}")
        if channels < 1 or cells < 1:
            raise ValueError(f"channels and cells must be at least 1, got {channels} and {cells}")
        self.channels, self.cells = channels, cells
        edges = [
            Gene(f"edge{node}{source}", "operator", "", tuple(OPERATORS), tuple(OPERATORS.values()))
            for node, source in EDGES
        ]
        names = tuple(edge.name for edge in edges)
        slots = [Slot("stem", "stem", context=("resolution",))]
        self._stage: dict[str, int] = {}
        for stage in range(STAGES):
            group = f"stage{stage + 1}"
            if stage:
                slots.append(Slot(f"{group}_reduction", group, context=("resolution",)))
            for i in range(1, cells + 1):
                same_as = f"{group}_cell1" if i > 1 else ""
                slots.append(Slot(f"{group}_cell{i}", group, names, ("resolution",), same_as=same_as))
            self._stage |= dict.fromkeys((slot.name for slot in slots if slot.group == group), stage)
        slots.append(Slot("head", "head", context=("resolution",)))
        genes = [Gene("resolution", "resolution", "r", self.resolutions), *edges]
        own = ("" if channels == CHANNELS else f"_c{channels}") + ("" if cells == CELLS else f"_n{cells}")
        super().__init__(f"nasbench201{own}", genes, slots, num_classes)

    @property
    def options(self) -> dict[str, Any]:
        """See `SearchSpace.options`."""
        return {
            "channels": self.channels,
            "cells": self.cells,
            "resolutions": list(self.resolutions),
            "num_classes": self.num_classes,
        }

    @cached_property
    def tokens(self) -> tuple[Token, ...]:
        """One for each edge, for all cells are the same: ``conv3-skip_conv1-none_pool3_conv3`` node by node."""
        return tuple(Token(f"node{node}", (f"edge{node}{source}",)) for node, source in EDGES)

    @cached_property
    def min(self) -> Population:
        """The cheapest network that is connected: every cell passes its input on."""
        row = np.zeros(len(self.genes), dtype=np.int16)
        row[1 + EDGES.index((3, 0))] = list(OPERATORS).index(SKIP)
        return row

    def connected(self, population: NDArray[Any]) -> NDArray[np.bool_]:
        """See `SearchSpace.connected`; 341 of the 15,625 cells are cut."""
        edges = self.gene_values(self.as_population(population))[:, 1:] != NONE
        edge10, edge20, edge21, edge30, edge31, edge32 = edges.T
        node2 = edge20 | (edge21 & edge10)
        connected: NDArray[np.bool_] = edge30 | (edge31 & edge10) | (edge32 & node2)
        return connected

    def _shape(self, slot: Slot, resolution: int) -> tuple[int, int]:
        stage = self._stage[slot.name]
        return self.channels << stage, resolution >> stage

    def slot_layers(self, slot: Slot, choice: Mapping[str, int]) -> tuple[LayerSpec, ...]:
        """See `SearchSpace.slot_layers`."""
        resolution = choice["resolution"]
        if slot.name == "stem":
            return (LayerSpec("conv", "conv", 3, self.channels, resolution, 3, norm=True),)
        if slot.name == "head":
            last, size = self.channels << (STAGES - 1), resolution >> (STAGES - 1)
            return (
                LayerSpec("norm", "identity", last, last, size, activation="relu", norm=True),
                LayerSpec("pool", "global_pool", last, last, size, inputs=("norm",)),
                LayerSpec("classify", "linear", last, self.num_classes, 1, bias=True, inputs=("pool",)),
            )
        channels, size = self._shape(slot, resolution)
        if not slot.genes:
            return reduction(channels // 2, size * 2)
        return cell({edge: choice[name] for edge, name in zip(EDGES, slot.genes, strict=True)}, channels, size)


def nasbench201(
    *, channels: int = CHANNELS, cells: int = CELLS, resolutions: Sequence[int] = (32,), num_classes: int = 10
) -> NASBench201Space:
    """NAS-Bench-201 for CIFAR-10, 15,625 cells of known accuracy: to compare searches."""
    return NASBench201Space(channels=channels, cells=cells, resolutions=resolutions, num_classes=num_classes)
