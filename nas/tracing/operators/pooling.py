"""Pooling, resizing and padding."""

from typing import TYPE_CHECKING, Any

from torch import fx

from nas.tracing.operators.registry import feature_map, operator, pair, same_both_ways
from nas.tracing.values import Map, Value, refuse

if TYPE_CHECKING:
    from nas.tracing.graph import Graph


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
    result = _pool(
        graph, node, "max_pool", x, kernel, stride, padding, ceil_mode, same_both_ways(node, dilation, "dilation")
    )
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
    if divisor_override is not None or (ceil_mode and count_include_pad and pair(padding) != (0, 0)):
        raise refuse(node, "a divisor of its own has no layer kind")
    if count_include_pad and pair(padding) != (0, 0):
        height, width = pair(padding)
        x = graph.add(node, "pad", feature_map(node, x, "map"), padding=(height, height, width, width))
        padding = 0
    source = feature_map(node, x, "map")
    if pair(padding) == (0, 0) and pair(kernel) == (source.size, source.size):
        # Perhaps of this one size alone (nn.AvgPool2d(7)): a module is tried at others; a .pt2 file gains them here.
        return graph.add(node, "global_pool", source)
    return _pool(graph, node, "avg_pool", source, kernel, stride, padding, ceil_mode)


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
    height, width = pair(kernel)
    pads = tuple(n for n in pair(padding) for _ in range(2))
    if height != width:
        raise refuse(node, "its window is not square")
    return graph.add(
        node,
        kind,
        feature_map(node, x, "map"),
        kernel=height,
        stride=same_both_ways(node, stride or kernel, "stride"),
        padding=pads,
        ceil_mode=bool(ceil_mode),
        dilation=dilation,
    )


@operator("adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d")
def _adaptive_pool(graph: "Graph", node: fx.Node, x: Value, size: Any) -> Any:
    source, side = feature_map(node, x, "map"), same_both_ways(node, size, "size")
    highest = str(node.target).startswith("aten.adaptive_max")
    if side == 1 and not highest:
        return graph.add(node, "global_pool", source)
    graph.one_size = graph.one_size or f"{node.name} makes a feature map of {side} x {side} pixels"
    if source.size % side:
        raise refuse(node, f"pooling {source.size} pixels to {side} has windows of different sizes")
    if source.size == side:
        return [source.copied()] if highest else source.copied()
    window = source.size // side
    kind = "max_pool" if highest else "avg_pool"
    result = graph.add(node, kind, source, kernel=window, stride=window, padding=(0, 0, 0, 0))
    return [result] if highest else result


@operator("mean")
def _mean(graph: "Graph", node: fx.Node, x: Value, axes: Any, keepdim: bool = False, **options: Any) -> Map:
    source = feature_map(node, x, "map", "last", "averaged")
    if source.layout == "averaged" and [axis % 3 for axis in axes] == [2] and not keepdim:
        return graph.add(node, "global_pool", source).as_layout("flat")
    dimensions = sorted(axis % 4 for axis in axes)
    if source.layout == "map" and dimensions in ([2], [3]) and not keepdim:
        return source.as_layout("averaged")
    if source.layout == "averaged" or dimensions != ([2, 3] if source.layout == "map" else [1, 2]):
        raise refuse(node, "means are known over height and width")
    return graph.add(node, "global_pool", source).as_layout(source.layout if keepdim else "flat")


@operator("upsample_nearest2d")
def _upsample(graph: "Graph", node: fx.Node, x: Value, size: Any = None, *rest: Any, **options: Any) -> Map:
    source = feature_map(node, x, "map")
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
    if mode != "constant" or value not in (None, 0, 0.0) or len(amounts) not in (2, 4) or min(amounts) < 0:
        raise refuse(node, "padding is known with zeros, around height and width")
    left, right, top, bottom = (*amounts, 0, 0)[:4]
    if top + bottom != left + right:
        raise refuse(node, "its output is not square")
    return graph.add(node, "pad", feature_map(node, x, "map"), padding=(top, bottom, left, right))
