"""Trained weights of EfficientNet-Lite0, as the package ``efficientnet-lite-pytorch`` names them, imported.

EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, https://arxiv.org/abs/1905.11946.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from nas.supernet.supernet import Supernet
from search_spaces import SearchSpace

_OUTSIDE = {
    "_conv_stem": "stem.conv.conv",
    "_bn0": "stem.conv.norm",
    "_conv_head": "head.expand.conv",
    "_bn1": "head.expand.norm",
    "_fc": "head.classify.linear",
}
_IN_BLOCK = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}


def from_efficientnet_lite(state_dict: Mapping[str, Tensor], space: SearchSpace) -> Supernet:
    """A supernet of space ``efficientnet_lite0`` whose max net computes what the network with these weights does.

    Parameters
    ----------
    state_dict : of ``efficientnet_lite_pytorch.EfficientNet`` called ``efficientnet-lite0``.
    space : with as many classes as the weights have.

    Raises
    ------
    ValueError : weights are missing, unknown or of another shape.
    """
    blocks = [slot.name for slot in space.slots if slot.name not in ("stem", "head")]
    supernet = Supernet(space)
    expected = supernet.state_dict()
    given = {_our_key(key, blocks): tensor for key, tensor in state_dict.items()}
    wrong = sorted(key for key in expected.keys() | given.keys() if _shape(expected, key) != _shape(given, key))
    if wrong:
        raise ValueError(f"these are not the weights of EfficientNet-Lite0: {len(wrong)} differ, first {wrong[0]}")
    with torch.no_grad():
        supernet.load_state_dict(given)
    return supernet


def _our_key(key: str, blocks: list[str]) -> str:
    """Name of a weight in our supernet; one that has none keeps its own."""
    place, _, rest = key.partition(".")
    if place != "_blocks":
        return f"slots.{_OUTSIDE.get(place, place)}.{rest}"
    number, module, part = rest.split(".")
    return f"slots.{blocks[int(number)]}.{_IN_BLOCK.get(module, module)}.{part}"


def _shape(tensors: Mapping[str, Tensor], key: str) -> torch.Size | None:
    return tensors[key].shape if key in tensors else None
