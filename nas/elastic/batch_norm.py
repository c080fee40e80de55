"""A batch-norm whose first channels can work alone.

All subnets share one set of running statistics, which fits none of them: calibrate before evaluating
(`nas.supernet.calibrate_batch_norm`).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic.keep import keep, put_back
from search_spaces import LayerSpec


def plain_batch_norm(spec: LayerSpec, device: str | None = None) -> nn.BatchNorm2d:
    """The stand-alone batch-norm behind `spec`."""
    return nn.BatchNorm2d(spec.out_channels, eps=spec.epsilon, device=device)


class ElasticBatchNorm2d(nn.BatchNorm2d):
    """A batch-norm big enough to stand behind each of `specs`; the widest of them is active at first."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

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

    def active_slices(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of running mean, running variance, weight and bias."""
        spec = self.active
        mean, var, weight, bias = (
            keep(tensor, 0, spec.out_channels, spec.writes)
            for tensor in (self.running_mean, self.running_var, self.weight, self.bias)
        )
        return mean, var, weight, bias

    @torch.no_grad()
    def put_back(self, mean: Tensor, var: Tensor) -> None:
        """Keep what `active_slices` gave of the running statistics and has changed since; views are kept already."""
        put_back(self.running_mean, mean, self.active.writes)
        put_back(self.running_var, var, self.active.writes)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, C, H, W)``; in training mode the active running statistics move by `momentum`."""
        mean, var, weight, bias = self.active_slices()
        y = F.batch_norm(x, mean, var, weight, bias, self.training, self.momentum, self.eps)
        if self.training:
            self.put_back(mean, var)
        return y

    def extract(self) -> nn.BatchNorm2d:
        """A stand-alone copy of the active layer."""
        plain = plain_batch_norm(self.active, device="meta")
        plain.eps, plain.momentum = self.eps, self.momentum
        mean, var, weight, bias = (tensor.detach().clone() for tensor in self.active_slices())
        plain.running_mean, plain.running_var = mean, var
        plain.num_batches_tracked = torch.zeros_like(self.num_batches_tracked)
        plain.weight, plain.bias = nn.Parameter(weight), nn.Parameter(bias)
        return plain


def active_slices(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Running mean, running variance, weight and bias of the active channels, of a stand-alone batch-norm of all."""
    if isinstance(norm, ElasticBatchNorm2d):
        return norm.active_slices()
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var, norm.weight, norm.bias


def scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """What a batch-norm amounts to with its running statistics, each (channels,), on the autograd graph."""
    mean, var, weight, bias = active_slices(norm)
    scale = weight * torch.rsqrt(var + norm.eps)
    return scale, bias - mean * scale
