"""Which channels of a network must be kept or dropped together.

A *unit* is a smallest set of channels that are kept or dropped together: channel 7 of every tensor that is added up,
a block of a grouped convolution. Units that lie in the same tensors are interchangeable; they form a *channel set*,
of which a narrower network keeps the first so many. DepGraph (https://arxiv.org/abs/2301.12900) finds the same
dependencies by groups of layers; here they are found channel by channel, so that concatenation and splitting fit in.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from search_spaces.layers import SLOT_INPUT, WEIGHTED, LayerSpec, Ranges

NETWORK_INPUT = SLOT_INPUT
Channels = NDArray[np.int64]


@dataclass(frozen=True)
class ChannelSets:
    """The channel sets of a network.

    Attributes
    ----------
    sizes : units of each set.
    set_of : by tensor, the set of each channel, shape ``(channels,)``; -1 where it can never be dropped.
    unit_of : by tensor, the number in its set of each channel's unit, shape ``(channels,)``.
    """

    sizes: tuple[int, ...]
    set_of: Mapping[str, Channels]
    unit_of: Mapping[str, Channels]

    def tensors(self, number: int) -> list[str]:
        """The tensors in which channels of a set lie, in network order."""
        return [name for name, sets in self.set_of.items() if (sets == number).any()]

    def positions(self, number: int, tensor: str) -> Channels:
        """Where the units of a set lie in a tensor, shape ``(units, channels of a unit)``."""
        (channels,) = np.nonzero(self.set_of[tensor] == number)
        order = np.argsort(self.unit_of[tensor][channels], kind="stable")
        return channels[order].reshape(self.sizes[number], -1)

    def kept(self, tensor: str, units: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which channels of a tensor are left where set `i` keeps its first ``units[i]`` units."""
        sets = self.set_of[tensor]
        return (sets < 0) | (self.unit_of[tensor] < np.append(units, 0)[sets])


def flat(slots: Mapping[str, Sequence[LayerSpec]]) -> list[LayerSpec]:
    """The layers of all slots as one list, named ``slot/layer``; `NETWORK_INPUT` is what the first one reads."""
    result = []
    source = NETWORK_INPUT
    for slot, layers in slots.items():
        names = {SLOT_INPUT: source} | {spec.name: f"{slot}/{spec.name}" for spec in layers}
        result += [
            replace(spec, name=names[spec.name], inputs=tuple(names[name] for name in spec.inputs)) for spec in layers
        ]
        source = result[-1].name if result else source
    return result


def is_dense(spec: LayerSpec) -> bool:
    """Every output channel reads all input channels."""
    return spec.kind in WEIGHTED and spec.groups == 1


def channel_sets(layers: Sequence[LayerSpec], fixed: Iterable[str] = ()) -> ChannelSets:
    """Find the channel sets of a network.

    Parameters
    ----------
    layers : in order; the first reads `NETWORK_INPUT`.
    fixed : tensors whose channels always stay, besides the network's input and output.
    """
    n = layers[0].in_channels
    ids: dict[str, Channels] = {NETWORK_INPUT: np.arange(n)}
    pinned = [ids[NETWORK_INPUT]]
    together: list[tuple[Channels, Channels]] = []
    for spec in layers:
        first = ids[spec.inputs[0]]
        if is_dense(spec) or (spec.kind == "conv" and not spec.is_depthwise):
            out = np.arange(n, n + spec.out_channels)
            n += spec.out_channels
            if spec.groups > 1:
                together += _blocks(spec.groups, first, out)
        elif spec.kind == "attention":
            # Heads stay whole. Keys and values are read by all of them alike.
            out = np.arange(n, n + spec.out_channels)
            n += spec.out_channels
            together += _blocks(spec.groups, first, out)
            pinned += [ids[name] for name in spec.inputs[1:]]
        elif spec.kind == "concat":
            out = np.concatenate([ids[name] for name in spec.inputs])
        elif spec.kind == "slice":
            out = first[spec.start : spec.start + spec.out_channels]
        elif spec.kind == "shuffle":
            out = first.reshape(spec.groups, -1).T.ravel()
            pinned.append(out)
        else:
            out = first
            together += [(first, ids[name]) for name in spec.inputs[1:]]
        ids[spec.name] = out
    pinned += [ids[name] for name in (layers[-1].name, *fixed)]
    return _sets(ids, _units(n, together), np.concatenate(pinned))


def _blocks(groups: int, first: Channels, out: Channels) -> list[tuple[Channels, Channels]]:
    """Pairs that keep the input and output channels of each group together."""
    leaders = out.reshape(groups, -1)[:, :1]
    blocks = (first.reshape(groups, -1), out.reshape(groups, -1))
    return [(np.broadcast_to(leaders, block.shape).ravel(), block.ravel()) for block in blocks]


def _units(n: int, together: Sequence[tuple[Channels, Channels]]) -> Channels:
    """The unit of each of `n` channels; `together` pairs channels of the same unit."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows, columns = (np.concatenate([pair[i] for pair in together]) if together else np.empty(0, int) for i in (0, 1))
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(n, n))
    labels: Channels = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels


def _sets(ids: Mapping[str, Channels], units: Channels, pinned: Channels) -> ChannelSets:
    n_units = int(units.max()) + 1
    # Units that lie in the same tensors, with equally many channels in each, have the same sum of random numbers.
    signature = np.zeros(n_units, dtype=np.uint64)
    for channels, number in zip(ids.values(), _numbers(len(ids)), strict=True):
        signature += np.bincount(units[channels], minlength=n_units).astype(np.uint64) * number
    free = np.ones(n_units, dtype=bool)
    free[units[pinned]] = False
    # Sets, and units in them, in the order in which they first come up in the network.
    first = np.full(n_units, len(units))
    np.minimum.at(first, units, np.arange(len(units)))
    order = np.argsort(first, kind="stable")
    order = order[free[order]]
    numbers: dict[int, int] = {}
    sizes: list[int] = []
    set_of_unit = np.full(n_units, -1)
    rank = np.zeros(n_units, dtype=np.int64)
    for unit in order.tolist():
        number = numbers.setdefault(int(signature[unit]), len(numbers))
        if number == len(sizes):
            sizes.append(0)
        set_of_unit[unit], rank[unit] = number, sizes[number]
        sizes[number] += 1
    return ChannelSets(
        tuple(sizes),
        {name: set_of_unit[units[channels]] for name, channels in ids.items()},
        {name: rank[units[channels]] for name, channels in ids.items()},
    )


def _numbers(n: int) -> NDArray[np.uint64]:
    return np.random.default_rng(0).integers(1, 2**63, size=n, dtype=np.uint64)


def ranges(kept: NDArray[np.bool_]) -> Ranges:
    """The channels that are kept as ranges ``(first, last + 1)``; empty where they are the first ones."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], kept.astype(np.int8), [0]])))
    found = tuple((int(first), int(end)) for first, end in edges.reshape(-1, 2))
    return () if len(found) == 1 and found[0][0] == 0 else found
