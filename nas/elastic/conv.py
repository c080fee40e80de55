"""A convolution whose first channels and kernel centre can work alone, dense, grouped or depthwise.

Once-for-all (https://arxiv.org/abs/1908.09791): small kernels are the centre of large ones, optionally
turned by a learned matrix for each step down (7 to 5, 5 to 3) that all channels of the layer share.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import LayerSpec


def plain_conv(spec: LayerSpec, device: str | None = None) -> nn.Conv2d:
    """The stand-alone convolution of `spec`, padded by ``(kernel - 1) // 2``."""
    return nn.Conv2d(
        spec.in_channels,
        spec.out_channels,
        spec.kernel,
        spec.stride,
        (spec.kernel - 1) // 2,
        groups=spec.groups,
        bias=spec.bias,
        device=device,
    )


class ElasticConv2d(nn.Conv2d):
    """A convolution big enough for each of `specs`; the widest of them is active at first.

    Parameters
    ----------
    specs : the layers it must be able to be; they agree on `bias`.
    kernel_transform : depthwise only, learn a matrix for each step from a kernel to the next smaller one.
    """

    def __init__(self, specs: Sequence[LayerSpec], kernel_transform: bool = False) -> None:
        out_channels = max(spec.out_channels for spec in specs)
        group_channels = max(spec.in_channels // spec.groups for spec in specs)
        depthwise = all(spec.is_depthwise for spec in specs)
        super().__init__(
            out_channels if depthwise else group_channels,
            out_channels,
            max(spec.kernel for spec in specs),
            groups=out_channels if depthwise else 1,
            bias=specs[0].bias,
        )
        self.widest = max(specs, key=lambda spec: spec.weight_count)
        self.kernels = sorted({spec.kernel for spec in specs}, reverse=True)
        self.transforms = nn.ParameterDict()
        if kernel_transform and depthwise:
            for large, small in pairwise(self.kernels):
                self.transforms[f"{large}to{small}"] = nn.Parameter(torch.eye(small**2))
        self.reset()

    def narrow(self, spec: LayerSpec) -> None:
        """Make the slice that is the layer `spec` active."""
        self.active = spec
        channels = (slice(spec.out_channels), slice(spec.in_channels // spec.groups))
        centre = _centre(self.kernels[0], spec.kernel)
        crop = () if self.transforms else (centre, centre)
        whole = (spec.out_channels, spec.in_channels // spec.groups, spec.kernel) == self.weight.shape[:3]
        # The whole weight is used as it is: a view would add a node to the graph and a copy to its gradient.
        self._slices = None if whole else channels + crop

    def reset(self) -> None:
        """Make the widest layer active."""
        self.narrow(self.widest)

    def active_weight(self) -> Tensor:
        """The active slice of the weight, (out, in / groups, kernel, kernel), on the autograd graph."""
        if self._slices is None:
            return self.weight
        weight = self.weight[self._slices]
        if self.transforms:
            for large, small in pairwise(self.kernels):
                if large <= self.active.kernel:
                    break
                centre = _centre(large, small)
                flat = weight[:, :, centre, centre].flatten(2)  # (out, 1, small * small)
                turned = F.linear(flat, self.transforms[f"{large}to{small}"])
                weight = turned.view(*turned.shape[:2], small, small)
        return weight

    def _active_bias(self) -> Tensor | None:
        if self.bias is None or self.active.out_channels == self.out_channels:
            return self.bias
        return self.bias[: self.active.out_channels]

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(B, in, H, W)`` with the active slice."""
        spec = self.active
        return F.conv2d(
            x, self.active_weight(), self._active_bias(), spec.stride, (spec.kernel - 1) // 2, groups=spec.groups
        )

    def extract(self) -> nn.Conv2d:
        """A stand-alone copy of the active layer."""
        plain = plain_conv(self.active, device="meta")
        plain.weight = nn.Parameter(self.active_weight().detach().clone(memory_format=torch.contiguous_format))
        if (bias := self._active_bias()) is not None:
            plain.bias = nn.Parameter(bias.detach().clone())
        return plain


def _centre(large: int, small: int) -> slice:
    margin = (large - small) // 2
    return slice(margin, large - margin)
