"""The space around a network that was given: its max net is that network (made by `nas.tracing`).

A *description* holds everything, as plain JSON types: for each slot the layers of the given network, and for each
gene which channel sets it narrows, which windows it crops or which slots it takes away. Sizes are pixels.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields, replace
from functools import cached_property
from hashlib import sha256
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from search_spaces.channels import NETWORK_INPUT, ChannelSets, channel_sets, flat, is_dense, ranges
from search_spaces.genes import Gene, Slot
from search_spaces.layers import JOINING, SLOT_INPUT, WINDOWED, Activation, Kind, LayerSpec, Ranges
from search_spaces.space import SearchSpace
from search_spaces.stages import ascending

PREFIX = "traced_"
"""Of the names of these spaces."""
Mask = NDArray[np.bool_]
_REQUIRED = {f.name for f in fields(LayerSpec) if f.default is MISSING}


def layer_to_json(spec: LayerSpec) -> dict[str, Any]:
    """A layer as JSON: what differs from the defaults."""
    return {
        f.name: value
        for f, value in zip(fields(spec), asdict(spec).values(), strict=True)
        if f.name in _REQUIRED or value != f.default
    }


def layer_from_json(record: Mapping[str, Any]) -> LayerSpec:
    """The layer that `layer_to_json` wrote.

    Raises
    ------
    ValueError : it is no such record.
    """
    try:
        listed = {key: tuple(value) for key, value in record.items() if isinstance(value, list)}
        spec = LayerSpec(**{**record, **listed})
    except TypeError as error:
        raise ValueError(f"a traced network's description has a damaged layer: {error}") from None
    if spec.kind not in get_args(Kind) or spec.activation not in get_args(Activation):
        raise ValueError(f"a traced network's description has an unknown layer kind: {spec.kind}, {spec.activation}")
    return spec


def space_name(label: str, description: Mapping[str, Any]) -> str:
    """``traced_resnet18_1a2b3c4d``: another network, other genes or other classes have another name."""
    digest = sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:8]
    plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in label.lower())
    return f"{PREFIX}{plain}_{digest}"


class TracedSpace(SearchSpace):
    """Subnets of one given network.

    Parameters
    ----------
    name : as `space_name` makes it.
    description : the network and its genes; see the module's head and `nas.tracing`.
    resolutions : sides of the input image in pixels, ascending; None for those of the description.
    num_classes : outputs of the classifier; None for those of the given network.

    Raises
    ------
    ValueError : a damaged description, a resolution that the network cannot take, a number that is not positive.
    """

    def __init__(
        self,
        name: str,
        *,
        description: Mapping[str, Any],
        resolutions: Sequence[int] | None = None,
        num_classes: int | None = None,
    ) -> None:
        self.description = description
        try:
            records = [dict(record) for record in description["slots"]]
            traced = {r["name"]: tuple(map(layer_from_json, r["layers"])) for r in records}
            genes = [Gene(**_tuples(record["gene"])) for record in description["genes"]]
            slots = [Slot(**_tuples({key: r[key] for key in r.keys() - {"layers"}})) for r in records]
            self._narrowing = {r["gene"]["name"]: r.get("narrows", []) for r in description["genes"]}
            self._cropping = {r["gene"]["name"]: r.get("crops", []) for r in description["genes"]}
            self._like: Mapping[str, str] = description["like"]
            sizes = description["resolutions"] if resolutions is None else resolutions
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the description of the traced network {name} is damaged: {error!r}") from None
        self.resolutions = ascending("resolutions", sizes)
        last = next(reversed([layer for layers in traced.values() for layer in layers]))
        classes = last.out_channels if num_classes is None else num_classes
        genes.insert(0, Gene("resolution", "resolution", "r", self.resolutions))
        super().__init__(name, genes, slots, classes)
        self._layers = with_classes(traced, classes)
        self._sizes = {side: self._sizes_at(side) for side in self.resolutions}
        self._masks: dict[tuple[Any, ...], dict[str, LayerSpec]] = {}

    @property
    def options(self) -> dict[str, Any]:
        """See `SearchSpace.options`."""
        return {
            "description": self.description,
            "resolutions": list(self.resolutions),
            "num_classes": self.num_classes,
        }

    @cached_property
    def _flat(self) -> list[LayerSpec]:
        return flat(self._layers)

    @cached_property
    def channel_sets(self) -> ChannelSets:
        """Of the max net; tensors are named ``slot/layer``."""
        return channel_sets(self._flat)

    def _sizes_at(self, resolution: int) -> dict[str, LayerSpec]:
        """The max net's layers by ``slot/layer``, for images of `resolution` pixels."""
        like = {name: self._like[name] for name in self._like}
        return {spec.name: spec for spec in at_resolution(self._flat, resolution, like)}

    def slot_layers(self, slot: Slot, choice: Mapping[str, int]) -> tuple[LayerSpec, ...]:
        """See `SearchSpace.slot_layers`."""
        sizes = self._sizes[choice["resolution"]]
        key = (slot.name, *(choice[name] for name in (*slot.context, *slot.genes) if name != "resolution"))
        if key not in self._masks:
            self._masks[key] = self._narrowed(slot, choice)
        layers = []
        for name, spec in self._masks[key].items():
            sized = sizes[f"{slot.name}/{name}"]
            padding = spec.padding if spec.kernel != sized.kernel else sized.padding
            layers.append(replace(spec, size=sized.size, target=sized.target, padding=padding))
        return tuple(layers)

    def _narrowed(self, slot: Slot, choice: Mapping[str, int]) -> dict[str, LayerSpec]:
        """The slot's layers by name with these widths and windows, at the highest resolution."""
        sets = self.channel_sets
        units = np.array(sets.sizes, dtype=np.int64)
        windows: dict[str, int] = {}
        for gene in self._slot_genes(slot):
            number = gene.values.index(choice[gene.name])
            for tensor, channel, widths in self._narrowing.get(gene.name, []):
                units[sets.set_of[tensor][channel]] = widths[number]
            windows |= dict.fromkeys(self._cropping.get(gene.name, []), choice[gene.name])
        layers = {}
        masks: dict[str, Mask] = {}

        def kept(tensor: str) -> Mask:
            if tensor not in masks:
                masks[tensor] = sets.kept(tensor, units)
            return masks[tensor]

        by_name = {spec.name: spec for spec in self._flat}
        for spec in self._layers[slot.name]:
            name = f"{slot.name}/{spec.name}"
            narrow = narrowed(spec, kept(by_name[name].inputs[0]), kept(name))
            layers[spec.name] = cropped(narrow, windows[name]) if name in windows else narrow
        return layers


def narrowed(spec: LayerSpec, reads: Mask, writes: Mask) -> LayerSpec:
    """The layer with only these channels of its (first) input and of its output."""
    n_in, n_out = int(reads.sum()), int(writes.sum())
    if (n_in, n_out) == (spec.in_channels, spec.out_channels):
        return spec
    groups = spec.groups if spec.groups == 1 else n_in // (spec.in_channels // spec.groups)
    return replace(
        spec,
        in_channels=n_in,
        out_channels=n_out,
        groups=groups,
        start=int(reads[: spec.start].sum()),
        reads=ranges(reads) if is_dense(spec) else (),
        writes=ranges(writes) if is_dense(spec) or spec.groups > 1 or _has_vectors(spec) else (),
    )


def _has_vectors(spec: LayerSpec) -> bool:
    return spec.norm or spec.kind in ("scale", "layer_norm")


def cropped(spec: LayerSpec, kernel: int) -> LayerSpec:
    """The layer with the centre of its square window."""
    margin = (spec.kernel - kernel) // 2 * spec.dilation
    if spec.padding is None:
        return replace(spec, kernel=kernel)
    top, bottom, left, right = (pad - margin for pad in spec.padding)
    return replace(spec, kernel=kernel, padding=(top, bottom, left, right))


def at_resolution(layers: Sequence[LayerSpec], resolution: int, like: Mapping[str, str]) -> list[LayerSpec]:
    """The layers of a flat network for images of another size.

    Parameters
    ----------
    layers : in order, as `search_spaces.channels.flat` gives them.
    resolution : side of the images in pixels.
    like : by ``upsample`` layer, the tensor whose side it takes.

    Raises
    ------
    ValueError : the network cannot take images of this size.
    """
    sides = {NETWORK_INPUT: resolution}
    result = []
    for spec in layers:
        size = sides[spec.inputs[0]]
        changed = replace(spec, size=size, target=sides[like[spec.name]] if spec.name in like else spec.target)
        joined = {sides[name] for name in spec.inputs if spec.kind in JOINING}
        odd_join = len(joined) > 1 and (spec.kind == "concat" or joined != {1, size})
        left_over = spec.kind in ("linear", "flatten") and size != 1
        if odd_join or left_over or (spec.kind in WINDOWED and changed.out_size < 1):
            raise ValueError(f"the network cannot take images of {resolution} pixels: layer {spec.name} does not fit")
        sides[spec.name] = changed.out_size
        result.append(changed)
    return result


def with_classes(slots: Mapping[str, tuple[LayerSpec, ...]], classes: int) -> dict[str, tuple[LayerSpec, ...]]:
    """The network with another number of outputs: of the last layer with weights, and of all behind it."""
    name = list(slots)[-1]
    layers = list(slots[name])
    wanted = layers[-1].name
    for i in reversed(range(len(layers))):
        spec = layers[i]
        if spec.name != wanted or spec.out_channels == classes:
            continue
        if is_dense(spec):
            layers[i] = replace(spec, out_channels=classes)
            break
        if spec.kind in (*JOINING, "slice", "shuffle") or spec.groups > 1 or spec.inputs[0] == SLOT_INPUT:
            raise ValueError(f"the classifier cannot be replaced: {spec.name} is not a layer with weights of its own")
        layers[i] = replace(spec, in_channels=classes, out_channels=classes)
        wanted = spec.inputs[0]
    return {**slots, name: tuple(layers)}


def _tuples(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}


__all__ = ["PREFIX", "Ranges", "TracedSpace", "at_resolution", "layer_from_json", "layer_to_json", "space_name"]
