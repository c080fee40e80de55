"""A device profile on disk: what has been learnt of one device, with its error report.

Two files: ``<name>.json`` says what it is of and how good it is, ``<name>.safetensors`` beside it holds the
numbers. Nothing is pickled.
"""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from latency_tables.files import atomic_path, write_text
from predictors.encoding import ArchitectureEncoding
from predictors.held_out import LatencyErrors

FORMAT = "shrinkwrap-nas latency profile 1"

Arrays = dict[str, NDArray[Any]]


def fingerprint(encoding: ArchitectureEncoding) -> str:
    """Changes when the same network would be encoded otherwise, so that old weights are not read with new features."""
    encoded = np.round(encoding(encoding.reference[:64]).astype(np.float64), 3) + 0.0
    return hashlib.sha256(np.ascontiguousarray(encoded).tobytes()).hexdigest()[:16]


def write_profile(path: Path, description: dict[str, Any], arrays: Arrays, errors: LatencyErrors | None) -> None:
    """Write both files, the numbers first, so that a description never stands without them."""
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    with atomic_path(_numbers(path)) as temporary:
        temporary.write_bytes(content)
    report = None if errors is None else _without_nan(dataclasses.asdict(errors))
    digest = hashlib.sha256(content).hexdigest()
    document = {"format": FORMAT, **description, "errors": report, "sha256": digest}
    write_text(path, json.dumps(document, indent=1) + "\n")


def read_profile(path: Path) -> tuple[dict[str, Any], Arrays, LatencyErrors | None]:
    """Read both files.

    Raises
    ------
    ValueError : a file is missing, damaged, not a profile, or the two do not belong together.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        content = _numbers(path).read_bytes()
    except FileNotFoundError as error:
        raise ValueError(f"no device profile at {path}: {error.filename} is missing") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"{path} is not a device profile of this version ({FORMAT})")
    if document.get("sha256") != hashlib.sha256(content).hexdigest():
        raise ValueError(f"{_numbers(path)} does not belong to {path.name}, or is damaged; fit the device again")
    try:
        arrays = load_file(os.fspath(_numbers(path)))
    except SafetensorError as error:
        raise ValueError(f"{_numbers(path)} cannot be read: {error}") from error
    report = document["errors"]
    if report is None:
        return document, arrays, None
    values: dict[str, Any] = {key: float("nan") if value is None else value for key, value in report.items()}
    return document, arrays, LatencyErrors(**values)


def _numbers(path: Path) -> Path:
    return path.with_suffix(".safetensors")


def _without_nan(report: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN."""
    return {key: None if value != value else value for key, value in report.items()}
