"""A convolution that is trained as a sum of branches, each with a batch-norm, and deployed as one convolution.

RepVGG (https://arxiv.org/abs/2101.03697), MobileOne (https://arxiv.org/abs/2206.04040). Which branches there are is
said by `search_spaces.layers.branch_layers`.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic.batch_norm import ElasticBatchNorm2d, plain_batch_norm, scale_and_shift
from nas.elastic.conv import ElasticConv2d, even_padding, plain_conv
from search_spaces import LayerSpec
from search_spaces.layers import branch_layers


class Branches(nn.ModuleDict):
    """The branches of `spec`; without `modules`, fresh ones.

    Batch-norms that normalise by the batch need the output of every branch. With their running statistics the sum is
    one convolution, and computed as one.

    Parameters
    ----------
    spec : the convolution that they are when deployed.
    modules : by the names in `branch_layers`, a convolution and its batch-norm, or the batch-norm alone.
    """

    def __init__(self, spec: LayerSpec, modules: Mapping[str, nn.Sequential] | None = None) -> None:
        if modules is None:
            modules = {
                name: _sequence(plain_batch_norm(branch), plain_conv(branch) if branch.kind == "conv" else None)
                for name, branch in branch_layers(spec).items()
            }
        super().__init__(modules)
        self.active = spec

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(B, in, H, W)`` with the active branches."""
        first, *others = branch_layers(self.active)
        if not self._branch(first)[1].training:
            spec = self.active
            weight, bias = self.fused_weight()
            return F.conv2d(x, weight, bias, spec.stride, even_padding(spec), spec.dilation, spec.groups)
        total: Tensor = self[first](x)
        for name in others:
            total = total + self[name](x)
        return total

    def _branch(self, name: str) -> tuple[nn.Conv2d | None, nn.BatchNorm2d]:
        *operator, norm = self[name].children()
        conv = operator[0] if operator else None
        assert conv is None or isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        return conv, norm

    def parts(self) -> list[nn.Module]:
        """The convolutions and batch-norms of the active branches."""
        return [part for name in branch_layers(self.active) for part in self[name].children()]

    def fused_weight(self) -> tuple[Tensor, Tensor]:
        """Weight (out, in / groups, height, width) and bias (out,) of the one convolution, on the autograd graph."""
        spec = self.active
        weights, shifts = [], []
        for name, branch in branch_layers(spec).items():
            conv, norm = self._branch(name)
            scale, shift = scale_and_shift(norm)
            if conv is None:
                # Output channel i is input channel i, which in its group is number i modulo the group's channels.
                weight = scale.new_zeros(spec.out_channels, spec.in_channels // spec.groups, 1, 1)
                rows = torch.arange(spec.out_channels, device=scale.device)
                weight[rows, rows % weight.shape[1], 0, 0] = scale
            else:
                weight = conv.active_weight() if isinstance(conv, ElasticConv2d) else conv.weight
                weight = weight * scale[:, None, None, None]
            margin = (spec.kernel - branch.kernel) // 2
            weights.append(F.pad(weight, 4 * (margin,)) if margin else weight)
            shifts.append(shift)
        return torch.stack(weights).sum(0), torch.stack(shifts).sum(0)

    @torch.no_grad()
    def fused(self) -> nn.Conv2d:
        """The one convolution that the active branches are with their running statistics."""
        plain = plain_conv(self.active, device="meta")
        weight, bias = self.fused_weight()
        plain.weight, plain.bias = nn.Parameter(weight), nn.Parameter(bias)
        return plain


class ElasticBranches(Branches):
    """Branches enough for each of `specs`, each elastic; those of the widest are active at first.

    Fewer branches are the first ones.
    """

    def __init__(self, specs: Sequence[LayerSpec]) -> None:
        by_name: dict[str, list[LayerSpec]] = {}
        for spec in specs:
            for name, branch in branch_layers(spec).items():
                by_name.setdefault(name, []).append(branch)
        self.widest = max(specs, key=lambda spec: (spec.weight_count, spec.branches))
        modules = {
            name: _sequence(ElasticBatchNorm2d(found), ElasticConv2d(found) if found[0].kind == "conv" else None)
            for name, found in by_name.items()
        }
        super().__init__(self.widest, modules)
        self.reset()

    def narrow(self, spec: LayerSpec) -> None:
        """Make the branches of the layer `spec` active."""
        self.active = spec
        for name, branch in branch_layers(spec).items():
            for part in self[name].children():
                assert isinstance(part, ElasticConv2d | ElasticBatchNorm2d)
                part.narrow(branch)

    def reset(self) -> None:
        """Make the widest layer active."""
        self.narrow(self.widest)

    def extract(self) -> Branches:
        """A stand-alone copy of the active branches."""
        modules = {}
        for name in branch_layers(self.active):
            conv, norm = self._branch(name)
            assert conv is None or isinstance(conv, ElasticConv2d)
            assert isinstance(norm, ElasticBatchNorm2d)
            modules[name] = _sequence(norm.extract(), None if conv is None else conv.extract())
        return Branches(self.active, modules)


def _sequence(norm: nn.Module, conv: nn.Module | None) -> nn.Sequential:
    branch = nn.Sequential()
    if conv is not None:
        branch.add_module("conv", conv)
    branch.add_module("norm", norm)
    return branch
