"""A TFLite model straight from layer specs, batch-norm folded, in milliseconds: no TensorFlow, no converter.

TFLite's layout is channels-last: the input is (batch, R, R, 3). PyTorch pads a strided convolution alike on all
sides where TFLite's SAME pads after; such layers get a PAD of their own, so that outputs agree. Needs the extra
``tflite`` (its schema). Format: https://ai.google.dev/edge/litert, schema version 3.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import MissingExtra
from nas.export.layer_graph import ArraySource, Layers, RandomArrays, Weights, array_source, check_bytes, ends, walk
from nas.export.tflite_operators import ACTIVATIONS, FUSED, FUSING, OPERATORS
from search_spaces import LayerSpec
from search_spaces.layers import WEIGHTED

INPUT, OUTPUT = "images", "logits"
SIGNATURE = "serving_default"
SCHEMA_VERSION = 3
ALIGNMENT = 16
"""Of weights in the file, in bytes; what runtimes ask for that use them where they lie."""


def tflite_graph(
    layers: Layers,
    *,
    weights: Weights | None = None,
    batch: int = 1,
    seed: int = 0,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Build the network as a TFLite file.

    Parameters
    ----------
    layers : the layer specs by slot name, as `nas.export.layer_graph.network_layers` gives them.
    weights : arrays by state-dict name; random ones where None.
    batch : images an inference takes.
    seed : of the random weights.
    metadata : stored in the model's metadata.

    Returns
    -------
    The file's content; input ``images`` (batch, R, R, 3) float32, normalised, output ``logits`` (batch, classes).

    Raises
    ------
    MissingExtra : the schema is not installed.
    ValueError : no layers, weights of another network, a layer that TFLite cannot express, a batch below 1, more
        weights than a file can hold.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    schema, flatbuffers = _schema()
    writer = TfliteWriter(schema, array_source(weights, layers, seed), batch)
    first, last = ends(layers)
    check_bytes(layers)
    source = writer.tensor(INPUT, (batch, first.size, first.size, first.in_channels))
    result = walk(layers, source, writer.layer)
    writer.tensors[result].name = OUTPUT
    subgraph = schema.SubGraphT()
    subgraph.name = "subnet"
    subgraph.tensors, subgraph.operators = writer.tensors, writer.operators
    subgraph.inputs, subgraph.outputs = [source], [result]
    model = schema.ModelT()
    model.version = SCHEMA_VERSION
    model.description = "shrinkwrap-nas"
    model.operatorCodes = [_operator_code(schema, code) for code in writer.codes]
    model.subgraphs = [subgraph]
    model.signatureDefs = [_signature(schema, {INPUT: source}, {OUTPUT: result})]
    model.metadata = [writer.metadata(key, text) for key, text in (metadata or {}).items()]
    model.buffers = writer.buffers
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def check_tflite(layers: Layers) -> None:
    """See that TFLite can express the layers, without weights: a millisecond a network.

    Raises
    ------
    MissingExtra, ValueError : see `tflite_graph`.
    """
    writer = _Weightless(_schema()[0], RandomArrays(0), 1)
    first, _ = ends(layers)
    walk(layers, writer.tensor(INPUT, (1, first.size, first.size, first.in_channels)), writer.layer)


def _schema() -> tuple[Any, Any]:
    try:
        return import_module("ai_edge_litert.schema_py_generated"), import_module("flatbuffers")
    except ImportError:
        raise MissingExtra("ai-edge-litert", "tflite") from None


def _aligned_buffer(schema: Any, data: bytes) -> Any:
    """A buffer whose content is aligned in the file; the schema asks for it, its generated code does not do it."""

    class AlignedBuffer(schema.BufferT):  # type: ignore[misc]
        def Pack(self, builder: Any) -> Any:  # noqa: N802
            builder.StartVector(1, len(data), ALIGNMENT)
            builder.head -= len(data)
            builder.Bytes[builder.head : builder.head + len(data)] = data
            vector = builder.EndVector()
            schema.BufferStart(builder)
            schema.BufferAddData(builder, vector)
            return schema.BufferEnd(builder)

    return AlignedBuffer()


def _operator_code(schema: Any, code: int) -> Any:
    operator = schema.OperatorCodeT()
    operator.builtinCode = code
    # The old field has one byte; 127 sends the reader to the new one.
    operator.deprecatedBuiltinCode = min(code, 127)
    return operator


def _signature(schema: Any, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Any:
    """The names under which a program reaches the model's ends."""

    def entry(name: str, tensor: int) -> Any:
        made = schema.TensorMapT()
        made.name, made.tensorIndex = name, tensor
        return made

    signature = schema.SignatureDefT()
    signature.signatureKey = SIGNATURE
    signature.subgraphIndex = 0
    signature.inputs = [entry(*pair) for pair in inputs.items()]
    signature.outputs = [entry(*pair) for pair in outputs.items()]
    return signature


class TfliteWriter:
    """Tensors, operators and buffers of a model under construction."""

    def __init__(self, schema: Any, source: ArraySource, batch: int) -> None:
        self.schema = schema
        self.source = source
        self.batch = batch
        self.tensors: list[Any] = []
        self.operators: list[Any] = []
        self.codes: list[int] = []
        self.buffers: list[Any] = [schema.BufferT()]  # number 0 stands for no content

    def tensor(self, name: str, shape: tuple[int, ...], buffer: int = 0, kind: str = "FLOAT32") -> int:
        """Add a tensor; its number."""
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), buffer
        tensor.type = getattr(self.schema.TensorType, kind)
        tensor.hasRank = True
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(self, name: str, array: NDArray[Any]) -> int:
        """Add a float32 or int32 constant; its number."""
        self.buffers.append(_aligned_buffer(self.schema, np.ascontiguousarray(array).tobytes()))
        kind = "INT32" if array.dtype == np.int32 else "FLOAT32"
        return self.tensor(name, array.shape, len(self.buffers) - 1, kind)

    def metadata(self, key: str, text: str) -> Any:
        """Add a text to the file."""
        self.buffers.append(_aligned_buffer(self.schema, text.encode()))
        entry = self.schema.MetadataT()
        entry.name, entry.buffer = key, len(self.buffers) - 1
        return entry

    def node(self, operator: str, name: str, inputs: list[int], shape: tuple[int, ...], **options: Any) -> int:
        """Add an operator, e.g. ``CONV_2D``; the number of its only output.

        `options` are the fields of its options table; the activation fused into it is ``fused``.
        """
        code = getattr(self.schema.BuiltinOperator, operator)
        if code not in self.codes:
            self.codes.append(code)
        entry = self.schema.OperatorT()
        entry.opcodeIndex = self.codes.index(code)
        entry.inputs, entry.outputs = inputs, [self.tensor(name, shape)]
        if operator in _OPTIONS:
            table = getattr(self.schema, f"{_OPTIONS[operator]}T")()
            if fused := options.pop("fused", None):
                table.fusedActivationFunction = getattr(self.schema.ActivationFunctionType, fused)
            for key, value in options.items():
                setattr(table, key, value)
            entry.builtinOptions = table
            entry.builtinOptionsType = getattr(self.schema.BuiltinOptions, _OPTIONS[operator])
        self.operators.append(entry)
        return int(entry.outputs[0])

    def shape(self, spec: LayerSpec) -> tuple[int, ...]:
        """Of a layer's output."""
        if spec.kind in ("linear", "flatten"):
            return self.batch, spec.out_channels
        return self.batch, spec.out_size, spec.out_size, spec.out_channels

    def layer(self, name: str, spec: LayerSpec, inputs: list[int]) -> int:
        """Write one layer; the tensor that holds its output."""
        if spec.kind not in OPERATORS:
            raise ValueError(f"layer {name}: TFLite export knows no kind {spec.kind!r}; known: {', '.join(OPERATORS)}")
        stands_alone = spec.norm and spec.kind not in WEIGHTED
        fused = FUSED.get(spec.activation) if spec.kind in FUSING and not stands_alone else None
        tensor = OPERATORS[spec.kind](self, name, spec, inputs, fused)
        if stands_alone:
            tensor = self.scaled(f"{name}/norm", spec, tensor, *self.source.norm(name, spec))
        if fused or spec.activation == "none":
            return tensor
        return ACTIVATIONS[spec.activation](self, f"{name}/{spec.activation}", tensor, self.shape(spec))

    def scaled(self, name: str, spec: LayerSpec, tensor: int, scale: NDArray[Any], shift: NDArray[Any] | None) -> int:
        """Multiply each channel by a number and, where given, add another."""
        shape = self.shape(spec)
        factor = self.constant(f"{name}/scale", scale.astype(np.float32))
        if shift is None:
            return self.node("MUL", name, [tensor, factor], shape)
        tensor = self.node("MUL", f"{name}/scaled", [tensor, factor], shape)
        return self.node("ADD", name, [tensor, self.constant(f"{name}/shift", shift.astype(np.float32))], shape)

    def padded(self, name: str, spec: LayerSpec, tensor: int) -> tuple[int, int]:
        """The layer's input padded as PyTorch does, and the padding scheme that is left for the operator."""
        top, bottom, left, right = spec.pads
        same = True
        for (before, after), side in zip(((top, bottom), (left, right)), spec.window, strict=True):
            reach = spec.dilation * (side - 1) + 1
            total = max((spec.out_size - 1) * spec.stride + reach - spec.size, 0)
            # What SAME does; fewer pixels after are fine where the last window does not reach them.
            same &= (
                total // 2 == before and total - total // 2 <= after and spec.out_size == -(-spec.size // spec.stride)
            )
        if same:
            return tensor, self.schema.Padding.SAME
        if not any(spec.pads):
            return tensor, self.schema.Padding.VALID
        if spec.kind == "avg_pool":
            raise ValueError(f"layer {name}: TFLite has no average pooling that leaves this padding out of its means")
        if spec.kind != "max_pool":
            return self.pad("PAD", f"{name}/padded", tensor, spec.pads), self.schema.Padding.VALID
        # The highest pixel of a window stays the highest where pixels of that window are repeated, whatever their sign:
        # no more at once than the window at the edge has.
        height, width = spec.window
        rest, step = list(spec.pads), (height - max(top, bottom),) * 2 + (width - max(left, right),) * 2
        if min(step) < 1:
            raise ValueError(f"layer {name}: TFLite has no pooling of padding alone")
        while any(rest):
            now = [min(each, most) for each, most in zip(rest, step, strict=True)]
            rest = [each - done for each, done in zip(rest, now, strict=True)]
            tensor = self.pad("MIRROR_PAD", f"{name}/padded/{sum(rest)}", tensor, now)
        return tensor, self.schema.Padding.VALID

    def pad(self, operator: str, name: str, tensor: int, pads: Sequence[int]) -> int:
        """Write padding on the top, bottom, left and right as an operator of its own."""
        top, bottom, left, right = pads
        amounts = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], dtype=np.int32)
        shape = tuple(
            size + sum(added) for size, added in zip(self.tensors[tensor].shape, amounts.tolist(), strict=True)
        )
        options = {"mode": self.schema.MirrorPadMode.SYMMETRIC} if operator == "MIRROR_PAD" else {}
        return self.node(operator, name, [tensor, self.constant(f"{name}/amounts", amounts)], shape, **options)

    def weighted(self, name: str, spec: LayerSpec, shape: tuple[int, ...], order: tuple[int, ...]) -> list[int]:
        """Weight, its axes put in another order, and bias of a layer."""
        weight, bias = self.source.arrays(name, spec, shape)
        if bias is None:
            bias = np.zeros(shape[0], dtype=np.float32)
        return [self.constant(f"{name}/weight", weight.transpose(order)), self.constant(f"{name}/bias", bias)]


class _Weightless(TfliteWriter):
    """Writes what weights belong to, and none of them."""

    def constant(self, name: str, array: NDArray[Any]) -> int:
        return self.tensor(name, array.shape)

    def weighted(self, name: str, spec: LayerSpec, shape: tuple[int, ...], order: tuple[int, ...]) -> list[int]:
        return [self.tensor(f"{name}/weight", tuple(shape[i] for i in order)), self.tensor(f"{name}/bias", shape[:1])]


_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "MIRROR_PAD": "MirrorPadOptions",
    "SUB": "SubOptions",
    "GELU": "GeluOptions",
    "MEAN": "ReducerOptions",
    "RESHAPE": "ReshapeOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "SOFTMAX": "SoftmaxOptions",
    "ADD": "AddOptions",
    "MUL": "MulOptions",
}
