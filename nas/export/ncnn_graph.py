"""An ncnn network straight from layer specs, batch-norm folded: the text and the weights that ncnn loads.

Format: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure. ncnn runs one image at a time.
"""

import struct
from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nas.export.layer_graph import ArraySource, Layers, Weights, array_source, ends, walk
from search_spaces import LayerSpec
from search_spaces.layers import WEIGHTED, downsampled

INPUT, OUTPUT = "images", "logits"
MAGIC = 7767517


def ncnn_graph(layers: Layers, *, weights: Weights | None = None, seed: int = 0) -> tuple[str, bytes]:
    """Build the network as ncnn's ``.param`` text and ``.bin`` weights (float32).

    Parameters
    ----------
    layers : the layer specs by slot name, as `nas.export.layer_graph.network_layers` gives them.
    weights : arrays by state-dict name; random ones where None.
    seed : of the random weights.

    Returns
    -------
    Text and weights; input blob ``images`` (3, R, R), normalised, output blob ``logits`` (classes).

    Raises
    ------
    ValueError : no layers, weights of another network, a layer that ncnn cannot express.
    """
    writer = NcnnWriter(array_source(weights, layers, seed))
    first, _ = ends(layers)
    writer.lines.append(f"Input images 0 1 {INPUT} 0={first.size} 1={first.size} 2={first.in_channels}")
    result = walk(layers, INPUT, writer.layer)
    writer.node("Noop", OUTPUT, [result], "")
    text, blobs = _split_shared(writer.lines)
    return f"{MAGIC}\n{len(text)} {blobs}\n" + "\n".join(text) + "\n", b"".join(writer.weights)


def _split_shared(lines: list[str]) -> tuple[list[str], int]:
    """A blob of ncnn has one reader: put a Split where there are more. Lines, and the number of blobs."""
    readers = Counter(name for line in lines for name in _inputs(line))
    served: Counter[str] = Counter()
    result, blobs = [], 0
    for line in lines:
        kind, name, n_in, n_out, *rest = line.split()
        inputs = rest[: int(n_in)]
        for i, blob in enumerate(inputs):
            if readers[blob] > 1:
                inputs[i] = f"{blob}/copy{served[blob]}"
                served[blob] += 1
        outputs, options = rest[int(n_in) : int(n_in) + int(n_out)], rest[int(n_in) + int(n_out) :]
        result.append(" ".join([kind, name, n_in, n_out, *inputs, *outputs, *options]))
        blobs += len(outputs)
        for blob in outputs:
            if readers[blob] > 1:
                copies = [f"{blob}/copy{i}" for i in range(readers[blob])]
                result.append(" ".join(["Split", f"{blob}/split", "1", str(len(copies)), blob, *copies]))
                blobs += len(copies)
    return result, blobs


def _inputs(line: str) -> list[str]:
    _, _, n_in, _, *rest = line.split()
    return rest[: int(n_in)]


class NcnnWriter:
    """Lines and weights of a network under construction."""

    def __init__(self, source: ArraySource) -> None:
        self.source = source
        self.lines: list[str] = []
        self.weights: list[bytes] = []

    def node(self, kind: str, name: str, inputs: list[str], options: str) -> str:
        """Write one layer; its only blob bears its name."""
        self.lines.append(f"{kind} {name} {len(inputs)} 1 {' '.join(inputs)} {name} {options}".rstrip())
        return name

    def layer(self, name: str, spec: LayerSpec, inputs: list[str]) -> str:
        """Write one layer spec; the blob that holds its output."""
        if spec.kind not in _OPERATORS:
            raise ValueError(f"layer {name}: ncnn export knows no kind {spec.kind!r}; known: {', '.join(_OPERATORS)}")
        blob = _OPERATORS[spec.kind](self, name, spec, inputs)
        if spec.norm and spec.kind not in WEIGHTED:
            scale, shift = self.source.norm(name, spec)
            blob = self.node("Scale", f"{name}/norm", [blob], f"0={spec.out_channels} 1=1")
            self.weights += [_plain(scale), _plain(shift)]
        if spec.activation == "none" or (spec.kind in WEIGHTED and spec.activation in _FUSED):
            return blob
        kind, options = _ACTIVATIONS[spec.activation]
        return self.node(kind, f"{name}/{spec.activation}", [blob], options)

    def weighted(self, name: str, spec: LayerSpec, shape: tuple[int, ...]) -> int:
        """Write the weight (tagged as float32) and the bias of a layer; the weight's size."""
        weight, bias = self.source.arrays(name, spec, shape)
        self.weights += [struct.pack("<I", 0), _plain(weight), _plain(np.zeros(shape[0]) if bias is None else bias)]
        return weight.size


def _plain(array: NDArray[np.floating]) -> bytes:
    return array.astype("<f4").tobytes()


def _conv(writer: NcnnWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
    height, width = spec.window
    size = writer.weighted(name, spec, (spec.out_channels, spec.in_channels // spec.groups, height, width))
    top, bottom, left, right = spec.pads
    options = f"0={spec.out_channels} 1={width} 3={spec.stride} 4={left} 5=1 6={size}"
    for key, value, usual in ((11, height, width), (2, spec.dilation, 1), (14, top, left), (15, right, left)):
        options += "" if value == usual else f" {key}={value}"
    options += "" if bottom == top else f" 16={bottom}"
    grouped = "" if spec.groups == 1 else f" 7={spec.groups}"
    kind = "Convolution" if spec.groups == 1 else "ConvolutionDepthWise"
    return writer.node(kind, name, inputs, options + grouped + _FUSED.get(spec.activation, ""))


def _linear(writer: NcnnWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
    size = writer.weighted(name, spec, (spec.out_channels, spec.in_channels))
    return writer.node(
        "InnerProduct", name, inputs, f"0={spec.out_channels} 1=1 2={size}" + _FUSED.get(spec.activation, "")
    )


def _window_pool(kind: int) -> Callable[[NcnnWriter, str, LayerSpec, list[str]], str]:
    def write(writer: NcnnWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
        if spec.dilation > 1:
            raise ValueError(f"layer {name}: ncnn has no pooling with dilation")
        height, width = spec.window
        top, bottom, left, right = spec.pads
        options = f"0={kind} 1={width} 2={spec.stride} 3={left} 5=1 6=0"
        for key, value, usual in ((11, height, width), (13, top, left), (14, right, left), (15, bottom, top)):
            options += "" if value == usual else f" {key}={value}"
        return writer.node("Pooling", name, inputs, options)

    return write


def _slice(writer: NcnnWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
    end = spec.start + spec.out_channels
    return writer.node("Crop", name, inputs, f"-23309=1,{spec.start} -23310=1,{end} -23311=1,0")


def _pad(writer: NcnnWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
    return writer.node("Padding", name, inputs, " ".join(f"{i}={n}" for i, n in enumerate(spec.pads)) + " 4=0 5=0.0")


def _scale(writer: NcnnWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
    weight, bias = writer.source.per_channel(name, spec)
    writer.weights += [_plain(weight), _plain(bias)]
    return writer.node("Scale", name, inputs, f"0={spec.out_channels} 1=1")


def _layer_norm(writer: NcnnWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
    """Of the last axis, so channels go there and back: (c, h, w) as (h, w, c)."""
    writer.weights += [_plain(array) for array in writer.source.per_channel(name, spec)]
    last = writer.node("Permute", f"{name}/last", inputs, "0=3")
    normed = writer.node("LayerNorm", f"{name}/normed", [last], f"0={spec.out_channels} 1={spec.epsilon:g} 2=1")
    return writer.node("Permute", name, [normed], "0=4")


def _attention(writer: NcnnWriter, name: str, spec: LayerSpec, inputs: list[str]) -> str:
    """Sizes are written (width, height, channels); the queries of all heads are rows of one matrix."""
    heads, pixels, side = spec.groups, spec.size**2, downsampled(spec.size, [spec.stride])
    of_query, of_value = spec.in_channels // heads, spec.out_channels // heads

    def reshaped(part: str, blob: str, *shape: int) -> str:
        return writer.node("Reshape", f"{name}{part}", [blob], " ".join(f"{i}={n}" for i, n in enumerate(shape)))

    query, key, value = inputs
    query = writer.node("Permute", f"{name}/turned", [reshaped("/heads", query, pixels, of_query, heads)], "0=1")
    query = reshaped("/rows", query, of_query, heads * pixels)
    key = reshaped("/keys", key, side**2, of_query)
    key = writer.node("BinaryOp", f"{name}/scaled", [key], f"0=2 1=1 2={of_query**-0.5:.9g}")
    value = reshaped("/values", value, side**2, of_value)
    scores = writer.node("MatMul", f"{name}/scores", [query, key], "0=0")
    shares = writer.node("Softmax", f"{name}/shares", [scores], "0=1 1=1")
    mixed = writer.node("MatMul", f"{name}/mixed", [shares, value], "0=1")
    mixed = writer.node("Permute", f"{name}/back", [reshaped("/apart", mixed, of_value, pixels, heads)], "0=1")
    return reshaped("", mixed, spec.size, spec.size, spec.out_channels)


def _simple(kind: str, options: str) -> Callable[[NcnnWriter, str, LayerSpec, list[str]], str]:
    return lambda writer, name, spec, inputs: writer.node(kind, name, inputs, options)


_OPERATORS: dict[str, Callable[[NcnnWriter, str, LayerSpec, list[str]], str]] = {
    "conv": _conv,
    "linear": _linear,
    "global_pool": _simple("Reduction", "0=3 1=0 -23303=2,1,2 4=1 5=1"),
    "avg_pool": _window_pool(1),
    "max_pool": _window_pool(0),
    "concat": _simple("Concat", "0=0"),
    "slice": _slice,
    "upsample": lambda writer, name, spec, inputs: writer.node(
        "Interp", name, inputs, f"0=1 3={spec.target} 4={spec.target}"
    ),
    "pad": _pad,
    "layer_norm": _layer_norm,
    "scale": _scale,
    "attention": _attention,
    "flatten": _simple("Flatten", ""),
    "add": _simple("BinaryOp", "0=0"),
    "mul": _simple("BinaryOp", "0=2"),
    "shuffle": lambda writer, name, spec, inputs: writer.node("ShuffleChannel", name, inputs, f"0={spec.groups}"),
    "identity": lambda writer, name, spec, inputs: inputs[0],
    "zero": _simple("BinaryOp", "0=2 1=1 2=0.0"),
}
_FUSED = {
    "relu": " 9=1",
    "relu6": " 9=3 -23310=2,0.0,6.0",
    "hard_swish": " 9=6 -23310=2,0.16666667,0.5",
}
_ACTIVATIONS = {
    "relu": ("ReLU", ""),
    "relu6": ("Clip", "0=0.0 1=6.0"),
    "hard_swish": ("HardSwish", "0=0.16666667 1=0.5"),
    "hard_sigmoid": ("HardSigmoid", "0=0.16666667 1=0.5"),
    "sigmoid": ("Sigmoid", ""),
    "silu": ("Swish", ""),
    "gelu": ("GELU", "0=0"),
}
