"""An ONNX model straight from layer specs, batch-norm folded, in milliseconds and without PyTorch.

The same builder serves measuring (random weights: latency does not depend on their values) and exporting
(a trained subnet's weights). A new layer kind needs one function in `_OPERATORS`, a new activation one line
in `_ACTIVATIONS`. Format: https://github.com/onnx/onnx/blob/main/docs/IR.md.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from search_spaces import LayerSpec, SearchSpace

OPSET = 17
"""HardSwish is an operator from 14 on; 17 runs on every onnxruntime since 1.12 (2022) and on its peers."""
IR_VERSION = 8
"""The file format that came with opset 17; newer ones are refused by older runtimes."""
NORM_EPSILON = 1e-5
"""Of every batch-norm, PyTorch's default."""
INPUT, OUTPUT = "images", "logits"

Weights = Mapping[str, NDArray[Any]]
"""Arrays by the names in `Subnet.state_dict()`, e.g. ``slots.stem.conv.conv.weight``."""


def network_layers(space: SearchSpace, genotype: NDArray[Any]) -> dict[str, tuple[LayerSpec, ...]]:
    """The layers of one network by slot name, in network order."""
    return {slot.name: layers for slot, layers in zip(space.slots, space.layers(genotype), strict=True)}


def onnx_graph(
    layers: Mapping[str, Sequence[LayerSpec]],
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
    weights : arrays by state-dict name; random ones (He's scale, so that activations neither explode nor
        become denormal) where None.
    batch : images an inference takes; None leaves it open (a dimension called ``batch``).
    seed : of the random weights.
    metadata : stored in the model's ``metadata_props``.

    Returns
    -------
    ModelProto with input ``images`` (batch, 3, R, R) float32, normalised, and output ``logits`` (batch, classes).

    Raises
    ------
    ValueError : no layers, a weight is missing or has another shape, a batch below 1.
    """
    specs = [spec for slot in layers.values() for spec in slot]
    if not specs:
        raise ValueError("the network has no layers")
    if batch is not None and batch < 1:
        raise ValueError(f"batch must be at least 1, or None for a dynamic one, got {batch}")
    source: ArraySource = _RandomArrays(seed) if weights is None else _GivenArrays(weights)
    writer = GraphWriter(source)
    tensor = INPUT
    for slot, slot_specs in layers.items():
        written = {"": tensor}
        for spec in slot_specs:
            tensor = written[spec.name] = writer.layer(f"{slot}/{spec.name}", spec, [written[i] for i in spec.inputs])
    writer.node("Identity", OUTPUT, [tensor])
    rows: int | str = "batch" if batch is None else batch
    side = specs[0].size
    graph = helper.make_graph(
        writer.nodes,
        "subnet",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [rows, specs[0].in_channels, side, side])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [rows, specs[-1].out_channels])],
        writer.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model.producer_name = "shrinkwrap-nas"
    helper.set_model_props(model, dict(metadata or {}))
    model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    onnx.checker.check_model(model)
    return model


def state_name(name: str) -> str:
    """What a state dict calls layer ``slot/layer``."""
    return "slots." + name.replace("/", ".")


class ArraySource:
    """Where a layer's folded weight and bias come from."""

    def norm(self, name: str, spec: LayerSpec) -> tuple[NDArray[Any], NDArray[Any]]:
        """Scale and shift, each ``(out_channels,)``, that a batch-norm amounts to."""
        raise NotImplementedError

    def arrays(
        self, name: str, spec: LayerSpec, shape: tuple[int, ...]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Weight of `shape` and bias ``(out_channels,)`` (None where the layer has none) of layer ``slot/layer``."""
        raise NotImplementedError


class _RandomArrays(ArraySource):
    def __init__(self, seed: int) -> None:
        # Repeating a few thousand numbers costs a tenth of drawing millions; the prime length keeps rows different.
        self.noise = np.random.default_rng(seed).standard_normal(65521, dtype=np.float32)

    def norm(self, name: str, spec: LayerSpec) -> tuple[NDArray[Any], NDArray[Any]]:
        return np.ones(spec.out_channels), np.zeros(spec.out_channels)

    def arrays(
        self, name: str, spec: LayerSpec, shape: tuple[int, ...]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        weight = np.resize(self.noise, shape) * np.float32(np.sqrt(2 / np.prod(shape[1:])))
        bias = np.resize(self.noise, shape[0]) * np.float32(0.1)
        return weight, bias if spec.norm or spec.bias else None


class _GivenArrays(ArraySource):
    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    def _array(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        if name not in self.weights:
            raise ValueError(f"the weights have no {name}; they belong to another network")
        array = np.asarray(self.weights[name], dtype=np.float64)
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, this network needs {shape}")
        return array

    def norm(self, name: str, spec: LayerSpec) -> tuple[NDArray[Any], NDArray[Any]]:
        gamma, beta, mean, variance = (
            self._array(f"{state_name(name)}.norm.{part}", (spec.out_channels,))
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + NORM_EPSILON)
        return scale, beta - mean * scale

    def arrays(
        self, name: str, spec: LayerSpec, shape: tuple[int, ...]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        prefix = state_name(name)
        weight = self._array(f"{prefix}.{spec.kind}.weight", shape)
        bias = self._array(f"{prefix}.{spec.kind}.bias", shape[:1]) if spec.bias else np.zeros(shape[0])
        if spec.norm:
            scale, shift = self.norm(name, spec)
            weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
            bias = bias * scale + shift
        return weight.astype(np.float32), bias.astype(np.float32) if spec.norm or spec.bias else None


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
        if spec.norm and spec.kind not in _WEIGHTED:
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

    def weighted(self, name: str, spec: LayerSpec, shape: tuple[int, ...]) -> list[str]:
        """Write the weight and, where there is one, the bias of a layer; return their names."""
        weight, bias = self.source.arrays(name, spec, shape)
        names = [self.constant(f"{name}/weight", weight)]
        return names if bias is None else [*names, self.constant(f"{name}/bias", bias)]


Operator = Callable[[GraphWriter, str, LayerSpec, list[str]], str]


def _conv(writer: GraphWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
    shape = (spec.out_channels, spec.in_channels // spec.groups, spec.kernel, spec.kernel)
    return writer.node(
        "Conv",
        name,
        inputs + writer.weighted(name, spec, shape),
        kernel_shape=[spec.kernel] * 2,
        strides=[spec.stride] * 2,
        pads=[(spec.kernel - 1) // 2] * 4,
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
        kernel_shape=[spec.kernel] * 2,
        strides=[spec.stride] * 2,
        pads=[(spec.kernel - 1) // 2] * 4,
        count_include_pad=0,
    )


def _shuffle(writer: GraphWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
    rest = spec.in_channels // spec.groups
    # A 0 keeps that dimension, whatever the batch.
    apart = writer.constant(f"{name}/apart", np.array([0, spec.groups, rest, spec.size**2]))
    whole = writer.constant(f"{name}/whole", np.array([0, spec.in_channels, spec.size, spec.size]))
    tensor = writer.node("Reshape", f"{name}/grouped", [*inputs, apart])
    tensor = writer.node("Transpose", f"{name}/swapped", [tensor], perm=[0, 2, 1, 3])
    return writer.node("Reshape", name, [tensor, whole])


def _zero(writer: GraphWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
    return writer.node("Mul", name, [*inputs, writer.constant(f"{name}/nothing", np.float32(0))])


def _relu6(writer: GraphWriter, name: str, tensor: str) -> str:
    bounds = [writer.constant(f"{name}/{bound}", np.float32(bound)) for bound in (0, 6)]
    return writer.node("Clip", name, [tensor, *bounds])


_OPERATORS: dict[str, Operator] = {
    "conv": _conv,
    "linear": _linear,
    "global_pool": _plain("GlobalAveragePool"),
    "add": _plain("Add"),
    "mul": _plain("Mul"),
    "avg_pool": _avg_pool,
    "shuffle": _shuffle,
    "identity": lambda writer, name, spec, inputs: inputs[0],
    "zero": _zero,
}
_WEIGHTED = ("conv", "linear")
"""Kinds that take a batch-norm behind them into their own weights."""


_ACTIVATIONS: dict[str, Callable[[GraphWriter, str, str], str]] = {
    "none": lambda writer, name, tensor: tensor,
    "relu": lambda writer, name, tensor: writer.node("Relu", name, [tensor]),
    "relu6": _relu6,
    "hard_swish": lambda writer, name, tensor: writer.node("HardSwish", name, [tensor]),
    "hard_sigmoid": lambda writer, name, tensor: writer.node("HardSigmoid", name, [tensor], alpha=1 / 6, beta=0.5),
}
