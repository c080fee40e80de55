"""Exported programs as files: read so that nothing in them is executed.

`torch.export.load` unpickles some parts of an archive with full rights, and evaluates expressions of symbolic sizes.
So every part is checked first, and what is loaded is a fresh archive made of the parts that were checked.
"""

import io
import json
import pickle
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict
from torch.export import ExportedProgram
from typing_extensions import TypedDict

from latency_tables.files import parse_json, shown

MODEL = "models/model.json"
SAMPLE_INPUTS = "data/sample_inputs/model.pt"
CONFIGS = {
    "data/weights/model_weights_config.json": "weight_",
    "data/constants/model_constants_config.json": "tensor_",
}
"""The table of each folder of tensors, and how its files' names begin."""
PLAIN = re.compile(
    r"archive_format|archive_version|version|byteorder|\.data/\w+|\.format_version|data/weights/weight_\d+|"
    r"data/constants/tensor_\d+|extra/.*"
)
"""Parts that are text or raw numbers."""
_SYMBOL = r"(Symbol\('\w+'(, \w+=(True|False))*\)|\w+)"
EXPRESSION = re.compile(rf"-?{_SYMBOL}( ?[+*-] ?{_SYMBOL})*")
"""Of symbolic sizes: names and numbers with signs between, nothing that is called."""
TARGET = re.compile(r"torch\.ops\.aten\.\w+(\.\w+)*|_operator\.getitem|torch\.sym_\w+|_operator\.\w+|math\.\w+|")
"""Operators that a graph may name; torch looks others up in Python modules."""
MOST_UNPACKED = 2
"""Times the size of the file: all parts together; `torch.export.save` does not compress."""


class _Tensor(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    path_name: str
    use_pickle: bool


class _Config(TypedDict):
    config: dict[str, _Tensor]


def read_program(path: Path) -> ExportedProgram:
    """The exported program in a ``.pt2`` file.

    Raises
    ------
    ValueError : there is no such file, it was not written by `torch.export.save`, or has parts that could run code.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > MOST_UNPACKED * path.stat().st_size:
                raise ValueError(f"{path} unpacks to far more than its size; torch.export.save does not compress")
            parts = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
            if len(parts) < len(archive.namelist()):
                raise ValueError(f"{path} has two parts of one name")
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError, zlib.error):
        raise ValueError(f"{path} is no file written by torch.export.save") from None
    if MODEL not in parts:
        _refuse_pickles(path, parts)
        raise ValueError(f"{path} holds no exported program that this torch reads: {MODEL} is missing")
    _check(path, parts)
    try:
        program = torch.export.load(io.BytesIO(_archive(parts)))
    except Exception as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ValueError(f"{path} is no exported program that this torch can read: {first[:200]}") from None
    _check_numbers(path, program)
    return program


def _check_numbers(path: Path, program: ExportedProgram) -> None:
    inputs = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"]
    for tensor in (*inputs, *program.state_dict.values()):
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise ValueError(_exported_for(path, str(tensor.dtype).removeprefix("torch.")))


def _exported_for(path: Path, what: str) -> str:
    return (
        f"{path} was exported for {what}; export it for float32 on the CPU: "
        "torch.export.save(torch.export.export(model.float().cpu().eval(), (images,)), 'net.pt2')"
    )


def _refuse_pickles(path: Path, parts: dict[str, bytes]) -> None:
    for name, content in parts.items():
        if name.endswith((".pkl", ".pt")) or content.startswith(b"\x80"):
            raise ValueError(_refusal(path, name))


def _refusal(path: Path, name: str) -> str:
    return (
        f"{path} holds pickled code ({name}), which is never executed here; save the network by "
        "torch.export.save(torch.export.export(model.eval(), (images,)), 'net.pt2')"
    )


def _check(path: Path, parts: dict[str, bytes]) -> None:
    for name, content in parts.items():
        if name == SAMPLE_INPUTS:
            try:
                torch.load(io.BytesIO(content), weights_only=True)
            except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError):
                raise ValueError(_refusal(path, name)) from None
        elif name in CONFIGS:
            for record in parse_json(content, _Config, f"{path}: {name}")["config"].values():
                if record["use_pickle"] or not record["path_name"].startswith(CONFIGS[name]):
                    raise ValueError(_refusal(path, shown(record["path_name"])))
        elif name == MODEL:
            _check_graph(path, _json(path, name, content))
        elif not PLAIN.fullmatch(name):
            raise ValueError(_refusal(path, name))


def _check_graph(path: Path, model: Any) -> None:
    for key, value in _texts(model):
        if key == "expr_str" and (not EXPRESSION.fullmatch(value) or "__" in value):
            raise ValueError(
                f"{path} has a symbolic size that is no plain sum: {value[:80]!r}; export it with fixed sizes"
            )
        if key == "type" and value not in ("cpu", "meta"):
            raise ValueError(_exported_for(path, f"the device {value[:80]}"))
        if key == "target" and not TARGET.fullmatch(value):
            raise ValueError(f"{path} calls {value[:80]!r}, which is not one of torch's own operators")


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    todo = [(key, value)]
    while todo:
        key, value = todo.pop()
        if isinstance(value, dict):
            todo += value.items()
        elif isinstance(value, list):
            todo += [(key, item) for item in value]
        elif isinstance(value, str):
            yield key, value


def _json(path: Path, name: str, content: bytes) -> Any:
    """The graph holds integers and depths that other files may not have."""
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise ValueError(f"{path} is damaged: {name} is no JSON table")
    return record


def _archive(parts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in parts.items():
            archive.writestr(f"net/{name}", content)
    return buffer.getvalue()
