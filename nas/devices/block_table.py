"""Latencies of single blocks, summed to those of networks: once-for-all's and ProxylessNAS's lookup tables.

Format: https://github.com/mit-han-lab/once-for-all (YAML, one entry a block, e.g.
``expanded_conv-input:112x112x24-output:56x56x32-expand:72-kernel:3-stride:2-idskip:0-se:0-hs:0: {mean: 2.47}``,
milliseconds). MobileNetV3 tables write the channels inside a block as ``expand``, ProxylessNAS's the ratio.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_tables.files import read_yaml, shown
from search_spaces import LayerSpec, SearchSpace

MAX_BYTES = 8 * 2**20
"""Of a block table; once-for-all's have 100 KB."""
LARGEST_RATIO = 10
"""An ``expand`` up to here is a ratio: no block is so narrow inside."""
_SHAPE = r"\d{1,6}(?:x\d{1,6}){0,2}"
_ENTRY = re.compile(
    rf"(?P<kind>\w+)-input:(?P<input>{_SHAPE})-output:(?P<output>{_SHAPE})(?P<rest>(?:-\w+:\d{{1,6}})*)"
)
_OPTIONS = ("kernel", "stride", "idskip", "se", "hs")

Key = tuple[Any, ...]


@dataclass(frozen=True)
class BlockTable:
    """Block latencies by resolution of the network's images.

    Attributes
    ----------
    blocks : {resolution: {block: milliseconds}}.
    options : what the table tells blocks apart by, besides their shapes.
    source : the files, for errors.
    """

    blocks: Mapping[int, Mapping[Key, float]]
    options: tuple[str, ...]
    source: str

    def latency_ms(self, space: SearchSpace, population: NDArray[Any]) -> NDArray[np.float64]:
        """Sums over the blocks of each network, shape (n,).

        Raises
        ------
        ValueError : a block or a resolution of these networks is not in the table.
        """
        return np.array([self._network(space.layers(row)) for row in np.atleast_2d(population)])

    def _network(self, slots: Iterable[tuple[LayerSpec, ...]]) -> float:
        present = [layers for layers in slots if layers]
        resolution = present[0][0].size
        if resolution not in self.blocks:
            known = ", ".join(map(str, sorted(self.blocks)))
            raise ValueError(f"{self.source} has no network of {resolution} pixels; it has {known}")
        blocks = self.blocks[resolution]
        total = 0.0
        for key in (key for layers in present for key in self._keys(layers)):
            if key not in blocks:
                if key[0] == "AvgPool2D" and not any(known[0] == "AvgPool2D" for known in blocks):
                    continue  # these tables count it with the classifier
                raise ValueError(f"{self.source} has no block {_describe(key, self.options)}")
            total += blocks[key]
        return total

    def _keys(self, layers: tuple[LayerSpec, ...]) -> list[Key]:
        depthwise = next((layer for layer in layers if layer.is_depthwise), None)
        if depthwise is None:
            return [_single(layer) for layer in layers]
        first, last = layers[0], layers[-1]
        kinds = {layer.kind for layer in layers}
        values = {
            "kernel": depthwise.kernel,
            "stride": depthwise.stride,
            "idskip": int("add" in kinds),
            "se": int("mul" in kinds),
            "hs": int(depthwise.activation == "hard_swish"),
        }
        source, result = (first.size, first.in_channels), (last.out_size, last.out_channels)
        return [("expanded_conv", source, result, depthwise.in_channels, *(values[name] for name in self.options))]


def _single(layer: LayerSpec) -> Key:
    if layer.kind == "linear":
        return "Logits", layer.in_channels, layer.out_channels
    if layer.kind == "global_pool":
        return "AvgPool2D", (layer.size, layer.in_channels), (1, layer.out_channels)
    name = "Conv" if layer.kernel > 1 else "Conv_1" if layer.size > 1 else "Conv_2"
    return name, (layer.size, layer.in_channels), (layer.out_size, layer.out_channels)


def _describe(key: Key, options: tuple[str, ...]) -> str:
    kind, source, result, *inside = key
    text = f"{kind} from {_shape_text(source)} to {_shape_text(result)}"
    if not inside:
        return text
    words = [f"{inside[0]} channels inside", *(f"{n} {v}" for n, v in zip(options, inside[1:], strict=True))]
    return f"{text} ({', '.join(words)})"


def _shape_text(shape: int | tuple[int, int]) -> str:
    return f"{shape[0]}x{shape[0]}x{shape[1]}" if isinstance(shape, tuple) else str(shape)


def read_block_table(*paths: Path) -> BlockTable:
    """Read once-for-all's lookup tables: one file, or one for each resolution.

    Raises
    ------
    ValueError : not such a table; says which file and line, or which entry.
    """
    if not paths:
        raise ValueError("no block table given")
    blocks: dict[int, dict[Key, float]] = {}
    options: tuple[str, ...] = ()
    for path in paths:
        entries, options = _read_entries(Path(path))
        inputs = [key[1][0] for key in entries if key[0] == "Conv"]
        if not inputs:
            raise ValueError(f"{path} has no entry Conv, which says how many pixels its images have")
        blocks.setdefault(max(inputs), {}).update(entries)
    return BlockTable(blocks, options, str(paths[0]) + ("" if len(paths) == 1 else " and the others"))


def _read_entries(path: Path) -> tuple[dict[Key, float], tuple[str, ...]]:
    if not path.exists():
        raise ValueError(f"there is no block table {path}")
    content = read_yaml(path, dict[str, Any], max_bytes=MAX_BYTES)
    if not content:
        raise ValueError(f"{path} is no block table: it must map blocks to {{mean: milliseconds}}")
    entries: dict[Key, float] = {}
    options: tuple[str, ...] = ()
    for name, value in content.items():
        match = _ENTRY.fullmatch(name)
        mean = value.get("mean") if isinstance(value, dict) else value
        if match is None:
            raise ValueError(
                f"{path}: {shown(name)!r} is no block; they look like Conv-input:224x224x3-output:112x112x24"
            )
        if isinstance(mean, bool) or not isinstance(mean, int | float) or not 0 < mean < np.inf:
            raise ValueError(
                f"{path}: {shown(name)} has the latency {shown(mean)}, expected a positive number of milliseconds"
            )
        key, given = _key(match)
        options = options or given
        entries[key] = float(mean)
    return entries, options


def _key(match: re.Match[str]) -> tuple[Key, tuple[str, ...]]:
    kind, source, result = match["kind"], _shape(match["input"]), _shape(match["output"])
    if kind == "Logits":
        return (kind, source[1], result[1]), ()
    if kind != "expanded_conv":
        return (kind, source, result), ()
    rest = {name: int(value) for name, value in re.findall(r"-(\w+):(\d+)", match["rest"])}
    expand = rest.pop("expand", 1)
    mid = expand * source[1] if expand <= LARGEST_RATIO else expand
    given = tuple(name for name in _OPTIONS if name in rest)
    return (kind, source, result, mid, *(rest[name] for name in given)), given


def _shape(text: str) -> tuple[int, int]:
    """Side and channels of ``112x112x24``, or of ``1000``."""
    numbers = [int(number) for number in text.split("x")]
    return (numbers[0] if len(numbers) > 1 else 1), numbers[-1]
