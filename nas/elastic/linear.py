"""A linear layer whose first features can work alone."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import LayerSpec


def plain_linear(spec: LayerSpec, device: str | None = None) -> nn.Linear:
    """The stand-alone linear layer of `spec`."""
    return nn.Linear(spec.in_channels, spec.out_channels, bias=spec.bias, device=device)


class ElasticLinear(nn.Linear):
    """A linear layer big enough for each of `specs`; the widest of them is active at first.

    Parameters
    ----------
    specs : the layers it must be able to be; they agree on `bias`.
    """

    def __init__(self, specs: Sequence[LayerSpec]) -> None:
        super().__init__(
            max(spec.in_channels for spec in specs), max(spec.out_channels for spec in specs), bias=specs[0].bias
        )
        self.widest = max(specs, key=lambda spec: spec.weight_count)
        self.reset()

    def narrow(self, spec: LayerSpec) -> None:
        """Make the slice that is the layer `spec` active."""
        self.active = spec

    def reset(self) -> None:
        """Make the widest layer active."""
        self.narrow(self.widest)

    def active_weight(self) -> Tensor:
        """The active slice of the weight, (out, in), on the autograd graph."""
        if self.active.weight_count == self.weight.numel():
            return self.weight
        return self.weight[: self.active.out_channels, : self.active.in_channels]

    def _active_bias(self) -> Tensor | None:
        if self.bias is None or self.active.out_channels == self.out_features:
            return self.bias
        return self.bias[: self.active.out_channels]

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in)`` to ``(B, out)`` with the active slice."""
        return F.linear(x, self.active_weight(), self._active_bias())

    def extract(self) -> nn.Linear:
        """A stand-alone copy of the active layer."""
        plain = plain_linear(self.active, device="meta")
        plain.weight = nn.Parameter(self.active_weight().detach().clone())
        if (bias := self._active_bias()) is not None:
            plain.bias = nn.Parameter(bias.detach().clone())
        return plain
