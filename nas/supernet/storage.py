"""Supernets and subnets on disk: safetensors for the weights, JSON for everything else, written atomically."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save  # to bytes: `save_file` hides a full disk in an error of its own
from torch import Tensor

from latency_tables.files import atomic_path, atomic_paths, file_digest, parse_json
from latency_tables.sealed import BLANK, KEY, seal, sealed_metadata
from nas.shipped import CARD
from nas.shipped.card import read_card
from nas.supernet.network import Network
from nas.supernet.subnet import Subnet
from nas.supernet.supernet import Supernet
from search_spaces import Population, SearchSpace
from search_spaces.recorded import recorded_space

WEIGHTS = "supernet.safetensors"
LEAST_BYTES = 2
"""Of a weight, in float16."""


def save_supernet(folder: Path, supernet: Supernet, card: Mapping[str, Any], *, half: bool = False) -> None:
    """Write `supernet.safetensors` and `supernet.json` into `folder`.

    Parameters
    ----------
    folder : made where it is missing.
    supernet : its active subnet is not remembered.
    card : JSON-able facts that should travel with the weights (data, classes, mean, std, recipe, metrics).
    half : write the weights in float16, half as large.

    Raises
    ------
    OSError : the folder cannot be written; what was there is as it was.
    """
    folder = Path(folder)
    with atomic_paths(folder / WEIGHTS, folder / CARD) as (weights, description):
        tensors = _weights(supernet)
        if half:
            tensors = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
        weights.write_bytes(save(tensors))
        record = {
            "space": {"name": supernet.space.name, "options": supernet.space.options},
            "kernel_transform": supernet.kernel_transform,
            "sha256": file_digest(weights),
            "card": dict(card),
        }
        description.write_text(json.dumps(record, indent=1), encoding="utf-8")


def load_supernet(folder: Path) -> tuple[Supernet, dict[str, Any]]:
    """Read back what `save_supernet` wrote: the supernet (max net active, training mode) and its card.

    Raises
    ------
    ValueError : a file is missing, truncated, edited, or of another space.
    """
    weights, description = Path(folder) / WEIGHTS, Path(folder) / CARD
    for path in (weights, description):
        if not path.is_file():
            raise ValueError(f"{folder} is no trained supernet: {path.name} is missing")
    record = read_card(Path(folder))
    space = recorded_space(record["space"]["name"], record["space"]["options"], description)
    if file_digest(weights) != record["sha256"]:
        raise ValueError(f"{weights} is damaged: it is not the file that {CARD} was written for")
    _check_size(space, weights)
    supernet = Supernet(space, record["kernel_transform"])
    _load(supernet, load_file(weights), weights)
    return supernet, dict(record["card"])


def save_subnet(path: Path, subnet: Subnet, metadata: Mapping[str, Any]) -> None:
    """Write `subnet` to one safetensors file that also holds its space, its architecture and `metadata`.

    Parameters
    ----------
    path : the file, usually ``subnet.safetensors``.
    metadata : JSON-able facts (classes, mean, std, accuracy); `subnet_metadata` gives them back.
    """
    tensors = _weights(subnet)
    header = {
        "space": subnet.space.name,
        "space_options": json.dumps(subnet.space.options),
        "architecture": subnet.architecture,
        KEY: BLANK,
        "metadata": json.dumps(dict(metadata)),
    }
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(save(tensors, metadata=header))
        seal(temporary)


def load_subnet(path: str | os.PathLike[str]) -> Subnet:
    """Read back the subnet that `save_subnet` wrote, in training mode: call `eval()` before it classifies images.

    Raises
    ------
    ValueError : the file is missing, truncated, edited, or not a subnet.
    """
    path = Path(path).expanduser()
    header = _header(path)
    options = parse_json(header["space_options"], dict[str, Any], f"{path}: space_options")
    space = recorded_space(header["space"], options, path)
    genotype = space.parse(header["architecture"])
    _check_size(space, path, genotype)
    subnet = Subnet(space, genotype)
    _load(subnet, load_file(path), path)
    return subnet


def subnet_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The `metadata` that was saved with a subnet.

    Raises
    ------
    ValueError : the file is missing, truncated, or not a subnet.
    """
    return parse_json(_header(Path(path).expanduser())["metadata"], dict[str, Any], f"{path}: metadata")


def _header(path: Path) -> dict[str, str]:
    if not path.exists():
        raise ValueError(f"there is no subnet at {path}")
    header = sealed_metadata(path)
    missing = {"space", "space_options", "architecture", "metadata"} - header.keys()
    if missing:
        raise ValueError(f"{path} is no saved subnet: its header lacks {', '.join(sorted(missing))}")
    return header


def _check_size(space: SearchSpace, path: Path, genotype: Population | None = None) -> None:
    """Refuse weights that are too few, before memory is taken for those of the network."""
    needed = int(space.costs((space.max if genotype is None else genotype)[None]).params[0])
    if not 0 <= LEAST_BYTES * needed <= path.stat().st_size:
        raise ValueError(f"{path} does not fit space {space.name}, whose network has {needed:,} parameters")


def _load(net: Network, tensors: Mapping[str, Tensor], path: Path) -> None:
    expected = net.state_dict()
    wrong = sorted(expected.keys() ^ tensors.keys())
    wrong += [key for key in expected.keys() & tensors.keys() if expected[key].shape != tensors[key].shape]
    if wrong:
        raise ValueError(f"{path} does not fit space {net.space.name}: {len(wrong)} weights differ, first {wrong[0]}")
    if any(tensor.is_floating_point() != expected[key].is_floating_point() for key, tensor in tensors.items()):
        raise ValueError(f"{path} is damaged: a tensor is of another type")
    net.load_state_dict(tensors)


def _weights(net: Network) -> dict[str, Tensor]:
    # Channels-last weights are not contiguous, which the format asks for.
    return {key: tensor.detach().cpu().contiguous() for key, tensor in net.state_dict().items()}
