"""Channel sorting: the channels that small subnets keep become the important ones.

Once-for-all (https://arxiv.org/abs/1908.09791), section 3.3: a subnet keeps a layer's first channels, so
before widths shrink the channels are put in the order of the L1 norm of the weights that read them.
"""

from collections.abc import Container, Mapping, Sequence, Set

import torch
from torch import Tensor, nn

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
    slots : the layers by slot.
    modules : their modules, as `nas.supernet.layers.elastic_layer` makes them.
    elastic : names ``slot/layer`` of the layers whose outputs can narrow; channels that several slots share are
        sorted only where a layer that writes them is among these.
    partial : slots whose other variants have layers besides those in `slots`. The channels that they share with other
        slots stay where they are, for those layers read and write them too.
    """
    layers = flat(slots)
    sets = channel_sets(layers)
    for number in range(len(sets.sizes)):
        tensors = sets.tensors(number)
        writers = [spec for spec in layers if spec.name in tensors and list(modules[spec.name].children())]
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
            for module in modules[spec.name].children():
                for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
                    if name != "num_batches_tracked":
                        _permute(tensor, 0, sets, number, spec.name, order)
        for spec in readers:
            _permute(_operator(modules, spec).weight, 1, sets, number, spec.inputs[0], order)


def _importance(sets: ChannelSets, number: int, reader: LayerSpec, modules: Modules) -> Tensor:
    """Of each unit of a set, for a dense layer that reads it."""
    weight = _operator(modules, reader).weight[: reader.out_channels]
    channels = weight.abs().transpose(0, 1).flatten(1).sum(1)
    return channels[torch.from_numpy(sets.positions(number, reader.inputs[0]))].sum(1)


def _operator(modules: Modules, spec: LayerSpec) -> nn.Conv2d | nn.Linear:
    operator = next(modules[spec.name].children())
    assert isinstance(operator, nn.Conv2d | nn.Linear)
    return operator


def _permute(tensor: Tensor, axis: int, sets: ChannelSets, number: int, name: str, order: Tensor) -> None:
    """Reorder the channels of a set along an axis that has those of tensor `name`; all others stay where they are."""
    positions = torch.from_numpy(sets.positions(number, name)).to(tensor.device)
    moved = tensor.index_select(axis, positions[order].flatten())
    tensor.index_copy_(axis, positions.flatten(), moved)
