"""Exponential moving averages of weights, evaluated and kept in place of the weights themselves.

Mean teachers are better role models, https://arxiv.org/abs/1703.01780, section 2: the averaged weights are a
better network than the last ones.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """The exponential moving average of `parameters`, which begins where they are."""

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.parameters = parameters
        self.averages: dict[str, Tensor] = {name: p.detach().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """``average = decay * average + (1 - decay) * weight``."""
        torch._foreach_lerp_(list(self.averages.values()), list(self.parameters.values()), 1 - decay)

    @torch.no_grad()
    def restart(self) -> None:
        """Begin again from the weights as they are."""
        for name, average in self.averages.items():
            average.copy_(self.parameters[name])

    @torch.no_grad()
    def apply(self) -> None:
        """Set the weights to their averages."""
        for name, average in self.averages.items():
            self.parameters[name].copy_(average)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """As `apply`, while entered."""
        kept = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.apply()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weight in kept.items():
                    self.parameters[name].copy_(weight)
