"""Activations, arithmetic, and what leaves its input as it is."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from nas.tracing.operators.registry import OPERATORS, Operator, feature_map, operator
from nas.tracing.values import Constant, Map, Value, refuse

if TYPE_CHECKING:
    from nas.tracing.graph import Graph


def _activation(name: str) -> Operator:
    def read(graph: "Graph", node: fx.Node, x: Value, *rest: Any, **options: Any) -> Map:
        if name == "gelu" and options.get("approximate", "none") != "none":
            raise refuse(node, "GELU is known in its exact form, not approximated by tanh")
        return _activated(graph, node, x, name)

    return read


def _activated(graph: "Graph", node: fx.Node, x: Value, activation: str) -> Map:
    source = feature_map(node, x, "map", "last", "flat")
    return graph.add(node, "identity", source, activation=activation).as_layout(source.layout)


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
        return _activated(graph, node, x, "relu6" if high == 6 else "relu")
    source = feature_map(node, x, "map", "last", "flat")
    last = graph.layers[-1] if graph.layers else None
    if (low, high) == (None, 6) and last is not None and (last.name, last.activation) == (source.name, "relu"):
        return _activated(graph, node, x, "relu6")
    raise refuse(node, f"limits other than 0 and 6 have no activation: {low} and {high}")


@operator("dropout", "feature_dropout", "alpha_dropout", "native_dropout")
def _dropout(graph: "Graph", node: fx.Node, x: Value, p: float, train: bool = False) -> Value:
    if train:
        raise refuse(
            node,
            "its dropout is on in evaluation mode too; write F.dropout(x, p, training=self.training), and call .eval() "
            "before torch.export",
        )
    if p:
        graph.dropout.append(float(p))
    return x


@operator("alias", "contiguous", "detach", "to")
def _unchanged(graph: "Graph", node: fx.Node, x: Value, *rest: Any, **options: Any) -> Value:
    given = node.meta.get("val")
    if isinstance(given, Tensor) and given.dtype != torch.float32:
        raise refuse(node, f"it turns numbers into {given.dtype}")
    return x


@operator("clone", "lift_fresh_copy", "_to_copy")
def _copied(graph: "Graph", node: fx.Node, x: Value, *rest: Any, **options: Any) -> Value:
    value: Value = _unchanged(graph, node, x)
    return value.copied() if isinstance(value, Map) else value


@operator("add", "sub", "rsub", "mul", "div")
def _arithmetic(graph: "Graph", node: fx.Node, a: Value, b: Value, alpha: Any = 1, **options: Any) -> Map:
    name = str(node.target).split(".")[1].rstrip("_")
    if alpha != 1 or options.get("rounding_mode"):
        raise refuse(node, "alpha and rounding have no layer kind")
    if name == "rsub":
        a, b, name = b, a, "sub"
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
    source = feature_map(node, x, "map", "last", "flat")
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
