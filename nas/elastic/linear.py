"""A linear layer whose first features can work alone."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic.keep import keep
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
        weight = keep(self.weight, 0, self.active.out_channels, self.active.writes)
        return keep(weight, 1, self.active.in_channels, self.active.reads)

    def _active_bias(self) -> Tensor | None:
        return None if self.bias is None else keep(self.bias, 0, self.active.out_channels, self.active.writes)

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
