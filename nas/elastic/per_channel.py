"""Layers with a few numbers for each channel whose first channels can work alone: layer-norm and scale.

Layer-norm over the channels of each pixel and a learned scale of each channel are what ConvNeXt
(https://arxiv.org/abs/2201.03545) has in place of batch-norm.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic.keep import keep
from search_spaces import LayerSpec


class ChannelNorm(nn.LayerNorm):
    """Normalises the channels of each pixel of ``(B, C, H, W)``."""

    def __init__(self, spec: LayerSpec, device: str | None = None) -> None:
        super().__init__(spec.out_channels, eps=spec.epsilon, device=device)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, C, H, W)``."""
        return _channel_norm(x, self.weight, self.bias, self.eps)


class ElasticChannelNorm(nn.LayerNorm):
    """A `ChannelNorm` big enough for each of `specs`; the widest of them is active at first."""

    def __init__(self, specs: Sequence[LayerSpec]) -> None:
        super().__init__(max(spec.out_channels for spec in specs), eps=specs[0].epsilon)
        self.widest = max(specs, key=lambda spec: spec.out_channels)
        self.reset()

    def narrow(self, spec: LayerSpec) -> None:
        """Make the channels of the layer `spec` active."""
        self.active = spec

    def reset(self) -> None:
        """Make all channels active."""
        self.narrow(self.widest)

    def _slices(self) -> tuple[Tensor, Tensor]:
        spec = self.active
        return keep(self.weight, 0, spec.out_channels, spec.writes), keep(self.bias, 0, spec.out_channels, spec.writes)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the active channels of each pixel of ``(B, C, H, W)``."""
        return _channel_norm(x, *self._slices(), self.eps)

    def extract(self) -> ChannelNorm:
        """A stand-alone copy of the active layer."""
        plain = ChannelNorm(self.active, device="meta")
        plain.weight, plain.bias = (nn.Parameter(tensor.detach().clone()) for tensor in self._slices())
        return plain


class ChannelScale(nn.Module):
    """Multiplies each channel of ``(B, C, H, W)`` by a number, and adds another where the spec has a bias.

    Attributes
    ----------
    weight, bias : shape ``(C,)``; buffers where the spec is frozen, `bias` None where it has none.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, spec: LayerSpec, device: str | None = None) -> None:
        super().__init__()
        self.frozen = spec.frozen
        self._set(
            torch.ones(spec.out_channels, device=device),
            torch.zeros(spec.out_channels, device=device) if spec.bias else None,
        )

    def _set(self, weight: Tensor, bias: Tensor | None) -> None:
        for name, tensor in (("weight", weight), ("bias", bias)):
            if self.frozen:
                self.register_buffer(name, tensor)
            else:
                self.register_parameter(name, None if tensor is None else nn.Parameter(tensor))

    def forward(self, x: Tensor) -> Tensor:
        """Scale, and shift, the channels."""
        return _channel_scale(x, self.weight, self.bias)


class ElasticChannelScale(ChannelScale):
    """A `ChannelScale` big enough for each of `specs`; the widest of them is active at first."""

    def __init__(self, specs: Sequence[LayerSpec]) -> None:
        self.widest = max(specs, key=lambda spec: spec.out_channels)
        super().__init__(self.widest)
        self.reset()

    def narrow(self, spec: LayerSpec) -> None:
        """Make the channels of the layer `spec` active."""
        self.active = spec

    def reset(self) -> None:
        """Make all channels active."""
        self.narrow(self.widest)

    def _slices(self) -> list[Tensor | None]:
        return [
            None if tensor is None else keep(tensor, 0, self.active.out_channels, self.active.writes)
            for tensor in (self.weight, self.bias)
        ]

    def forward(self, x: Tensor) -> Tensor:
        """Scale, and shift, the active channels."""
        weight, bias = self._slices()
        assert weight is not None
        return _channel_scale(x, weight, bias)

    def extract(self) -> ChannelScale:
        """A stand-alone copy of the active layer."""
        plain = ChannelScale(self.active)
        weight, bias = (None if tensor is None else tensor.detach().clone() for tensor in self._slices())
        assert weight is not None
        plain._set(weight, bias)
        return plain


def _channel_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    last = x.permute(0, 2, 3, 1)
    return F.layer_norm(last, weight.shape, weight, bias, epsilon).permute(0, 3, 1, 2)


def _channel_scale(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    y = x * weight.view(1, -1, 1, 1)
    return y if bias is None else y + bias.view(1, -1, 1, 1)
