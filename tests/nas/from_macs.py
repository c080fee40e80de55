"""A predictor that is a line in MACs, for tests of what is done with predictions."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from search_spaces import Population, SearchSpace


@dataclass(frozen=True)
class FromMacs:
    """Predicts `start` and `per_million` for each million MACs, with a standard deviation of `std`."""

    space: SearchSpace
    per_million: float = 1.0
    start: float = 0.0
    std: float = 0.01

    def predict(self, population: Population, return_std: bool = False) -> Any:
        value = self.start + self.per_million * self.space.costs(population).macs / 1e6
        return (value, np.full(len(value), self.std)) if return_std else value
