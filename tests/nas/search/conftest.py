"""A space small enough to enumerate, with predictors whose optimum is therefore known."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nas.search.objectives import Objectives
from search_spaces import Population, SearchSpace, get_space


@dataclass
class ToyPredictor:
    """Linear in the one-hot encoding plus interactions, so that the landscape has local optima."""

    space: SearchSpace
    seed: int
    scale: float
    offset: float
    std: float
    calls: int = 0
    rows: int = 0
    interrupted_call: int = 0

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        width = self.space.encode(self.space.min[None]).shape[1]
        self.linear = np.abs(rng.normal(size=width))
        self.pairs = rng.normal(size=(width, width)) / width

    def interrupt_at_call(self, number: int) -> None:
        """Let Ctrl-C come in the call of this number, counted from here."""
        self.interrupted_call = self.calls + number

    def predict(self, population: Population, return_std: bool = False) -> Any:
        self.calls += 1
        if self.calls == self.interrupted_call:
            raise KeyboardInterrupt
        self.rows += len(population)
        x = self.space.encode(population).astype(np.float64)
        # einsum, not matmul: one row at a time must give the same bits as all at once.
        value = self.offset + self.scale * (
            np.einsum("ij,j->i", x, self.linear) + np.einsum("ij,ij->i", np.einsum("ij,jk->ik", x, self.pairs), x)
        )
        return (value, np.full(len(value), self.std)) if return_std else value


@pytest.fixture(scope="session")
def small_space() -> SearchSpace:
    """7,776 networks: five blocks of six kinds."""
    return get_space("mobilenet_v3_small_images", depths=(1,))


@pytest.fixture(scope="session")
def everything(small_space: SearchSpace) -> NDArray[np.int16]:
    grid = np.indices(tuple(small_space.n_choices)).reshape(len(small_space.genes), -1).T.astype(np.int16)
    assert len(grid) == small_space.size
    return grid


@pytest.fixture
def objectives(small_space: SearchSpace) -> Objectives:
    accuracy = ToyPredictor(small_space, 1, scale=0.05, offset=0.5, std=0.004)
    latency = ToyPredictor(small_space, 2, scale=0.4, offset=1.0, std=0.05)
    return Objectives(small_space, accuracy, latency)
