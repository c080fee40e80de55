"""What each layer kind and activation is in TFLite: one function or line each; `nas.export.tflite_graph` calls them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from search_spaces import LayerSpec
from search_spaces.layers import downsampled

if TYPE_CHECKING:
    from nas.export.tflite_graph import TfliteWriter

Operator = Callable[["TfliteWriter", str, LayerSpec, list[int], str | None], int]


def _conv(writer: "TfliteWriter", name: str, spec: LayerSpec, inputs: list[int], fused: str | None) -> int:
    shape = (spec.out_channels, spec.in_channels // spec.groups, *spec.window)
    # (out, in / groups, h, w) becomes (1, h, w, channels) for depthwise and (out, h, w, in / groups) otherwise.
    order = (1, 2, 3, 0) if spec.is_depthwise else (0, 2, 3, 1)
    source, padding = writer.padded(name, spec, inputs[0])
    options: dict[str, Any] = {"padding": padding, "strideW": spec.stride, "strideH": spec.stride, "fused": fused}
    options |= {"dilationWFactor": spec.dilation, "dilationHFactor": spec.dilation}
    if spec.is_depthwise:
        options["depthMultiplier"] = 1
    operator = "DEPTHWISE_CONV_2D" if spec.is_depthwise else "CONV_2D"
    return writer.node(
        operator, name, [source, *writer.weighted(name, spec, shape, order)], writer.shape(spec), **options
    )


def _linear(writer: "TfliteWriter", name: str, spec: LayerSpec, inputs: list[int], fused: str | None) -> int:
    if spec.size != 1:
        raise ValueError(
            f"layer {name}: a linear layer reads a pooled feature map, this one is {spec.size} pixels wide"
        )
    arrays = writer.weighted(name, spec, (spec.out_channels, spec.in_channels), (0, 1))
    return writer.node("FULLY_CONNECTED", name, [*inputs, *arrays], writer.shape(spec), fused=fused)


def _global_pool(writer: "TfliteWriter", name: str, spec: LayerSpec, inputs: list[int], fused: str | None) -> int:
    axes = writer.constant(f"{name}/axes", np.array([1, 2], dtype=np.int32))
    return writer.node("MEAN", name, [*inputs, axes], writer.shape(spec), keepDims=True)


def _window_pool(operator: str) -> Operator:
    def write(writer: "TfliteWriter", name: str, spec: LayerSpec, inputs: list[int], fused: str | None) -> int:
        if spec.dilation > 1:
            raise ValueError(f"layer {name}: TFLite has no pooling with dilation")
        source, padding = writer.padded(name, spec, inputs[0])
        height, width = spec.window
        sides = {"strideW": spec.stride, "strideH": spec.stride, "filterWidth": width, "filterHeight": height}
        return writer.node(operator, name, [source], writer.shape(spec), padding=padding, fused=fused, **sides)

    return write


def _concat(writer: "TfliteWriter", name: str, spec: LayerSpec, inputs: list[int], fused: str | None) -> int:
    return writer.node("CONCATENATION", name, inputs, writer.shape(spec), axis=3)


def _slice(writer: "TfliteWriter", name: str, spec: LayerSpec, inputs: list[int], fused: str | None) -> int:
    shape = writer.shape(spec)
    bounds = (("begin", (0, 0, 0, spec.start)), ("size", shape))
    names = [writer.constant(f"{name}/{key}", np.array(value, dtype=np.int32)) for key, value in bounds]
    return writer.node("SLICE", name, [*inputs, *names], shape)


def _flatten(writer: "TfliteWriter", name: str, spec: LayerSpec, inputs: list[int], fused: str | None) -> int:
    shape = writer.shape(spec)
    size = writer.constant(f"{name}/size", np.array(shape, dtype=np.int32))
    return writer.node("RESHAPE", name, [*inputs, size], shape, newShape=list(shape))


def _upsample(writer: "TfliteWriter", name: str, spec: LayerSpec, inputs: list[int], fused: str | None) -> int:
    side = writer.constant(f"{name}/side", np.full(2, spec.target, dtype=np.int32))
    return writer.node("RESIZE_NEAREST_NEIGHBOR", name, [*inputs, side], writer.shape(spec))


def _scale(writer: "TfliteWriter", name: str, spec: LayerSpec, inputs: list[int], fused: str | None) -> int:
    weight, bias = writer.source.per_channel(name, spec)
    return writer.scaled(name, spec, inputs[0], weight, bias if spec.bias else None)


def _layer_norm(writer: "TfliteWriter", name: str, spec: LayerSpec, inputs: list[int], fused: str | None) -> int:
    shape = writer.shape(spec)
    per_pixel = (*shape[:3], 1)
    axis = writer.constant(f"{name}/axis", np.array([3], dtype=np.int32))
    epsilon = writer.constant(f"{name}/epsilon", np.full(1, spec.epsilon, dtype=np.float32))
    mean = writer.node("MEAN", f"{name}/mean", [*inputs, axis], per_pixel, keepDims=True)
    centred = writer.node("SUB", f"{name}/centred", [*inputs, mean], shape)
    squared = writer.node("MUL", f"{name}/squared", [centred, centred], shape)
    variance = writer.node("MEAN", f"{name}/variance", [squared, axis], per_pixel, keepDims=True)
    raised = writer.node("ADD", f"{name}/raised", [variance, epsilon], per_pixel)
    factor = writer.node("RSQRT", f"{name}/factor", [raised], per_pixel)
    normed = writer.node("MUL", f"{name}/normed", [centred, factor], shape)
    return writer.scaled(name, spec, normed, *writer.source.per_channel(name, spec))


def _attention(writer: "TfliteWriter", name: str, spec: LayerSpec, inputs: list[int], fused: str | None) -> int:
    """Channels are last, so the queries of all pixels and heads are rows of one matrix as they lie in memory."""
    rows, keys = spec.groups * spec.size**2, downsampled(spec.size, [spec.stride]) ** 2
    of_query, of_value = spec.in_channels // spec.groups, spec.out_channels // spec.groups

    def reshaped(part: str, tensor: int, *shape: int) -> int:
        size = (writer.batch, *shape)
        constant = writer.constant(f"{part}/size", np.array(size, dtype=np.int32))
        return writer.node("RESHAPE", part, [tensor, constant], size, newShape=list(size))

    query, key, value = inputs
    query = reshaped(f"{name}/rows", query, rows, of_query)
    factor = writer.constant(f"{name}/factor", np.full(1, of_query**-0.5, dtype=np.float32))
    shape = (writer.batch, keys, of_query)
    key = writer.node("MUL", f"{name}/scaled", [reshaped(f"{name}/keys", key, keys, of_query), factor], shape)
    value = reshaped(f"{name}/values", value, keys, of_value)
    shape = (writer.batch, rows, keys)
    scores = writer.node("BATCH_MATMUL", f"{name}/scores", [query, key], shape, adjY=True)
    shares = writer.node("SOFTMAX", f"{name}/shares", [scores], shape, beta=1.0)
    mixed = writer.node("BATCH_MATMUL", f"{name}/mixed", [shares, value], (writer.batch, rows, of_value))
    return reshaped(name, mixed, spec.size, spec.size, spec.out_channels)


def _elementwise(operator: str) -> Operator:
    return lambda writer, name, spec, inputs, fused: writer.node(
        operator, name, inputs, writer.shape(spec), fused=fused
    )


def _shuffle(writer: "TfliteWriter", name: str, spec: LayerSpec, inputs: list[int], fused: str | None) -> int:
    rest = spec.in_channels // spec.groups
    pixels = writer.batch * spec.size**2
    apart, swapped, whole = (pixels, spec.groups, rest), (pixels, rest, spec.groups), writer.shape(spec)
    sizes = [
        writer.constant(f"{name}/{s}", np.array(v, dtype=np.int32)) for s, v in (("apart", apart), ("whole", whole))
    ]
    order = writer.constant(f"{name}/order", np.array([0, 2, 1], dtype=np.int32))
    tensor = writer.node("RESHAPE", f"{name}/grouped", [*inputs, sizes[0]], apart, newShape=list(apart))
    tensor = writer.node("TRANSPOSE", f"{name}/swapped", [tensor, order], swapped)
    return writer.node("RESHAPE", name, [tensor, sizes[1]], whole, newShape=list(whole))


def _zero(writer: "TfliteWriter", name: str, spec: LayerSpec, inputs: list[int], fused: str | None) -> int:
    nothing = writer.constant(f"{name}/nothing", np.zeros(1, dtype=np.float32))
    return writer.node("MUL", name, [*inputs, nothing], writer.shape(spec))


OPERATORS: dict[str, Operator] = {
    "conv": _conv,
    "linear": _linear,
    "global_pool": _global_pool,
    "avg_pool": _window_pool("AVERAGE_POOL_2D"),
    "max_pool": _window_pool("MAX_POOL_2D"),
    "concat": _concat,
    "slice": _slice,
    "upsample": _upsample,
    "pad": lambda writer, name, spec, inputs, fused: writer.pad("PAD", name, inputs[0], spec.pads),
    "layer_norm": _layer_norm,
    "scale": _scale,
    "attention": _attention,
    "flatten": _flatten,
    "add": _elementwise("ADD"),
    "mul": _elementwise("MUL"),
    "shuffle": _shuffle,
    "identity": lambda writer, name, spec, inputs, fused: inputs[0],
    "zero": _zero,
}
FUSED = {"relu": "RELU", "relu6": "RELU6"}
FUSING = ("conv", "linear", "avg_pool", "max_pool", "add", "mul")


def _hard_sigmoid(writer: "TfliteWriter", name: str, tensor: int, shape: tuple[int, ...]) -> int:
    three, sixth = (np.full(1, value, dtype=np.float32) for value in (3, 1 / 6))
    raised = writer.node(
        "ADD", f"{name}/raised", [tensor, writer.constant(f"{name}/three", three)], shape, fused="RELU6"
    )
    return writer.node("MUL", name, [raised, writer.constant(f"{name}/sixth", sixth)], shape)


def _silu(writer: "TfliteWriter", name: str, tensor: int, shape: tuple[int, ...]) -> int:
    return writer.node("MUL", name, [tensor, writer.node("LOGISTIC", f"{name}/sigmoid", [tensor], shape)], shape)


ACTIVATIONS: dict[str, Callable[["TfliteWriter", str, int, tuple[int, ...]], int]] = {
    "relu": lambda writer, name, tensor, shape: writer.node("RELU", name, [tensor], shape),
    "relu6": lambda writer, name, tensor, shape: writer.node("RELU6", name, [tensor], shape),
    "hard_swish": lambda writer, name, tensor, shape: writer.node("HARD_SWISH", name, [tensor], shape),
    "hard_sigmoid": _hard_sigmoid,
    "sigmoid": lambda writer, name, tensor, shape: writer.node("LOGISTIC", name, [tensor], shape),
    "silu": _silu,
    "gelu": lambda writer, name, tensor, shape: writer.node("GELU", name, [tensor], shape, approximate=False),
}
