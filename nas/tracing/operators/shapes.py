"""Concatenation, splitting, shuffling, and tensors laid out otherwise."""

from typing import TYPE_CHECKING, Any

from torch import fx

from nas.tracing.operators.registry import feature_map, operator, operator_is
from nas.tracing.values import Map, Value, operator_name, refuse

if TYPE_CHECKING:
    from nas.tracing.graph import Graph

JOINING = ("add", "sub", "rsub", "mul")
"""Operators that repeat a map of one pixel by themselves."""


@operator("cat", "concat", "concatenate")
def _cat(graph: "Graph", node: fx.Node, parts: Any, axis: int = 0) -> Value:
    maps = [feature_map(node, part, "map", "last", "flat") for part in parts]
    rank = node.meta["val"].ndim
    same = {(part.layout, part.size) for part in maps}
    if len(same) > 1 or axis % rank != maps[0].channel_axis or (maps[0].layout, maps[0].size > 1) == ("flat", True):
        raise refuse(node, "concatenation is known of channels of feature maps of one size")
    if len(maps) == 1:
        return maps[0].copied()
    out = sum(part.channels for part in maps)
    return graph.add(node, "concat", *maps, out=out).as_layout(maps[0].layout)


@operator("chunk", "split", "split_with_sizes", "tensor_split", "unsafe_split", "unsafe_chunk")
def _split(graph: "Graph", node: fx.Node, x: Value, count: Any, axis: int = 0) -> list[Map]:
    source = feature_map(node, x, "map", "last")
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
    source = feature_map(node, x, "map", "last", "flat")
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
    return graph.add(node, "shuffle", feature_map(node, x, "map"), groups=groups)


@operator("view", "_unsafe_view", "reshape", "flatten", "squeeze", "unsqueeze", "as_strided")
def _view(graph: "Graph", node: fx.Node, x: Value, *rest: Any) -> Value:
    source = feature_map(node, x, "map", "last", "flat", "row", "apart", "swapped")
    shape = tuple(int(n) for n in node.meta["val"].shape)[1:]
    channels, size = source.channels, source.size
    if operator_is(node, "as_strided") and size > 1:
        raise refuse(node, "strides of its own have no layer kind")
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
    elif size == 1 and shape in ((1, 1, channels), (channels, 1)):
        return source.as_layout("last" if shape[0] == 1 else "row")
    elif len(shape) == 4 and shape[2:] == (size, size) and shape[0] * shape[1] == channels and source.layout == "map":
        return source.as_layout("apart", shape[0])
    before = " x ".join(map(str, node.all_input_nodes[0].meta["val"].shape))
    raise refuse(node, f"no layer kind turns {before} into {' x '.join(map(str, node.meta['val'].shape))}")


@operator("expand", "expand_as", "broadcast_to")
def _expand(graph: "Graph", node: fx.Node, x: Value, *rest: Any, **options: Any) -> Value:
    source = feature_map(node, x, "map", "last", "flat")
    shape = tuple(node.meta["val"].shape)
    if shape == tuple(node.all_input_nodes[0].meta["val"].shape):
        return source
    known = source.layout == "map" and source.size == 1 and len(shape) == 4 and shape[1] == source.channels
    if not known or any(operator_name(user) not in JOINING for user in node.users):
        raise refuse(node, "repeating is known of maps of one pixel that are then added or multiplied")
    return source


@operator("permute", "transpose")
def _permute(graph: "Graph", node: fx.Node, x: Value, *order: Any) -> Value:
    source = feature_map(node, x, "map", "last", "flat", "apart", "swapped")
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
