"""Safetensors files with the SHA-256 of their whole contents in the header: no flipped bit goes unnoticed.

The format: https://huggingface.co/docs/safetensors. Its library notices a file that is too short, and nothing else.
"""

import hashlib
import re
from pathlib import Path
from typing import IO

from pydantic import ConfigDict
from typing_extensions import TypedDict

from latency_tables.files import check_regular, parse_json, shown

KEY = "sha256"
BLANK = "0" * 64
"""What stands in the header in place of the digest while that is computed."""
MAX_HEADER = 100_000_000
_PIECE = 1 << 20


class _Header(TypedDict):
    """Beside it stand the tensors, which the library checks."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    __metadata__: dict[str, str]


def seal(path: Path) -> None:
    """Put the digest into a file that was saved with ``{KEY: BLANK}`` in its metadata."""
    with path.open("rb+") as file:
        header = _header(file)
        at = header.index(f'"{KEY}":"{BLANK}"'.encode()) + len(f'"{KEY}":"')
        digest = _digest(file, header)
        file.seek(8 + at)
        file.write(digest.encode())


def sealed_metadata(path: Path) -> dict[str, str]:
    """The metadata of a file that `seal` has sealed.

    Raises
    ------
    ValueError : there is no such file, or it is damaged.
    """
    damaged = f"{path} is damaged: its contents are not the ones that were saved"
    check_regular(path)
    try:
        with path.open("rb") as file:
            header = _header(file)
            found = re.search(rb'"' + KEY.encode() + rb'":"([0-9a-f]{64})"', header)
            if found is None:
                raise ValueError(f"{path} is damaged or no file that this program saved: it has no digest")
            blank = header[: found.start(1)] + BLANK.encode() + header[found.end(1) :]
            if _digest(file, blank) != found[1].decode():
                raise ValueError(damaged)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    return parse_json(header, _Header, f"the header of {path}")["__metadata__"]


def _header(file: IO[bytes]) -> bytes:
    """The JSON text at the beginning, after its length."""
    length = int.from_bytes(file.read(8), "little")
    header = file.read(min(length, MAX_HEADER))
    if len(header) != length:
        raise ValueError(f"{shown(str(file.name), 200)} is damaged or no safetensors file: its header is not whole")
    return header


def _digest(file: IO[bytes], header: bytes) -> str:
    """SHA-256 of `header` and of everything that stands behind it in `file`."""
    digest = hashlib.sha256(len(header).to_bytes(8, "little") + header)
    file.seek(8 + len(header))
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()
