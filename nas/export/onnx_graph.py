"""An ONNX model straight from layer specs, batch-norm folded, in milliseconds and without PyTorch.

The same builder serves measuring (random weights: latency does not depend on their values) and exporting
(a trained subnet's weights). A new layer kind needs one function in `_OPERATORS`, a new activation one line
in `_ACTIVATIONS`. Format: https://github.com/onnx/onnx/blob/main/docs/IR.md.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from nas.export.layer_graph import ArraySource, Layers, Weights, array_source, check_bytes, ends, walk
from search_spaces import LayerSpec
from search_spaces.layers import WEIGHTED, downsampled

OPSET = 17
"""HardSwish is an operator from 14 on; 17 runs on every onnxruntime since 1.12 (2022) and on its peers."""
IR_VERSION = 8
"""The file format that came with opset 17; newer ones are refused by older runtimes."""
INPUT, OUTPUT = "images", "logits"


def onnx_graph(
    layers: Layers,
    *,
    weights: Weights | None = None,
    batch: int | None = 1,
    seed: int = 0,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """Build the network as a checked ONNX model with inferred shapes.

    Parameters
    ----------
    layers : the layer specs by slot name in network order, as `network_layers` gives them.
    weights : arrays by state-dict name; random ones where None.
    batch : images an inference takes; None leaves it open (a dimension called ``batch``).
    seed : of the random weights.
    metadata : stored in the model's ``metadata_props``.

    Returns
    -------
    ModelProto with input ``images`` (batch, 3, R, R) float32, normalised, and output ``logits`` (batch, classes).

    Raises
    ------
    ValueError : no layers, a weight is missing or has another shape, a batch below 1, more weights than a file can
        hold.
    """
    if batch is not None and batch < 1:
        raise ValueError(f"batch must be at least 1, or None for a dynamic one, got {batch}")
    check_bytes(layers)
    writer = GraphWriter(array_source(weights, layers, seed))
    tensor = walk(layers, INPUT, writer.layer)
    first, last = ends(layers)
    writer.node("Identity", OUTPUT, [tensor])
    rows: int | str = "batch" if batch is None else batch
    graph = helper.make_graph(
        writer.nodes,
        "subnet",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [rows, first.in_channels, first.size, first.size])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [rows, last.out_channels])],
        writer.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model.producer_name = "shrinkwrap-nas"
    helper.set_model_props(model, dict(metadata or {}))
    model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    onnx.checker.check_model(model)
    return model


class GraphWriter:
    """Nodes and initializers of a graph under construction."""

    def __init__(self, source: ArraySource) -> None:
        self.source = source
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def layer(self, name: str, spec: LayerSpec, inputs: list[str]) -> str:
        """Write one layer and return the tensor that holds its output."""
        if spec.kind not in _OPERATORS:
            raise ValueError(f"layer {name}: ONNX export knows no kind {spec.kind!r}; known: {', '.join(_OPERATORS)}")
        tensor = _OPERATORS[spec.kind](self, name, spec, inputs)
        if spec.norm and spec.kind not in WEIGHTED:
            tensor = self.norm(f"{name}/norm", tensor, *self.source.norm(name, spec))
        return _ACTIVATIONS[spec.activation](self, f"{name}/{spec.activation}", tensor)

    def node(self, operator: str, name: str, inputs: list[str], **attributes: Any) -> str:
        """Write one node; its only output bears its name."""
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def constant(self, name: str, array: NDArray[Any] | np.float32) -> str:
        """Write one initializer."""
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def norm(self, name: str, tensor: str, scale: NDArray[Any], shift: NDArray[Any]) -> str:
        """Write a batch-norm that no weights are there to take."""
        arrays = {"scale": scale, "shift": shift, "mean": np.zeros(len(scale)), "variance": np.ones(len(scale))}
        names = [self.constant(f"{name}/{part}", array.astype(np.float32)) for part, array in arrays.items()]
        return self.node("BatchNormalization", name, [tensor, *names], epsilon=0.0)

    def column(self, name: str, part: str, array: NDArray[Any]) -> str:
        """Write one number for each channel."""
        return self.constant(f"{name}/{part}", array.astype(np.float32).reshape(1, -1, 1, 1))

    def weighted(self, name: str, spec: LayerSpec, shape: tuple[int, ...]) -> list[str]:
        """Write the weight and, where there is one, the bias of a layer; return their names."""
        weight, bias = self.source.arrays(name, spec, shape)
        names = [self.constant(f"{name}/weight", weight)]
        return names if bias is None else [*names, self.constant(f"{name}/bias", bias)]


Operator = Callable[[GraphWriter, str, LayerSpec, list[str]], str]


def _pads(spec: LayerSpec) -> list[int]:
    """Top, left, bottom, right."""
    top, bottom, left, right = spec.pads
    return [top, left, bottom, right]


def _conv(writer: GraphWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
    shape = (spec.out_channels, spec.in_channels // spec.groups, *spec.window)
    return writer.node(
        "Conv",
        name,
        inputs + writer.weighted(name, spec, shape),
        kernel_shape=list(spec.window),
        strides=[spec.stride] * 2,
        pads=_pads(spec),
        dilations=[spec.dilation] * 2,
        group=spec.groups,
    )


def _linear(writer: GraphWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
    flat = writer.node("Flatten", f"{name}/flat", inputs, axis=1)
    return writer.node(
        "Gemm", name, [flat, *writer.weighted(name, spec, (spec.out_channels, spec.in_channels))], transB=1
    )


def _plain(operator: str) -> Operator:
    """A kind that is one node without weights."""
    return lambda writer, name, spec, inputs: writer.node(operator, name, inputs)


def _avg_pool(writer: GraphWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
    return writer.node(
        "AveragePool",
        name,
        inputs,
        kernel_shape=list(spec.window),
        strides=[spec.stride] * 2,
        pads=_pads(spec),
        count_include_pad=0,
    )


def _max_pool(writer: GraphWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
    return writer.node(
        "MaxPool",
        name,
        inputs,
        kernel_shape=list(spec.window),
        strides=[spec.stride] * 2,
        pads=_pads(spec),
        dilations=[spec.dilation] * 2,
    )


def _slice(writer: GraphWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
    bounds = {"start": spec.start, "end": spec.start + spec.out_channels, "axis": 1}
    names = [writer.constant(f"{name}/{key}", np.array([value])) for key, value in bounds.items()]
    return writer.node("Slice", name, [*inputs, *names])


def _upsample(writer: GraphWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
    # The size is given, not the factor: rounded to float32 that may be a pixel short.
    first = [writer.constant(f"{name}/{key}", np.array([value])) for key, value in (("from", 0), ("to", 2))]
    kept = writer.node("Slice", f"{name}/kept", [writer.node("Shape", f"{name}/shape", inputs), *first])
    sides = writer.constant(f"{name}/sides", np.full(2, spec.target))
    return writer.node(
        "Resize",
        name,
        [*inputs, "", "", writer.node("Concat", f"{name}/sizes", [kept, sides], axis=0)],
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _pad(writer: GraphWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
    top, left, bottom, right = _pads(spec)
    amounts = np.array([0, 0, top, left, 0, 0, bottom, right])
    return writer.node("Pad", name, [*inputs, writer.constant(f"{name}/amounts", amounts)])


def _scale(writer: GraphWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
    weight, bias = writer.source.per_channel(name, spec)
    tensor = writer.node(
        "Mul", f"{name}/scaled" if spec.bias else name, [*inputs, writer.column(name, "weight", weight)]
    )
    return writer.node("Add", name, [tensor, writer.column(name, "bias", bias)]) if spec.bias else tensor


def _layer_norm(writer: GraphWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
    weight, bias = writer.source.per_channel(name, spec)
    names = [writer.constant(f"{name}/{key}", v.astype(np.float32)) for key, v in (("weight", weight), ("bias", bias))]
    last = writer.node("Transpose", f"{name}/last", inputs, perm=[0, 2, 3, 1])
    normed = writer.node("LayerNormalization", f"{name}/normed", [last, *names], axis=-1, epsilon=spec.epsilon)
    return writer.node("Transpose", name, [normed], perm=[0, 3, 1, 2])


def _shuffle(writer: GraphWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
    rest = spec.in_channels // spec.groups
    # A 0 keeps that dimension, whatever the batch.
    apart = writer.constant(f"{name}/apart", np.array([0, spec.groups, rest, spec.size**2]))
    whole = writer.constant(f"{name}/whole", np.array([0, spec.in_channels, spec.size, spec.size]))
    tensor = writer.node("Reshape", f"{name}/grouped", [*inputs, apart])
    tensor = writer.node("Transpose", f"{name}/swapped", [tensor], perm=[0, 2, 1, 3])
    return writer.node("Reshape", name, [tensor, whole])


def _attention(writer: GraphWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
    """The queries of all heads are rows of one matrix, for they have the same keys and values."""
    heads, pixels, side = spec.groups, spec.size**2, downsampled(spec.size, [spec.stride])
    of_query, of_value = spec.in_channels // heads, spec.out_channels // heads

    def reshaped(part: str, tensor: str, *shape: int) -> str:
        # A 0 keeps that dimension, whatever the batch.
        return writer.node("Reshape", part, [tensor, writer.constant(f"{part}/shape", np.array([0, *shape]))])

    query, key, value = inputs
    query = reshaped(f"{name}/heads", query, heads, of_query, pixels)
    query = writer.node("Transpose", f"{name}/turned", [query], perm=[0, 1, 3, 2])
    query = reshaped(f"{name}/rows", query, heads * pixels, of_query)
    factor = writer.constant(f"{name}/factor", np.float32(of_query**-0.5))
    key = writer.node("Mul", f"{name}/scaled", [reshaped(f"{name}/keys", key, of_query, side**2), factor])
    value = reshaped(f"{name}/columns", value, of_value, side**2)
    value = writer.node("Transpose", f"{name}/values", [value], perm=[0, 2, 1])
    scores = writer.node("MatMul", f"{name}/scores", [query, key])
    shares = writer.node("Softmax", f"{name}/shares", [scores], axis=-1)
    mixed = reshaped(f"{name}/apart", writer.node("MatMul", f"{name}/mixed", [shares, value]), heads, pixels, of_value)
    mixed = writer.node("Transpose", f"{name}/back", [mixed], perm=[0, 1, 3, 2])
    return reshaped(name, mixed, spec.out_channels, spec.size, spec.size)


def _zero(writer: GraphWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
    return writer.node("Mul", name, [*inputs, writer.constant(f"{name}/nothing", np.float32(0))])


def _silu(writer: GraphWriter, name: str, tensor: str) -> str:
    return writer.node("Mul", name, [tensor, writer.node("Sigmoid", f"{name}/sigmoid", [tensor])])


def _gelu(writer: GraphWriter, name: str, tensor: str) -> str:
    """x (1 + erf(x / sqrt 2)) / 2, for opset 17 has no operator of its own."""
    root, one, half = (
        writer.constant(f"{name}/{key}", np.float32(value))
        for key, value in (("root", np.sqrt(0.5)), ("one", 1), ("half", 0.5))
    )
    erf = writer.node("Erf", f"{name}/erf", [writer.node("Mul", f"{name}/scaled", [tensor, root])])
    raised = writer.node("Mul", f"{name}/raised", [tensor, writer.node("Add", f"{name}/shifted", [erf, one])])
    return writer.node("Mul", name, [raised, half])


def _relu6(writer: GraphWriter, name: str, tensor: str) -> str:
    bounds = [writer.constant(f"{name}/{bound}", np.float32(bound)) for bound in (0, 6)]
    return writer.node("Clip", name, [tensor, *bounds])


_OPERATORS: dict[str, Operator] = {
    "conv": _conv,
    "linear": _linear,
    "global_pool": _plain("GlobalAveragePool"),
    "add": _plain("Add"),
    "mul": _plain("Mul"),
    "concat": lambda writer, name, spec, inputs: writer.node("Concat", name, inputs, axis=1),
    "slice": _slice,
    "avg_pool": _avg_pool,
    "max_pool": _max_pool,
    "shuffle": _shuffle,
    "upsample": _upsample,
    "pad": _pad,
    "layer_norm": _layer_norm,
    "scale": _scale,
    "attention": _attention,
    "identity": lambda writer, name, spec, inputs: inputs[0],
    "flatten": lambda writer, name, spec, inputs: writer.node("Flatten", name, inputs, axis=1),
    "zero": _zero,
}


_ACTIVATIONS: dict[str, Callable[[GraphWriter, str, str], str]] = {
    "none": lambda writer, name, tensor: tensor,
    "relu": lambda writer, name, tensor: writer.node("Relu", name, [tensor]),
    "relu6": _relu6,
    "hard_swish": lambda writer, name, tensor: writer.node("HardSwish", name, [tensor]),
    "hard_sigmoid": lambda writer, name, tensor: writer.node("HardSigmoid", name, [tensor], alpha=1 / 6, beta=0.5),
    "sigmoid": lambda writer, name, tensor: writer.node("Sigmoid", name, [tensor]),
    "silu": _silu,
    "gelu": _gelu,
}
