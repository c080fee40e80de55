"""Channel sorting: the channels that small subnets keep become the important ones.

Once-for-all (https://arxiv.org/abs/1908.09791), section 3.3: a subnet keeps a layer's first channels, so
before widths shrink the inner channels are put in the order of the L1 norm of the weights that read them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.supernet.layers import KINDS
from nas.supernet.network import SlotModule
from search_spaces import LayerSpec
from search_spaces.layers import SLOT_INPUT


@torch.no_grad()
def sort_slot_channels(slot: SlotModule) -> None:
    """Sort the inner channels of the active layers of `slot`; the function they compute stays the same.

    The importance of a channel is the absolute sum of the weights with which the last dense layer that
    reads it (an inverted residual's projection, a gate's expansion) does so.
    """
    for members in _channel_groups(slot.layers):
        writers = [spec for spec in slot.layers if spec.name in members and list(slot[spec.name].children())]
        readers = [spec for spec in slot.layers if _is_dense(spec) and spec.inputs[0] in members]
        if not (writers and readers):
            continue
        weight = _operator(slot, readers[-1]).weight[: readers[-1].out_channels]
        importance = weight.abs().transpose(0, 1).flatten(1).sum(1)[: readers[-1].in_channels]
        order = importance.argsort(descending=True, stable=True)
        for spec in writers:
            for module in slot[spec.name].children():
                for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
                    if name != "num_batches_tracked":
                        _permute(tensor, 0, order)
        for spec in readers:
            _permute(_operator(slot, spec).weight, 1, order)


def _channel_groups(layers: Sequence[LayerSpec]) -> list[set[str]]:
    """Sets of tensors (by the name of the layer that writes them) whose channels must move together.

    Left out are the sets that cannot be permuted: those with the slot's input or output, or with a tensor
    that a layer mixes in its own order (a grouped convolution, an operator unknown here).
    """
    group = {SLOT_INPUT: {SLOT_INPUT}} | {spec.name: {spec.name} for spec in layers}
    fixed = {SLOT_INPUT, *(spec.name for spec in layers[-1:])}
    for spec in layers:
        if KINDS[spec.kind].keeps_channels or spec.is_depthwise:
            for source in spec.inputs:
                joined = group[spec.name] | group[source]
                group.update(dict.fromkeys(joined, joined))
        elif not _is_dense(spec):
            fixed |= {spec.name, *spec.inputs}
    distinct = {id(members): members for members in group.values()}
    return [members for members in distinct.values() if not members & fixed]


def _is_dense(spec: LayerSpec) -> bool:
    """Every output channel reads all input channels."""
    return KINDS[spec.kind].has_weights and spec.groups == 1


def _operator(slot: SlotModule, spec: LayerSpec) -> nn.Conv2d | nn.Linear:
    operator = next(slot[spec.name].children())
    assert isinstance(operator, nn.Conv2d | nn.Linear)
    return operator


def _permute(tensor: Tensor, dim: int, order: Tensor) -> None:
    """Reorder the first channels of `dim`; those of wider variants, if any, stay where they are."""
    channels = tensor.narrow(dim, 0, len(order))
    channels.copy_(channels.index_select(dim, order))
