"""Weights of once-for-all's own MobileNetV3 and ResNet-50 supernets, imported.

Package ``ofa`` (https://github.com/mit-han-lab/once-for-all), classes ``OFAMobileNetV3`` and ``OFAResNets``: the
trained weights that its authors publish become a `Supernet` of space ``mobilenet_v3`` or ``resnet50``.
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
RESNET_BLOCKS = [(stage, block) for stage, n in ((1, 4), (2, 4), (3, 6), (4, 4)) for block in range(1, n + 1)]
"""Of the deepest network, in order."""
RESNET_LAYERS = {"conv1": "reduce", "conv2": "conv", "conv3": "expand", "downsample": "shortcut"}
RESNET_PLACES = {f"input_stem.{i}": f"stem.conv{i + 1}" for i in range(3)} | {"classifier": "head.classify"}
RESNET_PLACES |= {
    f"blocks.{i}.{theirs}": f"stage{stage}_block{block}.{ours}"
    for i, (stage, block) in enumerate(RESNET_BLOCKS)
    for theirs, ours in RESNET_LAYERS.items()
}


def from_once_for_all(state_dict: Mapping[str, Tensor], width_mult: float = 1.0) -> Supernet:
    """The supernet that computes what an ``OFAMobileNetV3`` or ``OFAResNets`` with these weights does.

    Parameters
    ----------
    state_dict : of an ``OFAMobileNetV3`` with kernels 3, 5, 7, expansions 3, 4, 6 and depths 2, 3, 4, or of an
        ``OFAResNets`` with depths 0, 1, 2, expansions 0.2, 0.25, 0.35 and widths 0.65, 0.8, 1.0; the spelling of older
        releases (``mobile_inverted_conv``) is understood. Of a published file it is the entry ``state_dict``.
    width_mult : of that MobileNetV3, 1.0 or 1.2.

    Raises
    ------
    ValueError : weights are missing, unknown or of another shape; names them.
    """
    is_resnet = any(key.startswith("input_stem.") for key in state_dict)
    theirs, our_key = ("OFAResNets", _our_resnet_key) if is_resnet else ("OFAMobileNetV3", _our_key)
    renamed = {our_key(key): tensor for key, tensor in state_dict.items()}
    if "slots.head.classify.linear.weight" not in renamed:
        raise ValueError(f"these are no weights of {theirs}: classifier.linear.weight is missing")
    num_classes = len(renamed["slots.head.classify.linear.weight"])
    if is_resnet:
        return _filled(Supernet(get_space("resnet50", num_classes=num_classes)), renamed, theirs, f"{theirs}'s")
    space = get_space("mobilenet_v3", width_mult=width_mult, num_classes=num_classes)
    return _filled(Supernet(space, kernel_transform=True), renamed, theirs, f"{theirs}'s with width {width_mult}")


def _filled(net: Supernet, renamed: Mapping[str, Tensor], theirs: str, shaped_like: str) -> Supernet:
    """`net` with these weights, which have its names already."""
    expected = net.state_dict()
    # A count that nothing reads; some published files lack it.
    ours = {key for key in expected if not key.endswith("num_batches_tracked")}
    given = {key for key in renamed if not key.endswith("num_batches_tracked")}
    if missing := sorted(ours - given):
        raise ValueError(f"weights of {theirs} are missing: {_listed(missing)}")
    if unknown := sorted(given - ours):
        raise ValueError(f"these weights are not {theirs}'s: {_listed(unknown)}")
    if other := sorted(key for key in ours if expected[key].shape != renamed[key].shape):
        raise ValueError(f"weights of another shape than {shaped_like}: {_listed(other)}")
    with torch.no_grad():
        for key in ours:
            expected[key].copy_(renamed[key])
    return net


def _our_resnet_key(key: str) -> str:
    """Our name of a weight of ``OFAResNets``; a weight that is not theirs keeps its name."""
    # `conv`, `conv.conv`, `bn`, `bn.bn`, ...: releases nest them differently.
    found = re.fullmatch(
        r"(input_stem\.\d+|blocks\.\d+\.\w+|classifier)(?:\.(?:conv|bn|linear))*\.(conv|bn|linear)\.(\w+)", key
    )
    if found is None:
        return key
    place, operator, leaf = found.groups()
    layer = RESNET_PLACES.get(place)
    return key if layer is None else f"slots.{layer}.{'norm' if operator == 'bn' else operator}.{leaf}"


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
