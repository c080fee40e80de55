"""Convolutions, fully connected layers and norms."""

from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from nas.tracing.operators.registry import feature_map, operator, pair, same_both_ways, weight_tensor
from nas.tracing.values import Constant, Map, Value, refuse

if TYPE_CHECKING:
    from nas.tracing.graph import Graph


@operator("conv2d")
def _conv2d(graph: "Graph", node: fx.Node, x: Value, weight: Value, *rest: Any, **options: Any) -> Map:
    return _convolved(graph, node, x, weight, *rest, **options)


def _convolved(
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
    source, kernel = feature_map(node, x, "map"), weight_tensor(node, weight)
    assert kernel is not None
    height, width = kernel.shape[2:]
    step, spread = same_both_ways(node, stride, "stride"), same_both_ways(node, dilation, "dilation")
    if padding == "valid":
        padding = 0
    if padding == "same":
        totals = [spread * (side - 1) for side in (height, width)]
        pads = tuple(n for total in totals for n in (total // 2, total - total // 2))
    else:
        pads = tuple(n for n in pair(padding) for _ in range(2))
    spans = [source.size + a + b - spread * (side - 1) for a, b, side in ((*pads[:2], height), (*pads[2:], width))]
    if len({(span - 1) // step for span in spans}) > 1:
        raise refuse(node, "its output is not square")
    return graph.add(
        node,
        "conv",
        source,
        out=kernel.shape[0],
        tensors={"weight": kernel, "bias": weight_tensor(node, bias)},
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
    return _convolved(graph, node, x, weight, bias, stride, padding, dilation, groups)


@operator("linear")
def _linear(graph: "Graph", node: fx.Node, x: Value, weight: Value, bias: Value = None) -> Map:
    return _matrix(graph, node, x, weight, bias)


def _matrix(graph: "Graph", node: fx.Node, x: Value, weight: Value, bias: Value) -> Map:
    source, matrix = feature_map(node, x, "flat", "last"), weight_tensor(node, weight)
    assert matrix is not None
    side = source.size if source.layout == "flat" else 1
    if side > 1:
        graph.one_size = graph.one_size or f"{node.name} reads all {side} x {side} pixels of a feature map"
    result = graph.add(
        node,
        "conv",
        source,
        out=matrix.shape[0],
        tensors={"weight": matrix.view(len(matrix), source.channels, side, side), "bias": weight_tensor(node, bias)},
        kernel=side,
        bias=bias is not None,
        padding=(0, 0, 0, 0),
    )
    return result.as_layout(source.layout)


@operator("addmm")
def _addmm(graph: "Graph", node: fx.Node, bias: Value, x: Value, weight: Value, beta: Any = 1, alpha: Any = 1) -> Map:
    if not isinstance(weight, Constant) or (beta, alpha) != (1, 1):
        raise refuse(node, "its weights depend on the image")
    return _matrix(graph, node, x, Constant(weight.tensor.t(), weight.trainable), bias)


@operator("mm", "matmul")
def _mm(graph: "Graph", node: fx.Node, x: Value, weight: Value) -> Map:
    if not isinstance(weight, Constant):
        raise refuse(node, "its weights depend on the image")
    return _matrix(graph, node, x, Constant(weight.tensor.t(), weight.trainable), None)


@operator("batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "native_batch_norm")
def _batch_norm(graph: "Graph", node: fx.Node, x: Value, weight: Value, bias: Value, *rest: Any) -> Any:
    mean, variance = (weight_tensor(node, value) for value in rest[:2])
    flags = [value for value in rest[2:] if isinstance(value, bool)]
    if mean is None or variance is None or flags[:1] == [True]:
        raise refuse(node, "batch-norm must have running statistics and be in evaluation mode")
    epsilon = [value for value in rest[2:] if isinstance(value, float)][-1]
    source = feature_map(node, x, "map", "flat")
    if len(mean) != source.channels:
        raise refuse(node, "batch-norm of a flattened map has statistics of each pixel; give it one of channels before")
    gamma, beta = weight_tensor(node, weight), weight_tensor(node, bias)
    gamma = torch.ones_like(mean) if gamma is None else gamma
    beta = torch.zeros_like(mean) if beta is None else beta
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
    source = feature_map(node, x, "last", "flat")
    gamma, beta = weight_tensor(node, weight), weight_tensor(node, bias)
    if (
        gamma is None
        or beta is None
        or list(shape) != [source.channels]
        or (source.layout, source.size > 1)
        == (
            "flat",
            True,
        )
    ):
        raise refuse(node, "layer-norm is known over the channels of each pixel, with weight and bias")
    result = graph.add(node, "layer_norm", source, tensors={"weight": gamma, "bias": beta}, epsilon=epsilon)
    result = result.as_layout(source.layout)
    return [result] if str(node.target).startswith("aten.native") else result
