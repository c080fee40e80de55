"""What every kind of layer spec does in PyTorch: the one place to extend for a new kind or activation.

`KINDS` serves stand-alone and elastic networks alike. A kind without weights needs a single entry here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import (
    ChannelNorm,
    ChannelScale,
    ElasticBatchNorm2d,
    ElasticChannelNorm,
    ElasticChannelScale,
    ElasticConv2d,
    ElasticLinear,
    even_padding,
    padded,
    plain_batch_norm,
    plain_conv,
    plain_linear,
)
from search_spaces import LayerSpec

ElasticLayer = ElasticConv2d | ElasticLinear | ElasticBatchNorm2d | ElasticChannelNorm | ElasticChannelScale


@dataclass(frozen=True)
class Kind:
    """How layers of one kind run.

    Attributes
    ----------
    run : maps the spec, its module and its inputs ``(B, C, H, W)`` to the output, before the activation.
    has_weights : a module holds the operator's weights; else `run` is given an empty one, or the norm alone.
    """

    run: Callable[[LayerSpec, nn.Module, Sequence[Tensor]], Tensor]
    has_weights: bool = False


def _avg_pool(spec: LayerSpec, x: Tensor) -> Tensor:
    top, _, left, _ = spec.pads
    return F.avg_pool2d(x, spec.window, spec.stride, (top, left), spec.ceil_mode, count_include_pad=False)


def _max_pool(spec: LayerSpec, x: Tensor) -> Tensor:
    x = padded(spec, x, float("-inf"))
    return F.max_pool2d(x, spec.window, spec.stride, even_padding(spec), spec.dilation)


def _pad(spec: LayerSpec, x: Tensor) -> Tensor:
    top, bottom, left, right = spec.pads
    return F.pad(x, (left, right, top, bottom))


def _attention(spec: LayerSpec, inputs: Sequence[Tensor]) -> Tensor:
    """As all heads have the same keys and values, their queries are rows of one matrix."""
    query, key, value = inputs
    batch, channels, height, width = query.shape
    of_head = channels // spec.groups
    rows = query.reshape(batch, spec.groups, of_head, height * width).transpose(2, 3)
    # There are fewer keys to scale than queries.
    scores: Tensor = rows.reshape(batch, -1, of_head) @ (key.flatten(2) * of_head**-0.5)  # (B, heads * pixels, keys)
    mixed = scores.softmax(-1) @ value.flatten(2).transpose(1, 2)  # (B, heads * pixels, channels of a value)
    apart = mixed.view(batch, spec.groups, height * width, -1).transpose(2, 3)
    return apart.reshape(batch, -1, height, width)


SLOW_KERNEL = 5
"""Depthwise kernels from this size on, and all with a stride, are trained 2 to 5 times more slowly in bfloat16 than in
float32 on a CPU (experiments/training_speed)."""


def _conv(spec: LayerSpec, module: nn.Module, x: Tensor) -> Tensor:
    """Under autocast to bfloat16 on a CPU, an operator that would train more slowly so is computed in float32."""
    x = padded(spec, x)
    slow = spec.is_depthwise and (spec.stride > 1 or max(spec.window) >= SLOW_KERNEL)
    if not (slow and x.device.type == "cpu" and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")):
        convolved: Tensor = module(x)
        return convolved
    operator, *norm = module.children()
    with torch.autocast("cpu", enabled=False):
        convolved = operator(x.float())
    convolved = convolved.to(torch.get_autocast_dtype("cpu"))
    return norm[0](convolved) if norm else convolved


KINDS: dict[str, Kind] = {
    "conv": Kind(lambda spec, module, inputs: _conv(spec, module, inputs[0]), has_weights=True),
    "linear": Kind(lambda spec, module, inputs: module(inputs[0].flatten(1)), has_weights=True),
    "global_pool": Kind(lambda spec, module, inputs: inputs[0].mean((2, 3), keepdim=True)),
    "avg_pool": Kind(lambda spec, module, inputs: _avg_pool(spec, inputs[0])),
    "max_pool": Kind(lambda spec, module, inputs: _max_pool(spec, inputs[0])),
    "add": Kind(lambda spec, module, inputs: inputs[0] + inputs[1]),
    "mul": Kind(lambda spec, module, inputs: inputs[0] * inputs[1]),
    "concat": Kind(lambda spec, module, inputs: torch.cat(list(inputs), 1)),
    "slice": Kind(lambda spec, module, inputs: inputs[0].narrow(1, spec.start, spec.out_channels)),
    "shuffle": Kind(lambda spec, module, inputs: torch.channel_shuffle(inputs[0], spec.groups)),
    "upsample": Kind(lambda spec, module, inputs: F.interpolate(inputs[0], size=(spec.target, spec.target))),
    "pad": Kind(lambda spec, module, inputs: _pad(spec, inputs[0])),
    "layer_norm": Kind(lambda spec, module, inputs: module(inputs[0]), has_weights=True),
    "scale": Kind(lambda spec, module, inputs: module(inputs[0]), has_weights=True),
    "attention": Kind(lambda spec, module, inputs: _attention(spec, inputs)),
    "identity": Kind(lambda spec, module, inputs: module(inputs[0])),
    "flatten": Kind(lambda spec, module, inputs: inputs[0].flatten(1)),
    "zero": Kind(lambda spec, module, inputs: torch.zeros_like(inputs[0])),
}

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "hard_swish": F.hardswish,
    "hard_sigmoid": F.hardsigmoid,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "gelu": F.gelu,
}

PLAIN: dict[str, Callable[[LayerSpec], nn.Module]] = {
    "conv": plain_conv,
    "linear": plain_linear,
    "layer_norm": ChannelNorm,
    "scale": ChannelScale,
}
"""Stand-alone modules of the kinds that have weights."""
ELASTIC: dict[str, Callable[[Sequence[LayerSpec]], ElasticLayer]] = {
    "conv": ElasticConv2d,
    "linear": ElasticLinear,
    "layer_norm": ElasticChannelNorm,
    "scale": ElasticChannelScale,
}
"""Their elastic ones."""


def plain_layer(spec: LayerSpec) -> nn.Sequential:
    """The stand-alone module of `spec`: its operator by its kind, then ``norm``; empty where it has neither."""
    layer = nn.Sequential()
    if KINDS[spec.kind].has_weights:
        layer.add_module(spec.kind, PLAIN[spec.kind](spec))
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
        operator = ElasticConv2d(specs, kernel_transform) if spec.kind == "conv" else ELASTIC[spec.kind](specs)
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
