"""What each ATen operator becomes: one function an operator, which writes layers and returns what the graph reads on.

Fully connected layers become convolutions (1 x 1, or as wide as the map they flatten), which compute and cost the
same, so that every tensor but the logits is a feature map.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from nas.tracing.values import Constant, Map, Value, refuse

if TYPE_CHECKING:
    from nas.tracing.graph import Graph

Operator = Callable[..., Any]
OPERATORS: dict[str, Operator] = {}
CONSTANT_ONLY = frozenset({"zeros", "ones", "full", "arange", "scalar_tensor", "lift_fresh_copy"})
"""Operators without a tensor to read; what they make is a constant."""


def operator(*names: str) -> Callable[[Operator], Operator]:
    """Register the function that reads these operators."""

    def register(function: Operator) -> Operator:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return register


def _pair(value: Any) -> tuple[int, int]:
    numbers = [value] if isinstance(value, int) else list(value)
    return (numbers[0], numbers[-1])


def _same(node: fx.Node, value: Any, what: str) -> int:
    first, second = _pair(value)
    if first != second:
        raise refuse(node, f"its {what} differs between height and width")
    return first


def _map(node: fx.Node, value: Any, *layouts: str) -> Map:
    """The feature map that `value` is, in one of these layouts."""
    if not isinstance(value, Map):
        raise refuse(node, "it reads a constant where a feature map is expected")
    if value.layout not in layouts:
        raise refuse(node, f"it reads a tensor laid out as {value.layout}")
    return value


def _tensor(node: fx.Node, value: Any) -> Tensor | None:
    if value is None:
        return None
    if not isinstance(value, Constant):
        raise refuse(node, "its weights depend on the image")
    return value.tensor


# Convolutions and fully connected layers ---------------------------------------------------------------


@operator("conv2d")
def _conv2d(
    graph: "Graph",
    node: fx.Node,
    x: Value,
    weight: Value,
    bias: Value = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Map:
    source, kernel = _map(node, x, "map"), _tensor(node, weight)
    assert kernel is not None
    height, width = kernel.shape[2:]
    step, spread = _same(node, stride, "stride"), _same(node, dilation, "dilation")
    if padding == "valid":
        padding = 0
    if padding == "same":
        totals = [spread * (side - 1) for side in (height, width)]
        pads = tuple(n for total in totals for n in (total // 2, total - total // 2))
    else:
        pads = tuple(n for n in _pair(padding) for _ in range(2))
    spans = [source.size + a + b - spread * (side - 1) for a, b, side in ((*pads[:2], height), (*pads[2:], width))]
    if len({(span - 1) // step for span in spans}) > 1:
        raise refuse(node, "its output is not square")
    return graph.add(
        node,
        "conv",
        source,
        out=kernel.shape[0],
        tensors={"weight": kernel, "bias": _tensor(node, bias)},
        kernel=height,
        kernel_width=0 if width == height else width,
        stride=step,
        groups=groups,
        bias=bias is not None,
        padding=pads,
        dilation=spread,
    )


@operator("convolution")
def _convolution(
    graph: "Graph",
    node: fx.Node,
    x: Value,
    weight: Value,
    bias: Value,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Map:
    if transposed:
        raise refuse(node, "transposed convolutions have no layer kind")
    return _conv2d(graph, node, x, weight, bias, stride, padding, dilation, groups)


@operator("linear")
def _linear(graph: "Graph", node: fx.Node, x: Value, weight: Value, bias: Value = None) -> Map:
    source, matrix = _map(node, x, "flat", "last"), _tensor(node, weight)
    assert matrix is not None
    side = source.size if source.layout == "flat" else 1
    if side > 1:
        graph.one_size = graph.one_size or f"{node.name} reads all {side} x {side} pixels of a feature map"
    result = graph.add(
        node,
        "conv",
        source,
        out=matrix.shape[0],
        tensors={"weight": matrix.view(len(matrix), source.channels, side, side), "bias": _tensor(node, bias)},
        kernel=side,
        bias=bias is not None,
        padding=(0, 0, 0, 0),
    )
    return result.as_layout(source.layout)


@operator("addmm")
def _addmm(graph: "Graph", node: fx.Node, bias: Value, x: Value, weight: Value, beta: Any = 1, alpha: Any = 1) -> Map:
    if not isinstance(weight, Constant) or (beta, alpha) != (1, 1):
        raise refuse(node, "its weights depend on the image")
    return _linear(graph, node, x, Constant(weight.tensor.t(), weight.trainable), bias)


@operator("mm", "matmul")
def _mm(graph: "Graph", node: fx.Node, x: Value, weight: Value) -> Map:
    return _addmm(graph, node, None, x, weight)


# Normalisation, scales, activations ---------------------------------------------------------------------


@operator("batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "native_batch_norm")
def _batch_norm(graph: "Graph", node: fx.Node, x: Value, weight: Value, bias: Value, *rest: Any) -> Any:
    mean, variance = (_tensor(node, value) for value in rest[:2])
    flags = [value for value in rest[2:] if isinstance(value, bool)]
    if mean is None or variance is None or flags[:1] == [True]:
        raise refuse(node, "batch-norm must have running statistics and be in evaluation mode")
    epsilon = [value for value in rest[2:] if isinstance(value, float)][-1]
    source = _map(node, x, "map", "flat")
    gamma, beta = _tensor(node, weight), _tensor(node, bias)
    if gamma is None or beta is None:
        scale = (1 if gamma is None else gamma) / torch.sqrt(variance + epsilon)
        shift = (0 if beta is None else beta) - mean * scale
        result = graph.add(node, "scale", source, tensors={"weight": scale, "bias": shift}, bias=True, frozen=True)
    else:
        tensors = {"weight": gamma, "bias": beta, "running_mean": mean, "running_var": variance}
        tensors["num_batches_tracked"] = torch.tensor(0)
        result = graph.add(node, "identity", source, tensors=tensors, norm=True, epsilon=epsilon)
    result = result.as_layout(source.layout)
    return [result] if str(node.target).startswith(("aten._native", "aten.native")) else result


@operator("layer_norm", "native_layer_norm")
def _layer_norm(
    graph: "Graph",
    node: fx.Node,
    x: Value,
    shape: Any,
    weight: Value = None,
    bias: Value = None,
    epsilon: float = 1e-5,
    *_: Any,
) -> Any:
    source = _map(node, x, "last", "flat")
    gamma, beta = _tensor(node, weight), _tensor(node, bias)
    if gamma is None or beta is None or list(shape) != [source.channels] or (source.layout, source.size > 1) == (
        "flat",
        True,
    ):
        raise refuse(node, "layer-norm is known over the channels of each pixel, with weight and bias")
    result = graph.add(node, "layer_norm", source, tensors={"weight": gamma, "bias": beta}, epsilon=epsilon)
    result = result.as_layout(source.layout)
    return [result] if str(node.target).startswith("aten.native") else result


def _activation(name: str) -> Operator:
    def read(graph: "Graph", node: fx.Node, x: Value, *rest: Any, **options: Any) -> Map:
        if name == "gelu" and options.get("approximate", "none") != "none":
            raise refuse(node, "GELU is known in its exact form, not approximated by tanh")
        source = _map(node, x, "map", "last", "flat")
        return graph.add(node, "identity", source, activation=name).as_layout(source.layout)

    return read


for _operator_name, _kind in {
    "relu": "relu",
    "relu6": "relu6",
    "hardswish": "hard_swish",
    "hardsigmoid": "hard_sigmoid",
    "sigmoid": "sigmoid",
    "silu": "silu",
    "gelu": "gelu",
}.items():
    OPERATORS[_operator_name] = _activation(_kind)


@operator("hardtanh", "clamp", "clip", "clamp_min", "clamp_max")
def _clamp(graph: "Graph", node: fx.Node, x: Value, low: Any = None, high: Any = None) -> Map:
    if str(node.target).startswith("aten.clamp_max"):
        low, high = None, low
    if (low, high) in ((0, 6), (0, None)):
        return OPERATORS["relu6" if high == 6 else "relu"](graph, node, x)  # type: ignore[no-any-return]
    source = _map(node, x, "map", "last", "flat")
    if (low, high) == (None, 6) and graph.layers and graph.layers[-1].name == source.name:
        if graph.layers[-1].activation == "relu":
            return OPERATORS["relu6"](graph, node, x)  # type: ignore[no-any-return]
    raise refuse(node, f"limits other than 0 and 6 have no activation: {low} and {high}")


@operator("dropout", "feature_dropout", "alpha_dropout", "native_dropout")
def _dropout(graph: "Graph", node: fx.Node, x: Value, p: float, train: bool = False) -> Value:
    if train:
        raise refuse(node, "the network was exported in training mode; call .eval() first")
    return x


@operator("alias", "contiguous", "clone", "detach", "lift_fresh_copy", "dropout_passed", "_to_copy", "to")
def _unchanged(graph: "Graph", node: fx.Node, x: Value, *rest: Any, **options: Any) -> Value:
    given = node.meta.get("val")
    if isinstance(given, Tensor) and given.dtype != torch.float32:
        raise refuse(node, f"it turns numbers into {given.dtype}")
    return x


# Arithmetic ---------------------------------------------------------------------------------------------


@operator("add", "sub", "mul", "div")
def _arithmetic(graph: "Graph", node: fx.Node, a: Value, b: Value, **options: Any) -> Map:
    name = str(node.target).split(".")[1].rstrip("_")
    if options.get("alpha", 1) != 1 or options.get("rounding_mode"):
        raise refuse(node, "alpha and rounding have no layer kind")
    if isinstance(a, Map) and isinstance(b, Map):
        if name == "div":
            raise refuse(node, "dividing by a feature map has no layer kind")
        if name == "sub":
            minus = {"weight": torch.full((b.channels,), -1.0)}
            b = graph.add(node, "scale", b, tensors=minus, frozen=True).as_layout(b.layout)
            name = "add"
        if a.size < b.size:
            a, b = b, a
        if a.channels != b.channels or a.layout != b.layout or (b.size not in (1, a.size)):
            raise refuse(node, f"it joins {a.channels} channels, {a.layout}, with {b.channels} channels, {b.layout}")
        if a.layout in ("apart", "swapped") or (a.layout == "flat" and a.size > 1):
            raise refuse(node, f"it reads tensors laid out as {a.layout}")
        return graph.add(node, name, a, b).as_layout(a.layout)
    if not isinstance(a, Map):
        if name == "div" or (name == "sub" and isinstance(a, Constant) and a.trainable):
            raise refuse(node, "dividing by a feature map has no layer kind")
        return _with_constant(graph, node, name, b, a, turned=name == "sub")
    return _with_constant(graph, node, name, a, b)


def _with_constant(graph: "Graph", node: fx.Node, name: str, x: Value, constant: Value, turned: bool = False) -> Map:
    source = _map(node, x, "map", "last", "flat")
    trainable = isinstance(constant, Constant) and constant.trainable
    numbers = _by_channel(node, source, constant)
    if name in ("add", "sub"):
        if trainable:
            return _shifted(graph, node, source, numbers, name)
        factor = -1.0 if turned else 1.0
        shift = -numbers if name == "sub" and not turned else numbers
        tensors = {"weight": torch.full_like(numbers, factor), "bias": shift}
        result = graph.add(node, "scale", source, tensors=tensors, bias=True, frozen=True)
    else:
        if name == "div":
            if trainable:
                raise refuse(node, "dividing by a parameter has no layer kind")
            numbers = 1 / numbers
        result = graph.add(node, "scale", source, tensors={"weight": numbers}, frozen=not trainable)
    return result.as_layout(source.layout)


def _shifted(graph: "Graph", node: fx.Node, source: Map, numbers: Tensor, name: str) -> Map:
    """A learned shift belongs to the learned scale right before it."""
    from dataclasses import replace

    last = graph.layers[-1]
    if name == "sub" or last.name != source.name or last.kind != "scale" or last.bias or last.frozen:
        raise refuse(node, "a learned shift is known right behind a learned scale only")
    graph.layers[-1] = replace(last, bias=True)
    graph.weights[last.name]["scale.bias"] = numbers
    return source


def _by_channel(node: fx.Node, source: Map, constant: Value) -> Tensor:
    """The constant as one number for each channel."""
    tensor = constant.tensor if isinstance(constant, Constant) else torch.tensor(float(constant))  # type: ignore[arg-type]
    if tensor.numel() == 1:
        return tensor.float().reshape(1).expand(source.channels).clone()
    axes = {"map": (-3, source.channels), "last": (-1, source.channels), "flat": (-1, source.channels)}
    axis, channels = axes[source.layout]
    fits = tensor.ndim >= -axis and tensor.shape[axis] == channels == tensor.numel()
    if not fits or (source.layout == "flat" and source.size > 1):
        raise refuse(node, f"a constant of shape {tuple(tensor.shape)} is not one number for each channel")
    return tensor.reshape(-1)


# Pooling and resizing -----------------------------------------------------------------------------------


@operator("max_pool2d", "max_pool2d_with_indices")
def _max_pool(
    graph: "Graph",
    node: fx.Node,
    x: Value,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Any:
    result = _pool(graph, node, "max_pool", x, kernel, stride, padding, ceil_mode, _same(node, dilation, "dilation"))
    return [result] if str(node.target).startswith("aten.max_pool2d_with") else result


@operator("avg_pool2d")
def _avg_pool(
    graph: "Graph",
    node: fx.Node,
    x: Value,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
) -> Map:
    if divisor_override is not None or (ceil_mode and count_include_pad and _pair(padding) != (0, 0)):
        raise refuse(node, "a divisor of its own has no layer kind")
    if count_include_pad and _pair(padding) != (0, 0):
        height, width = _pair(padding)
        x = graph.add(node, "pad", _map(node, x, "map"), padding=(height, height, width, width))
        padding = 0
    return _pool(graph, node, "avg_pool", x, kernel, stride, padding, ceil_mode)


def _pool(
    graph: "Graph",
    node: fx.Node,
    kind: str,
    x: Value,
    kernel: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    dilation: int = 1,
) -> Map:
    height, width = _pair(kernel)
    pads = tuple(n for n in _pair(padding) for _ in range(2))
    if height != width:
        raise refuse(node, "its window is not square")
    return graph.add(
        node,
        kind,
        _map(node, x, "map"),
        kernel=height,
        stride=_same(node, stride or kernel, "stride"),
        padding=pads,
        ceil_mode=bool(ceil_mode),
        dilation=dilation,
    )


@operator("adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d")
def _adaptive_pool(graph: "Graph", node: fx.Node, x: Value, size: Any) -> Any:
    source, side = _map(node, x, "map"), _same(node, size, "size")
    highest = str(node.target).startswith("aten.adaptive_max")
    if side == 1 and not highest:
        return graph.add(node, "global_pool", source)
    graph.one_size = graph.one_size or f"{node.name} makes a feature map of {side} x {side} pixels"
    if source.size % side:
        raise refuse(node, f"pooling {source.size} pixels to {side} has windows of different sizes")
    if source.size == side:
        return [source] if highest else source
    window = source.size // side
    kind = "max_pool" if highest else "avg_pool"
    result = graph.add(node, kind, source, kernel=window, stride=window, padding=(0, 0, 0, 0))
    return [result] if highest else result


@operator("mean")
def _mean(graph: "Graph", node: fx.Node, x: Value, axes: Any, keepdim: bool = False, **options: Any) -> Map:
    source = _map(node, x, "map", "last")
    dimensions = sorted(axis % 4 for axis in axes)
    if dimensions != ([2, 3] if source.layout == "map" else [1, 2]):
        raise refuse(node, "means are known over height and width")
    return graph.add(node, "global_pool", source).as_layout(source.layout if keepdim else "flat")


@operator("upsample_nearest2d")
def _upsample(graph: "Graph", node: fx.Node, x: Value, size: Any = None, *rest: Any, **options: Any) -> Map:
    source = _map(node, x, "map")
    target = int(node.meta["val"].shape[-1])
    if node.meta["val"].shape[-2] != target or target < source.size:
        raise refuse(node, "it is known for square maps that grow")
    result = graph.add(node, "upsample", source, target=target)
    like = [spec.name for spec in graph.layers[:-1] if spec.out_size == target]
    sources = _sources(graph, result.name)
    # The tensor that it was made smaller from, or else the last one of that size.
    before = [name for name in like if name in sources]
    if not (before or like):
        raise refuse(node, "no feature map has the size that it makes")
    graph.like[result.name] = (before or like)[-1]
    return result


def _sources(graph: "Graph", name: str) -> set[str]:
    """The layers that a layer depends on."""
    found, todo = set(), [name]
    inputs = {spec.name: spec.inputs for spec in graph.layers}
    while todo:
        for source in inputs.get(todo.pop(), ()):
            if source not in found:
                found.add(source)
                todo.append(source)
    return found


@operator("pad", "constant_pad_nd")
def _pad(graph: "Graph", node: fx.Node, x: Value, amounts: Any, mode: Any = 0, value: Any = None) -> Map:
    mode, value = (mode, value) if isinstance(mode, str) else ("constant", mode)
    left, right, top, bottom = (list(amounts) + [0, 0])[:4] if len(amounts) in (2, 4) else (None,) * 4
    if mode != "constant" or value not in (None, 0, 0.0) or left is None or min(amounts) < 0:
        raise refuse(node, "padding is known with zeros, around height and width")
    if top + bottom != left + right:
        raise refuse(node, "its output is not square")
    return graph.add(node, "pad", _map(node, x, "map"), padding=(top, bottom, left, right))


# Shapes and channels ------------------------------------------------------------------------------------


@operator("cat", "concat", "concatenate")
def _cat(graph: "Graph", node: fx.Node, parts: Any, axis: int = 0) -> Value:
    maps = [_map(node, part, "map", "last", "flat") for part in parts]
    rank = node.meta["val"].ndim
    same = {(part.layout, part.size) for part in maps}
    if len(same) > 1 or axis % rank != maps[0].channel_axis or (maps[0].layout, maps[0].size > 1) == ("flat", True):
        raise refuse(node, "concatenation is known of channels of feature maps of one size")
    if len(maps) == 1:
        return maps[0]
    out = sum(part.channels for part in maps)
    return graph.add(node, "concat", *maps, out=out).as_layout(maps[0].layout)


@operator("chunk", "split", "split_with_sizes", "tensor_split", "unsafe_split", "unsafe_chunk")
def _split(graph: "Graph", node: fx.Node, x: Value, count: Any, axis: int = 0) -> list[Map]:
    source = _map(node, x, "map", "last")
    if axis % 4 != source.channel_axis:
        raise refuse(node, "splitting is known along channels")
    if isinstance(count, int):
        by_count = operator_is(node, "chunk") or operator_is(node, "unsafe_chunk") or operator_is(node, "tensor_split")
        n = -(-source.channels // count) if by_count else count
        if operator_is(node, "tensor_split") and source.channels % count:
            raise refuse(node, f"{source.channels} channels cannot be split into {count} equal parts")
        count = [min(n, source.channels - start) for start in range(0, source.channels, n)]
    elif operator_is(node, "tensor_split"):
        raise refuse(node, "it splits at given places")
    parts, start = [], 0
    for n in count:
        parts.append(graph.add(node, "slice", source, out=n, start=start).as_layout(source.layout))
        start += n
    return parts


@operator("getitem")
def _getitem(graph: "Graph", node: fx.Node, parts: Any, index: int) -> Value:
    if not isinstance(parts, list) or index >= len(parts):
        raise refuse(node, "what it takes has no layer kind")
    return parts[index]  # type: ignore[no-any-return]


@operator("slice", "narrow")
def _slice(graph: "Graph", node: fx.Node, x: Value, axis: int = 0, start: Any = None, *rest: Any) -> Value:
    source = _map(node, x, "map", "last", "flat")
    shape = tuple(node.meta["val"].shape)
    before = tuple(node.all_input_nodes[0].meta["val"].shape)
    if shape == before:
        return source
    if axis % len(shape) != source.channel_axis or source.layout == "flat" or (len(rest) > 1 and rest[1] != 1):
        raise refuse(node, "slices are known along channels")
    begin = int(start or 0) % source.channels
    return graph.add(node, "slice", source, out=shape[axis], start=begin).as_layout(source.layout)


@operator("channel_shuffle", "native_channel_shuffle")
def _channel_shuffle(graph: "Graph", node: fx.Node, x: Value, groups: int) -> Map:
    return graph.add(node, "shuffle", _map(node, x, "map"), groups=groups)


@operator("view", "_unsafe_view", "reshape", "flatten", "squeeze", "unsqueeze")
def _view(graph: "Graph", node: fx.Node, x: Value, *rest: Any) -> Value:
    source = _map(node, x, "map", "last", "flat", "apart", "swapped")
    shape = tuple(int(n) for n in node.meta["val"].shape)[1:]
    channels, size = source.channels, source.size
    if source.layout in ("apart", "swapped"):
        if shape == (channels, size, size):
            plain = source.as_layout("map")
            return graph.add(node, "shuffle", plain, groups=source.groups) if source.layout == "swapped" else plain
    elif source.layout == "last" and size > 1:
        if shape == (size, size, channels):
            return source
    elif shape == (channels, size, size):
        return source.as_layout("map")
    elif shape == (channels * size * size,):
        return source.as_layout("flat")
    elif size == 1 and shape == (1, 1, channels):
        return source.as_layout("last")
    elif len(shape) == 4 and shape[2:] == (size, size) and shape[0] * shape[1] == channels and source.layout == "map":
        return source.as_layout("apart", shape[0])
    before = " x ".join(map(str, node.all_input_nodes[0].meta["val"].shape))
    raise refuse(node, f"no layer kind turns {before} into {' x '.join(map(str, node.meta['val'].shape))}")


@operator("permute", "transpose")
def _permute(graph: "Graph", node: fx.Node, x: Value, *order: Any) -> Value:
    source = _map(node, x, "map", "last", "flat", "apart", "swapped")
    rank = node.meta["val"].ndim
    axes = list(range(rank))
    if operator_is(node, "transpose"):
        a, b = (axis % rank for axis in order)
        axes[a], axes[b] = axes[b], axes[a]
    else:
        axes = [axis % rank for axis in (order[0] if isinstance(order[0], list | tuple) else order)]
    if axes == list(range(rank)):
        return source
    moves = {("map", (0, 2, 3, 1)): "last", ("last", (0, 3, 1, 2)): "map", ("apart", (0, 2, 1, 3, 4)): "swapped"}
    layout = moves.get((source.layout, tuple(axes)))
    if layout is None:
        raise refuse(node, f"axes in the order {axes} have no layer kind")
    return source.as_layout(layout, source.groups)  # type: ignore[arg-type]


def operator_is(node: fx.Node, name: str) -> bool:
    """Whether the node calls the ATen operator `name`."""
    return str(node.target).startswith(f"aten.{name}.")
