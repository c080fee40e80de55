"""A device profile on disk: what has been learnt of one device, with its error report.

Two files: ``<name>.json`` says what it is of and how good it is, ``<name>.safetensors`` beside it holds the
numbers. Nothing is pickled.
"""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Annotated, Any, NotRequired

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from typing_extensions import TypedDict

from latency_tables.files import atomic_paths, check_regular, check_value, file_digest, read_json, shown
from predictors.encoding import ArchitectureEncoding
from predictors.held_out import LatencyErrors

FORMAT = "shrinkwrap-nas latency profile 1"

Arrays = dict[str, NDArray[Any]]


def fingerprint(encoding: ArchitectureEncoding) -> str:
    """Changes when the same network would be encoded otherwise, so that old weights are not read with new features."""
    encoded = np.round(encoding(encoding.reference[:64]).astype(np.float64), 3) + 0.0
    return hashlib.sha256(np.ascontiguousarray(encoded).tobytes()).hexdigest()[:16]


class Description(TypedDict):
    """The JSON file; see `LatencyPredictor.save`."""

    format: str
    space: str
    options: dict[str, Any]
    random_state: Annotated[int, Ge(0)]
    devices: list[str]
    encoding: str
    unit_ms: NotRequired[Annotated[float, Gt(0)]]
    noise: NotRequired[Annotated[float, Gt(0)]]
    errors: dict[str, float | int | None] | None
    sha256: str


def write_profile(path: Path, description: dict[str, Any], arrays: Arrays, errors: LatencyErrors | None) -> None:
    """Write both files; the description never stands without its numbers."""
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    report = None if errors is None else _without_nan(dataclasses.asdict(errors))
    digest = hashlib.sha256(content).hexdigest()
    document = {"format": FORMAT, **description, "errors": report, "sha256": digest}
    with atomic_paths(_numbers(path), path) as (numbers, text):
        numbers.write_bytes(content)
        text.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def read_profile(path: Path) -> tuple[Description, Arrays, LatencyErrors | None]:
    """Read both files.

    Raises
    ------
    ValueError : a file is missing, damaged, not a profile, or the two do not belong together.
    """
    if not path.exists():
        raise ValueError(f"no device profile at {path}: it is missing")
    found = read_json(path, dict[str, Any])
    if found.get("format") != FORMAT:
        raise ValueError(f"{path} is not a device profile of this version ({FORMAT})")
    document = check_value(found, Description, str(path))
    check_regular(_numbers(path))
    if document["sha256"] != file_digest(_numbers(path)):
        raise ValueError(f"{_numbers(path)} does not belong to {path.name}, or is damaged; fit the device again")
    try:
        arrays = load_file(os.fspath(_numbers(path)))
    except SafetensorError as error:
        raise ValueError(f"{_numbers(path)} cannot be read: {error}") from error
    report = document["errors"]
    if report is None:
        return document, arrays, None
    fields = {field.name for field in dataclasses.fields(LatencyErrors)}
    if wrong := fields ^ report.keys():
        raise ValueError(f"{path}: errors.{shown(min(wrong))} is missing or not known")
    if "unit_ms" not in document or "noise" not in document or report["n"] is None:
        raise ValueError(f"{path}: unit_ms, noise or errors.n is missing")
    values: dict[str, Any] = {key: float("nan") if value is None else value for key, value in report.items()}
    return document, arrays, LatencyErrors(**values)


def checked_array(arrays: Arrays, name: str, shape: tuple[int | None, ...], path: Path) -> NDArray[Any]:
    """One of the arrays, if it has that shape (None: any length) and its numbers are finite.

    Raises
    ------
    ValueError : it is missing, or has another shape or an impossible number.
    """
    array = arrays.get(name)
    where = f"{_numbers(path)}: the array {shown(name)}"
    if array is None:
        raise ValueError(f"{where} is missing")
    alike = len(array.shape) == len(shape) and all(
        n in (None, found) for n, found in zip(shape, array.shape, strict=True)
    )
    if not alike:
        raise ValueError(f"{where} has the shape {array.shape}, not {shape}")
    if array.dtype.kind not in "iufb" or not np.isfinite(array).all():
        raise ValueError(f"{where} holds what is no finite number")
    return array


def _numbers(path: Path) -> Path:
    return path.with_suffix(".safetensors")


def _without_nan(report: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN."""
    return {key: None if value != value else value for key, value in report.items()}
