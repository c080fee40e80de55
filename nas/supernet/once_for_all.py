"""Weights of once-for-all's own MobileNetV3 supernet, imported.

Package ``ofa`` (https://github.com/mit-han-lab/once-for-all), class ``OFAMobileNetV3``: the trained weights that
its authors publish become a `Supernet` of space ``mobilenet_v3``.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from nas.supernet.supernet import Supernet
from search_spaces import get_space

# Once-for-all's blocks 1 to 20 are five stages of four.
BLOCKS_PER_STAGE = 4
BLOCK_LAYERS = {
    "inverted_bottleneck": "expand",
    "depth_conv": "depthwise",
    "depth_conv.se.fc.reduce": "se_reduce",
    "depth_conv.se.fc.expand": "se_expand",
    "point_linear": "project",
}
OTHER_LAYERS = {
    "first_conv": "stem.conv",
    "final_expand_layer": "head.expand",
    "feature_mix_layer": "head.mix",
    "classifier": "head.classify",
}


def from_once_for_all(state_dict: Mapping[str, Tensor], width_mult: float = 1.0) -> Supernet:
    """The supernet that computes what an ``OFAMobileNetV3`` with these weights does.

    Parameters
    ----------
    state_dict : of an ``OFAMobileNetV3`` with kernels 3, 5, 7, expansions 3, 4, 6 and depths 2, 3, 4; the
        spelling of older releases (``mobile_inverted_conv``) is understood. Of a published file it is the
        entry ``state_dict``.
    width_mult : of that network, 1.0 or 1.2.

    Raises
    ------
    ValueError : weights are missing, unknown or of another shape; names them.
    """
    if "classifier.linear.weight" not in state_dict and "classifier.linear.linear.weight" not in state_dict:
        raise ValueError("these are no weights of OFAMobileNetV3: classifier.linear.weight is missing")
    renamed = {_our_key(key): tensor for key, tensor in state_dict.items()}
    num_classes = len(renamed["slots.head.classify.linear.weight"])
    net = Supernet(get_space("mobilenet_v3", width_mult=width_mult, num_classes=num_classes), kernel_transform=True)
    expected = net.state_dict()
    # A count that nothing reads; some published files lack it.
    ours = {key for key in expected if not key.endswith("num_batches_tracked")}
    given = {key for key in renamed if not key.endswith("num_batches_tracked")}
    if missing := sorted(ours - given):
        raise ValueError(f"weights of OFAMobileNetV3 are missing: {_listed(missing)}")
    if unknown := sorted(given - ours):
        raise ValueError(f"these weights are not OFAMobileNetV3's: {_listed(unknown)}")
    if other := sorted(key for key in ours if expected[key].shape != renamed[key].shape):
        raise ValueError(f"weights of another shape than OFAMobileNetV3's with width {width_mult}: {_listed(other)}")
    with torch.no_grad():
        for key in ours:
            expected[key].copy_(renamed[key])
    return net


def _our_key(key: str) -> str:
    """Our name of one of their weights; a weight that is not theirs keeps its name."""
    name, _, leaf = key.replace(".mobile_inverted_conv.", ".conv.").rpartition(".")
    if transform := re.fullmatch(r"(\d+to\d+)_matrix", leaf):
        leaf = f"conv.transforms.{transform[1]}"
        name = name.removesuffix(".conv")
    else:
        # `conv`, `conv.conv`, `bn`, `bn.bn`, `linear`, `linear.linear`: releases nest them differently.
        inner = re.fullmatch(r"(.+?)\.(conv|bn|linear)(?:\.\2)?", name)
        if inner:
            name, leaf = inner[1], f"{'norm' if inner[2] == 'bn' else inner[2]}.{leaf}"
        elif name.endswith((".se.fc.reduce", ".se.fc.expand")):
            leaf = f"conv.{leaf}"
    if name in OTHER_LAYERS:
        return f"slots.{OTHER_LAYERS[name]}.{leaf}"
    block = re.fullmatch(r"blocks\.(\d+)\.conv\.(.+)", name)
    if block is None or block[2] not in BLOCK_LAYERS:
        return key
    return f"slots.{_slot(int(block[1]))}.{BLOCK_LAYERS[block[2]]}.{leaf}"


def _slot(block: int) -> str:
    if block == 0:
        return "first"
    stage, position = divmod(block - 1, BLOCKS_PER_STAGE)
    return f"stage{stage + 1}_block{position + 1}"


def _listed(keys: list[str]) -> str:
    shown = ", ".join(keys[:5])
    return shown if len(keys) <= 5 else f"{shown} and {len(keys) - 5} more"
