"""Supernets and subnets on disk: safetensors for the weights, JSON for everything else, written atomically."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save  # to bytes: `save_file` hides a full disk in an error of its own
from torch import Tensor

from latency_tables.files import atomic_path
from nas.supernet.network import Network
from nas.supernet.subnet import Subnet
from nas.supernet.supernet import Supernet
from search_spaces import SearchSpace, get_space

WEIGHTS, CARD = "supernet.safetensors", "supernet.json"


def save_supernet(folder: Path, supernet: Supernet, card: Mapping[str, Any]) -> None:
    """Write `supernet.safetensors` and `supernet.json` into `folder`.

    Parameters
    ----------
    folder : made where it is missing.
    supernet : its active subnet is not remembered.
    card : JSON-able facts that should travel with the weights (data, classes, mean, std, recipe, metrics).

    Raises
    ------
    OSError : the folder cannot be written; what was there is as it was.
    """
    folder = Path(folder)
    with atomic_path(folder / WEIGHTS) as weights, atomic_path(folder / CARD) as description:
        weights.write_bytes(save(_weights(supernet)))
        record = {
            "space": {"name": supernet.space.name, "options": supernet.space.options},
            "kernel_transform": supernet.kernel_transform,
            "sha256": _file_digest(weights),
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
    try:
        record = json.loads(description.read_text(encoding="utf-8"))
        space = get_space(record["space"]["name"], **record["space"]["options"])
        digest, kernel_transform, card = record["sha256"], bool(record["kernel_transform"]), dict(record["card"])
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{description} is damaged: {_one_line(error)}") from error
    if _file_digest(weights) != digest:
        raise ValueError(f"{weights} is damaged: it is not the file that {CARD} was written for")
    supernet = Supernet(space, kernel_transform)
    _load(supernet, load_file(weights), weights)
    return supernet, card


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
        "sha256": _tensor_digest(tensors),
        "metadata": json.dumps(dict(metadata)),
    }
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(save(tensors, metadata=header))


def load_subnet(path: Path) -> Subnet:
    """Read back the subnet (training mode) that `save_subnet` wrote.

    Raises
    ------
    ValueError : the file is missing, truncated, edited, or not a subnet.
    """
    header = _header(path)
    space = _space(header, path)
    tensors = load_file(path)
    if _tensor_digest(tensors) != header["sha256"]:
        raise ValueError(f"{path} is damaged: its weights are not the ones that were saved")
    subnet = Subnet(space, space.parse(header["architecture"]))
    _load(subnet, tensors, path)
    return subnet


def subnet_metadata(path: Path) -> dict[str, Any]:
    """The `metadata` that was saved with a subnet.

    Raises
    ------
    ValueError : the file is missing, truncated, or not a subnet.
    """
    metadata: dict[str, Any] = json.loads(_header(path)["metadata"])
    return metadata


def _header(path: Path) -> dict[str, str]:
    if not Path(path).is_file():
        raise ValueError(f"there is no subnet at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, str] = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {_one_line(error)}") from error
    missing = {"space", "space_options", "architecture", "sha256", "metadata"} - header.keys()
    if missing:
        raise ValueError(f"{path} is no saved subnet: its header lacks {', '.join(sorted(missing))}")
    return header


def _space(header: Mapping[str, str], path: Path) -> SearchSpace:
    try:
        return get_space(header["space"], **json.loads(header["space_options"]))
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {_one_line(error)}") from error


def _load(net: Network, tensors: Mapping[str, Tensor], path: Path) -> None:
    expected = net.state_dict()
    wrong = sorted(expected.keys() ^ tensors.keys())
    wrong += [key for key in expected.keys() & tensors.keys() if expected[key].shape != tensors[key].shape]
    if wrong:
        raise ValueError(f"{path} does not fit space {net.space.name}: {len(wrong)} weights differ, first {wrong[0]}")
    net.load_state_dict(tensors)


def _weights(net: Network) -> dict[str, Tensor]:
    # Channels-last weights are not contiguous, which the format asks for.
    return {key: tensor.detach().cpu().contiguous() for key, tensor in net.state_dict().items()}


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tensor_digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(key.encode())
        digest.update(tensors[key].contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
