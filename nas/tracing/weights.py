"""Weights of a given network from a file: a state dict as safetensors, or as torch saves it without pickled code."""

import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

NESTED = ("state_dict", "model_state_dict", "model", "net", "network", "module", "model_ema", "state_dict_ema")
"""Keys under which training scripts put the state dict, beside their optimiser's state."""
PREFIXES = ("module.", "model.", "_orig_mod.")
"""What wrappers put before every key."""
NAMED = 3
"""Keys that a message names."""


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a state dict into `module`; all its keys must fit.

    Parameters
    ----------
    module : changed in place.
    path : of a ``.safetensors`` file, or of one written by ``torch.save`` that holds tensors only.

    Raises
    ------
    ValueError : there is no such file, it holds pickled code, no state dict, or that of another network; says which
        keys do not fit.
    """
    given = _unwrapped(read_state_dict(path), module)
    expected = {key: tensor for key, tensor in module.state_dict().items() if not key.endswith("num_batches_tracked")}
    given = {key: tensor for key, tensor in given.items() if not key.endswith("num_batches_tracked")}
    missing = sorted(expected.keys() - given.keys())
    unknown = sorted(given.keys() - expected.keys())
    shaped = sorted(key for key in expected.keys() & given.keys() if expected[key].shape != given[key].shape)
    problems = []
    if missing:
        problems.append(f"{len(missing)} are missing ({_listed(missing)})")
    if unknown:
        problems.append(f"{len(unknown)} are not in the network ({_listed(unknown)})")
    if shaped:
        shapes = [f"{k}: {_shape(given[k])} in the file, {_shape(expected[k])} in the network" for k in shaped]
        problems.append(f"{len(shaped)} have another shape ({_listed(shapes)})")
    if problems:
        raise ValueError(f"{path} does not fit the network: of {len(expected)} weights " + "; ".join(problems))
    broken = [key for key, tensor in given.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise ValueError(f"{path} has weights that are not finite numbers: {_listed(sorted(broken))}")
    state = OrderedDict(given)
    # Names and shapes are today's, so modules that read older ones by a version (torchvision's MNASNet) need not.
    state._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]
    module.load_state_dict(state, strict=False)


def classes_in(path: Path, module: nn.Module) -> int | None:
    """The classes of the classifier in a file of weights; None where the file lacks the one of `module`.

    Parameters
    ----------
    module : the network, with any number of classes. Its classifier is what has its last matrix or filters.

    Raises
    ------
    ValueError : see `load_weights`.
    """
    matrices = [key for key, tensor in module.state_dict().items() if tensor.ndim in (2, 4) and key.endswith("weight")]
    given = _unwrapped(read_state_dict(path), module)
    held = given.get(matrices[-1]) if matrices else None
    return len(held) if held is not None and held.ndim else None


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors in a file, by name; nothing in it is executed.

    Raises
    ------
    ValueError : see `load_weights`.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no weights file {path}")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged or no safetensors file: {' '.join(str(error).split())}") from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(_unsafe(path, error)) from None
    except Exception as error:  # torch's reader raises whatever a damaged file makes of it
        first = " ".join(str(error).split())[:150]
        raise ValueError(f"{path} is damaged or was not written by torch.save: {first}") from None
    return _state_dict(content, path)


def _unsafe(path: Path, error: Exception) -> str:
    text = str(error)
    if re.search(r"[Uu]nsupported (global|class)|allowed global|Trying to (call|instantiate)", text):
        return (
            f"{path} holds pickled code, which is never executed here; save the weights alone: "
            "torch.save(model.state_dict(), 'weights.pth')"
        )
    return f"{path} is damaged or was not written by torch.save: {' '.join(text.split())[:150]}"


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    for _ in range(2):
        if not isinstance(content, Mapping):
            break
        tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        if tensors and len(tensors) == len(content):
            return tensors
        nested = [content[key] for key in NESTED if isinstance(content.get(key), Mapping)]
        if not nested:
            break
        content = nested[0]
    raise ValueError(f"{path} holds no state dict: a table of tensors by name, alone or under the key state_dict")


def _unwrapped(given: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Without the prefix that a wrapper put before every key."""
    expected = module.state_dict().keys()
    for _ in range(2):
        for prefix in PREFIXES:
            plain = {key.removeprefix(prefix): tensor for key, tensor in given.items()}
            if all(key.startswith(prefix) for key in given) and len(plain.keys() & expected) > len(
                given.keys() & expected
            ):
                given = plain
    return given


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"
