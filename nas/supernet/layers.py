"""What every kind of layer spec does in PyTorch: the one place to extend for a new kind or activation.

`KINDS` serves stand-alone and elastic networks alike. A kind without weights needs a single entry here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import (
    ElasticBatchNorm2d,
    ElasticConv2d,
    ElasticLinear,
    plain_batch_norm,
    plain_conv,
    plain_linear,
)
from search_spaces import LayerSpec

ElasticLayer = ElasticConv2d | ElasticLinear | ElasticBatchNorm2d


@dataclass(frozen=True)
class Kind:
    """How layers of one kind run.

    Attributes
    ----------
    run : maps the spec, its module and its inputs ``(B, C, H, W)`` to the output, before the activation.
    has_weights : a module holds the operator's weights; else `run` is given an empty one, or the norm alone.
    keeps_channels : output channel `i` comes from input channel `i` alone, of every input. (Depthwise
        convolutions do too; see `LayerSpec.is_depthwise`.)
    """

    run: Callable[[LayerSpec, nn.Module, Sequence[Tensor]], Tensor]
    has_weights: bool = False
    keeps_channels: bool = False


def _avg_pool(spec: LayerSpec, x: Tensor) -> Tensor:
    return F.avg_pool2d(x, spec.kernel, spec.stride, (spec.kernel - 1) // 2, count_include_pad=False)


KINDS: dict[str, Kind] = {
    "conv": Kind(lambda spec, module, inputs: module(inputs[0]), has_weights=True),
    "linear": Kind(lambda spec, module, inputs: module(inputs[0].flatten(1)), has_weights=True),
    "global_pool": Kind(lambda spec, module, inputs: inputs[0].mean((2, 3), keepdim=True), keeps_channels=True),
    "avg_pool": Kind(lambda spec, module, inputs: _avg_pool(spec, inputs[0]), keeps_channels=True),
    "add": Kind(lambda spec, module, inputs: inputs[0] + inputs[1], keeps_channels=True),
    "mul": Kind(lambda spec, module, inputs: inputs[0] * inputs[1], keeps_channels=True),
    "shuffle": Kind(lambda spec, module, inputs: torch.channel_shuffle(inputs[0], spec.groups)),
    "identity": Kind(lambda spec, module, inputs: module(inputs[0]), keeps_channels=True),
    "zero": Kind(lambda spec, module, inputs: torch.zeros_like(inputs[0]), keeps_channels=True),
}

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "hard_swish": F.hardswish,
    "hard_sigmoid": F.hardsigmoid,
}


def plain_layer(spec: LayerSpec) -> nn.Sequential:
    """The stand-alone module of `spec`: ``conv`` or ``linear``, then ``norm``; empty where it has neither."""
    layer = nn.Sequential()
    if KINDS[spec.kind].has_weights:
        layer.add_module(spec.kind, plain_conv(spec) if spec.kind == "conv" else plain_linear(spec))
    if spec.norm:
        layer.add_module("norm", plain_batch_norm(spec))
    return layer


def elastic_layer(specs: Sequence[LayerSpec], kernel_transform: bool = False) -> nn.Sequential:
    """A module that can be each of `specs`, its children named as in `plain_layer`.

    Raises
    ------
    ValueError : the specs differ in kind, norm or bias, so they cannot share weights.
    """
    if len({(spec.kind, spec.norm, spec.bias) for spec in specs}) > 1:
        raise ValueError(f"layer {specs[0].name!r} has variants that differ in kind, norm or bias: name them apart")
    spec = specs[0]
    layer = nn.Sequential()
    if KINDS[spec.kind].has_weights:
        operator = ElasticConv2d(specs, kernel_transform) if spec.kind == "conv" else ElasticLinear(specs)
        layer.add_module(spec.kind, operator)
    if spec.norm:
        layer.add_module("norm", ElasticBatchNorm2d(specs))
    return layer


def extract_layer(layer: nn.Module) -> nn.Sequential:
    """A stand-alone copy of the active layer of an `elastic_layer`."""
    plain = nn.Sequential()
    for name, module in layer.named_children():
        assert isinstance(module, ElasticLayer)
        plain.add_module(name, module.extract())
    return plain
