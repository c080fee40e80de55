"""What can shrink in a traced network, as genes: inner widths, depth, depthwise kernels, widths that slots share.

Inner width (kind ``expansion``) is that of channels private to a slot; the ``width`` of a stage is shared by all slots
that its channels pass through. A slot has about a hundred variants at most for each resolution: beyond, genes get
fewer choices, and widths of one slot are tied.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd, log, prod
from typing import Any

import numpy as np

from nas.tracing.slots import Stretch
from search_spaces import LayerSpec
from search_spaces.channels import ChannelSets, channel_sets, flat
from search_spaces.traced import layer_to_json

MAX_VARIANTS = 100
INNER = {4: (0.25, 0.5, 0.75, 1.0), 3: (0.34, 0.67, 1.0), 2: (0.5, 1.0)}
"""Shares of the given width that an inner width may have, by the number of choices."""
SHARED = (0.5, 0.75, 1.0)
"""The same of a width that slots share."""
DIVISOR = 8
"""Channel numbers are multiples of it where they can be: hardware likes that."""
SMALLEST_WIDTH = 16
"""Narrower sets stay as they are."""
LEAST_DEPTH = 0.5
"""Share of a stage's slots that always stay."""
KERNELS = (3, 5, 7, 9, 11, 13)


@dataclass
class Gene:
    """A gene in the making.

    Attributes
    ----------
    name, kind, symbol, values, needs : as in `search_spaces.Gene`.
    narrows : for each channel set, a tensor ``slot/layer``, a channel of it, and the units kept at each choice.
    crops : depthwise layers ``slot/layer`` whose window it chooses.
    """

    name: str
    kind: str
    symbol: str
    values: tuple[int, ...]
    needs: tuple[str, int] | None = None
    narrows: list[tuple[str, int, tuple[int, ...]]] = field(default_factory=list)
    crops: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As `search_spaces.traced` reads it."""
        needs = list(self.needs) if self.needs else None
        gene = {
            "name": self.name,
            "kind": self.kind,
            "symbol": self.symbol,
            "values": list(self.values),
            "needs": needs,
        }
        record: dict[str, Any] = {"gene": gene}
        if self.narrows:
            record["narrows"] = [[tensor, channel, list(units)] for tensor, channel, units in self.narrows]
        if self.crops:
            record["crops"] = self.crops
        return record


@dataclass
class SlotGenes:
    """The genes of one slot: its own, those shared with others, and the one that takes it away."""

    own: list[Gene] = field(default_factory=list)
    context: list[str] = field(default_factory=list)
    needs: tuple[str, int] | None = None


class GeneFinder:
    """Finds the genes of a network that has been cut into slots.

    Attributes
    ----------
    genes : in the order of the space.
    slots : the genes of each slot, by name.
    """

    def __init__(self, stretches: Sequence[Stretch]) -> None:
        self._layers = {stretch.name: stretch.layers for stretch in stretches}
        self._flat = flat(self._layers)
        self._sets: ChannelSets = channel_sets(self._flat)
        self._by_name = {spec.name: spec for spec in self._flat}
        self.slots = {stretch.name: SlotGenes() for stretch in stretches}
        shared = self._shared_widths()
        depths = self._depths(stretches)
        for stretch in stretches:
            self._inner(stretch.name, [gene for gene in shared if gene.name in self.slots[stretch.name].context])
        self.genes = [*shared, *depths, *(gene for slot in self.slots.values() for gene in slot.own)]

    # Channel sets ------------------------------------------------------------------------------------------

    def _places(self, number: int) -> tuple[list[str], set[str]]:
        """The tensors in which a set lies, and the slots that write or read them."""
        tensors = self._sets.tensors(number)
        readers = [spec.name for spec in self._flat if set(spec.inputs) & set(tensors)]
        return tensors, {name.split("/")[0] for name in (*tensors, *readers)}

    def _units(self, number: int, shares: Sequence[float]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Units kept at each share, and the channels that they are in the set's first tensor."""
        n = self._sets.sizes[number]
        width = self._sets.positions(number, self._sets.tensors(number)[0]).shape[1]
        step = DIVISOR // gcd(DIVISOR, width)
        step = step if n >= 2 * step else 1
        units = [min(n, max(step, int(n * share / step + 0.5) * step)) for share in shares[:-1]]
        kept = tuple(sorted({*units, n}))
        return kept, tuple(k * width for k in kept)

    def _is_gate(self, tensors: Sequence[str]) -> bool:
        """Channels of pooled maps alone, in a slot that has larger ones: a gate's."""
        slot = tensors[0].split("/")[0]
        largest = max(spec.size for spec in self._layers[slot])
        last = self._layers[slot][-1]
        return largest > 1 and all(self._by_name[t].out_size == 1 for t in tensors) and last.out_size > 1

    def _channels(self, number: int) -> int:
        return int(max((self._sets.set_of[tensor] == number).sum() for tensor in self._sets.tensors(number)))

    def _shared_widths(self) -> list[Gene]:
        """A gene for each set that several slots share and that is all of the tensors between them."""
        genes: list[Gene] = []
        for number in range(len(self._sets.sizes)):
            tensors, slots = self._places(number)
            if len(slots) < 2 or self._channels(number) < SMALLEST_WIDTH:
                continue
            between = [f"{name}/{layers[-1].name}" for name, layers in self._layers.items()]
            if any((self._sets.set_of[t] != number).any() for t in between if t in tensors):
                continue
            units, channels = self._units(number, SHARED)
            if len(units) < 2:
                continue
            gene = Gene(f"width{len(genes) + 1}", "width", "c", channels)
            gene.narrows.append((tensors[0], self._first_channel(number, tensors[0]), units))
            genes.append(gene)
            for name in self._layers:
                if name in slots:
                    self.slots[name].context.append(gene.name)
        return genes

    def _first_channel(self, number: int, tensor: str) -> int:
        return int(np.flatnonzero(self._sets.set_of[tensor] == number)[0])

    # Depth -------------------------------------------------------------------------------------------------

    def _depths(self, stretches: Sequence[Stretch]) -> list[Gene]:
        groups: dict[str, list[Stretch]] = {}
        for stretch in stretches:
            groups.setdefault(stretch.group, []).append(stretch)
        genes = []
        for group, members in groups.items():
            n = len(members)
            least = n
            while least > 1 and members[least - 1].residual:
                least -= 1
            least = max(least, int(n * LEAST_DEPTH + 0.5), 1)
            if least == n:
                continue
            gene = Gene(f"{group}_depth", "depth", "", tuple(range(least, n + 1)))
            genes.append(gene)
            for number, stretch in enumerate(members, start=1):
                if number > least:
                    self.slots[stretch.name].needs = (gene.name, number)
        return genes

    # Genes of one slot -------------------------------------------------------------------------------------

    def _inner(self, slot: str, shared: Sequence[Gene]) -> None:
        place = self.slots[slot]
        numbers = []
        for number in range(len(self._sets.sizes)):
            tensors, slots = self._places(number)
            if slots == {slot} and self._channels(number) >= SMALLEST_WIDTH and not self._is_gate(tensors):
                numbers.append(number)
        windows = {f"{slot}/{spec.name}": _kernels_of(spec) for spec in self._layers[slot]}
        windows = {name: kernels for name, kernels in windows.items() if len(kernels) > 1}
        room = MAX_VARIANTS // prod(len(gene.values) for gene in shared)
        kernels = self._kernels(slot, windows, room)
        widths = self._widths(slot, numbers, room // prod(len(gene.values) for gene in kernels))
        place.own = [*widths, *kernels]
        in_depth = any(s.needs and s.needs[0] == f"{slot.split('_')[0]}_depth" for s in self.slots.values())
        if in_depth and not place.own:
            # A word in the architecture's name, by which its depth is told.
            place.own = [Gene(f"{slot}_block", "operator", "b", (1,))]
        for gene in place.own:
            gene.needs = place.needs

    def _kernels(self, slot: str, windows: Mapping[str, tuple[int, ...]], room: int) -> list[Gene]:
        """A gene for each depthwise window, or one for all where that is too many."""
        if not windows:
            return []
        if prod(map(len, windows.values())) <= max(room // 2, 1):
            names = _numbered(f"{slot}_kernel", len(windows))
            return [
                Gene(n, "kernel", "k", kernels, crops=[w])
                for n, (w, kernels) in zip(names, windows.items(), strict=True)
            ]
        first = next(iter(windows.values()))
        values = first[-max(1, min(3, room)) :]
        alike = [name for name, kernels in windows.items() if kernels == first]
        return [Gene(f"{slot}_kernel", "kernel", "k", values, crops=alike)] if len(values) > 1 else []

    def _widths(self, slot: str, numbers: Sequence[int], room: int) -> list[Gene]:
        """A gene for each inner set, with fewer choices where there are many, tied where there are too many."""
        if not numbers or room < 2:
            return []
        n_choices = next((c for c in INNER if c ** len(numbers) <= room), 0)
        groups = [[number] for number in numbers]
        if not n_choices:
            n_choices = next(c for c in INNER if c <= room)
            n_groups = int(log(room) / log(n_choices) + 1e-9)
            groups = [list(map(int, part)) for part in np.array_split(np.array(numbers), n_groups)]
        names = _numbered(f"{slot}_width", len(groups))
        genes = []
        for name, group in zip(names, groups, strict=True):
            found = [(number, *self._units(number, INNER[n_choices])) for number in group]
            n_values = min(len(units) for _, units, _ in found)
            if n_values < 2:
                continue
            gene = Gene(name, "expansion", "w", found[0][2][-n_values:])
            for number, units, _ in found:
                tensor = self._sets.tensors(number)[0]
                gene.narrows.append((tensor, self._first_channel(number, tensor), units[-n_values:]))
            genes.append(gene)
        return genes


def _kernels_of(spec: LayerSpec) -> tuple[int, ...]:
    """The windows that a depthwise layer may be cropped to: its padding shrinks with the window, and ends at none."""
    if not spec.is_depthwise or spec.kernel not in KERNELS or spec.kernel_width:
        return ()
    least = spec.kernel - 2 * (min(spec.pads) // spec.dilation)
    return tuple(kernel for kernel in KERNELS if least <= kernel <= spec.kernel)


def _numbered(name: str, n: int) -> list[str]:
    return [name] if n == 1 else [f"{name}{i}" for i in range(1, n + 1)]


def describe(stretches: Sequence[Stretch], resolutions: Sequence[int], like: Mapping[str, str]) -> dict[str, Any]:
    """The description of a traced network, as `search_spaces.traced` reads it.

    Parameters
    ----------
    stretches : the network's slots.
    resolutions : sides of the input image in pixels, ascending.
    like : by ``upsample`` layer, the tensor whose side it takes; as named in the graph.
    """
    found = GeneFinder(stretches)
    where = {spec.name: f"{stretch.name}/{spec.name}" for stretch in stretches for spec in stretch.layers}
    slots = []
    for stretch in stretches:
        place = found.slots[stretch.name]
        record: dict[str, Any] = {"name": stretch.name, "group": stretch.group}
        record["genes"] = [gene.name for gene in place.own]
        record["context"] = ["resolution", *place.context]
        record["needs"] = list(place.needs) if place.needs else None
        record["layers"] = [layer_to_json(spec) for spec in stretch.layers]
        slots.append(record)
    return {
        "slots": slots,
        "genes": [gene.to_json() for gene in found.genes],
        "like": {where[name]: where[source] for name, source in like.items()},
        "resolutions": list(resolutions),
    }
