"""Channel sorting: the channels that small subnets keep become the important ones.

Once-for-all (https://arxiv.org/abs/1908.09791), section 3.3: a subnet keeps a layer's first channels, so
before widths shrink the channels are put in the order of the L1 norm of the weights that read them.
"""

from collections.abc import Container, Mapping, Sequence, Set
from dataclasses import replace

import torch
from torch import Tensor, nn

from nas.elastic import Branches
from search_spaces import LayerSpec
from search_spaces.channels import ChannelSets, channel_sets, flat, is_dense

Modules = Mapping[str, nn.Module]
"""By ``slot/layer``."""


@torch.no_grad()
def sort_channels(
    slots: Mapping[str, Sequence[LayerSpec]], modules: Modules, elastic: Container[str], partial: Set[str] = frozenset()
) -> None:
    """Sort the channels of a network; the function it computes stays the same.

    The importance of a channel inside a slot is the absolute sum of the weights with which the last dense layer
    that reads it (an inverted residual's projection, a gate's expansion) does so. One that several slots share
    is as important as all dense layers that read it say, each with the same weight.

    Parameters
    ----------
    slots : the layers by slot, those of other variants joined to them (`joined`).
    modules : their modules, as `nas.supernet.layers.elastic_layer` makes them, with these layers active.
    elastic : names ``slot/layer`` of the layers whose outputs can narrow; channels that several slots share are
        sorted only where a layer that writes them is among these.
    partial : slots that still have layers besides those in `slots`. The channels that they share with other
        slots stay where they are, for those layers read and write them too.
    """
    layers = flat(slots)
    sets = channel_sets(layers)
    for number in range(len(sets.sizes)):
        tensors = sets.tensors(number)
        writers = [s for s in layers if s.name in tensors and s.name in modules and list(modules[s.name].children())]
        readers = [spec for spec in layers if is_dense(spec) and spec.inputs[0] in tensors]
        places = {name.split("/")[0] for name in (*tensors, *(spec.name for spec in readers))}
        shared = len(places) > 1
        if not (writers and readers) or (shared and not any(spec.name in elastic for spec in writers)):
            continue
        if shared and places & partial:
            continue
        importances = [_importance(sets, number, spec, modules) for spec in readers]
        importance = (
            torch.stack([i / i.mean().clamp(min=1e-12) for i in importances]).sum(0) if shared else importances[-1]
        )
        order = importance.argsort(descending=True, stable=True)
        for spec in writers:
            for module in _parts(modules[spec.name]):
                for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
                    if name != "num_batches_tracked":
                        _permute(tensor, 0, sets, number, spec.name, order)
        for spec in readers:
            for module in _parts(modules[spec.name]):
                if isinstance(module, nn.Conv2d | nn.Linear):
                    _permute(module.weight, 1, sets, number, spec.inputs[0], order)


def joined(variants: Sequence[Sequence[LayerSpec]]) -> list[LayerSpec]:
    """The layers of several variants of a slot as one list, for finding the channels that belong together.

    Additions tie the tensors that a layer reads in one variant or another, and the outputs of all variants.

    Parameters
    ----------
    variants : the layers of each, equally wide where they have the same; the first one's come first.
    """
    if len(variants) == 1:
        return list(variants[0])
    known: dict[str, LayerSpec] = {}
    layers: list[LayerSpec] = []

    def tie(names: Sequence[str], like: LayerSpec) -> None:
        if len(set(names)) > 1:
            name = f"join{len(layers)}"
            layers.append(replace(like, name=name, kind="add", inputs=tuple(dict.fromkeys(names)), branches=0))

    for variant in variants:
        for spec in variant:
            if spec.name not in known:
                known[spec.name] = spec
                layers.append(spec)
            for name, other in zip(known[spec.name].inputs, spec.inputs, strict=True):
                tie((name, other), spec)
    ends = [variant[-1].name for variant in variants]
    layers.append(replace(variants[0][-1], name="output", kind="add", inputs=tuple(dict.fromkeys(ends)), branches=0))
    return layers


def _importance(sets: ChannelSets, number: int, reader: LayerSpec, modules: Modules) -> Tensor:
    """Of each unit of a set, for a dense layer that reads it."""
    operator = _operator(modules, reader)
    weight = operator.fused_weight()[0] if isinstance(operator, Branches) else operator.weight[: reader.out_channels]
    channels = weight.abs().transpose(0, 1).flatten(1).sum(1)
    return channels[torch.from_numpy(sets.positions(number, reader.inputs[0]))].sum(1)


def _parts(layer: nn.Module) -> list[nn.Module]:
    """Operator and norm of a layer, of all its active branches where it has such."""
    return [part for child in layer.children() for part in (child.parts() if isinstance(child, Branches) else [child])]


def _operator(modules: Modules, spec: LayerSpec) -> nn.Conv2d | nn.Linear | Branches:
    operator = next(modules[spec.name].children())
    assert isinstance(operator, nn.Conv2d | nn.Linear | Branches)
    return operator


def _permute(tensor: Tensor, axis: int, sets: ChannelSets, number: int, name: str, order: Tensor) -> None:
    """Reorder the channels of a set along an axis that has those of tensor `name`; all others stay where they are."""
    positions = torch.from_numpy(sets.positions(number, name)).to(tensor.device)
    moved = tensor.index_select(axis, positions[order].flatten())
    tensor.index_copy_(axis, positions.flatten(), moved)
