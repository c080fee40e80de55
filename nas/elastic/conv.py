"""A convolution whose first channels and kernel centre can work alone, dense, grouped or depthwise.

Once-for-all (https://arxiv.org/abs/1908.09791): small kernels are the centre of large ones, optionally
turned by a learned matrix for each step down (7 to 5, 5 to 3) that all channels of the layer share.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic.keep import keep
from search_spaces import LayerSpec


def plain_conv(spec: LayerSpec, device: str | None = None) -> nn.Conv2d:
    """The stand-alone convolution of `spec`; where it is padded unevenly, what it reads is (`padded`)."""
    return nn.Conv2d(
        spec.in_channels,
        spec.out_channels,
        spec.window,
        spec.stride,
        even_padding(spec),
        spec.dilation,
        spec.groups,
        bias=spec.bias,
        device=device,
    )


def even_padding(spec: LayerSpec) -> tuple[int, int]:
    """Pixels that the operator itself adds above and below, left and right; none where the sides differ."""
    top, bottom, left, right = spec.pads
    return (top, left) if (top, left) == (bottom, right) else (0, 0)


def padded(spec: LayerSpec, x: Tensor, value: float = 0.0) -> Tensor:
    """`x` with the padding of `spec` around it where the sides differ."""
    top, bottom, left, right = spec.pads
    return x if (top, left) == (bottom, right) else F.pad(x, (left, right, top, bottom), value=value)


class ElasticConv2d(nn.Conv2d):
    """A convolution big enough for each of `specs`; the widest of them is active at first.

    Parameters
    ----------
    specs : the layers it must be able to be; they agree on `bias`.
    kernel_transform : square depthwise only, learn a matrix for each step from a kernel to the next smaller one.
    """

    def __init__(self, specs: Sequence[LayerSpec], kernel_transform: bool = False) -> None:
        out_channels = max(spec.out_channels for spec in specs)
        group_channels = max(spec.in_channels // spec.groups for spec in specs)
        depthwise = all(spec.is_depthwise for spec in specs)
        heights, widths = zip(*(spec.window for spec in specs), strict=True)
        super().__init__(
            out_channels if depthwise else group_channels,
            out_channels,
            (max(heights), max(widths)),
            groups=out_channels if depthwise else 1,
            bias=specs[0].bias,
        )
        self.widest = max(specs, key=lambda spec: spec.weight_count)
        self.kernels = sorted(set(heights), reverse=True)
        self.transforms = nn.ParameterDict()
        if kernel_transform and depthwise and heights == widths:
            for large, small in pairwise(self.kernels):
                self.transforms[f"{large}to{small}"] = nn.Parameter(torch.eye(small**2))
        self.reset()

    def narrow(self, spec: LayerSpec) -> None:
        """Make the slice that is the layer `spec` active."""
        self.active = spec
        self._crop = () if self.transforms else tuple(map(_centre, self.kernel_size, spec.window))

    def reset(self) -> None:
        """Make the widest layer active."""
        self.narrow(self.widest)

    def active_weight(self) -> Tensor:
        """The active slice of the weight, (out, in / groups, height, width), on the autograd graph."""
        spec = self.active
        weight = keep(self.weight, 0, spec.out_channels, spec.writes)
        weight = keep(weight, 1, spec.in_channels // spec.groups, spec.reads if spec.groups == 1 else ())
        if self.transforms:
            for large, small in pairwise(self.kernels):
                if large <= spec.kernel:
                    break
                centre = _centre(large, small)
                flat = weight[:, :, centre, centre].flatten(2)  # (out, 1, small * small)
                turned = F.linear(flat, self.transforms[f"{large}to{small}"])
                weight = turned.view(*turned.shape[:2], small, small)
        elif spec.window != self.kernel_size:
            weight = weight[:, :, *self._crop]
        return weight

    def _active_bias(self) -> Tensor | None:
        return None if self.bias is None else keep(self.bias, 0, self.active.out_channels, self.active.writes)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(B, in, H, W)`` with the active slice."""
        spec = self.active
        return F.conv2d(
            x,
            self.active_weight(),
            self._active_bias(),
            spec.stride,
            even_padding(spec),
            spec.dilation,
            spec.groups,
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
