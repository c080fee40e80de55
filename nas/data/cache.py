"""What is kept between commands, so that images are decoded and hashed once: a folder of bounded size.

It is ``$NAS_CACHE``, else ``shrinkwrap-nas`` in ``$XDG_CACHE_HOME`` or ``~/.cache``. It may be deleted at any time;
an empty ``NAS_CACHE`` keeps nothing.
"""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from latency_tables.files import atomic_path
from latency_tables.sealed import BLANK, KEY, seal, sealed_metadata

MOST_BYTES = 10e9
"""Of all decoded images that are kept; those used longest ago go first."""


def cache_folder() -> Path | None:
    """The folder, which may not exist yet; None where nothing is to be kept."""
    told = os.environ.get("NAS_CACHE")
    if told is not None:
        return Path(told).expanduser() if told else None
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "shrinkwrap-nas" if os.path.isabs(home) else None


def file_stat(path: str) -> tuple[int, int, int]:
    """Size, and the times when contents and anything of the file changed; no program can set the last one."""
    try:
        found = os.stat(path)
    except OSError:
        return -1, -1, -1
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def kept_arrays(key: str) -> dict[str, NDArray[Any]] | None:
    """What was kept under `key`; None where there is nothing, or it is damaged."""
    folder = cache_folder()
    path = None if folder is None else folder / f"images_{key}.safetensors"
    if path is None or not path.is_file():
        return None
    with suppress(OSError, SafetensorError, ValueError):
        sealed_metadata(path)
        found = load_file(path)
        with suppress(OSError):
            os.utime(path)
        return found
    return None


def keep_arrays(key: str, arrays: Mapping[str, NDArray[Any]]) -> Path | None:
    """Keep `arrays` under `key` where there is room; where they lie."""
    folder, size = cache_folder(), sum(array.nbytes for array in arrays.values())
    if folder is None or size > MOST_BYTES / 2:
        return None
    path = folder / f"images_{key}.safetensors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _make_room(folder, size)
        if shutil.disk_usage(folder).free < 2 * size:
            return None
        with atomic_path(path) as temporary:
            save_file(dict(arrays), temporary, metadata={KEY: BLANK})
            seal(temporary)
    except (OSError, SafetensorError):  # the latter: a full disk
        return None
    return path


def _make_room(folder: Path, size: int) -> None:
    kept = sorted(((p.stat().st_mtime, p.stat().st_size, p) for p in folder.glob("images_*.safetensors")), reverse=True)
    total = size
    for _, bytes_, path in kept:
        total += bytes_
        if total > MOST_BYTES:
            with suppress(OSError):
                path.unlink()
