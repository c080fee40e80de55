"""Which pictures a folder holds, by their contents: the same for a moved or linked folder of equal files.

Every file is hashed once; the hashes of large folders are kept in the user's cache folder and used again for files
whose size and times of change are as they were.
"""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import perf_counter, time_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from latency_tables.files import atomic_path
from latency_tables.sealed import BLANK, KEY, seal, sealed_metadata
from nas.data.cache import cache_folder, file_stat
from nas.data.depth import deciding, depth_of
from nas.data.folder import SPLITS, Layout, read_layout
from nas.data.settings import DataSettings

Hashes = NDArray[np.uint8]
"""Of files, shape (n, 16)."""

_BYTES = 16
_TOGETHER = 256
"""Files that a thread hashes at a time: one task for each would take longer than hashing a thumbnail."""
_KEPT_FROM_S = 1.0
"""Hashes that took longer than this, in seconds, are kept."""
_SETTLED_NS = 2_000_000_000
"""A file that changed less than this before it was hashed may change again within the resolution of its times."""


def hash_files(paths: list[str], root: str) -> Hashes:
    """BLAKE2b of each file's bytes; of a file that cannot be read, of its path.

    Parameters
    ----------
    root : the folder that they lie in; the hashes that are kept are found by it.
    """
    kept = _Kept(root)
    hashes = np.zeros((len(paths), _BYTES), dtype=np.uint8)
    began = perf_counter()
    stats = np.array([file_stat(path) for path in paths], dtype=np.int64).reshape(-1, 3)
    new = kept.fill(paths, stats, hashes)
    if new:
        parts = [new[start : start + _TOGETHER] for start in range(0, len(new), _TOGETHER)]
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # hashing lets go of Python's lock
            found = threads.map(lambda rows: b"".join(_digest(paths[row]) for row in rows), parts)
            for rows, digests in zip(parts, found, strict=True):
                hashes[rows] = np.frombuffer(digests, dtype=np.uint8).reshape(-1, _BYTES)
        if perf_counter() - began > _KEPT_FROM_S:
            kept.write(paths, stats, hashes)
    return hashes


def content_digest(settings: DataSettings) -> str:
    """SHA-256 of what the images of a data set follow from: contents and settings, not where the folder lies.

    Raises
    ------
    ValueError : the folder cannot be read as classes of images.
    """
    facts: list[Any] = [settings.deciding()]
    if settings.name == "folder":
        layout = read_layout(str(settings.root))
        facts += [list(layout.classes), layout_digest(layout)]
        depth = depth_of(layout) if settings.value_range is None else None
        facts += deciding(depth and depth.range)
    elif settings.name == "cifar10":
        facts.append(os.path.realpath(os.path.expanduser(str(settings.root))))
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def layout_digest(layout: Layout) -> str:
    """SHA-256 of the files of each split and class, in their order, without their names."""
    files = [(split, of_class) for split in SPLITS for of_class in layout.files.get(split, ())]
    hashes = hash_files([path for _, of_class in files for path in of_class], layout.root)
    digest = hashlib.sha256(repr([(split, len(of_class)) for split, of_class in files]).encode())
    digest.update(hashes.tobytes())
    return digest.hexdigest()


class _Kept:
    """Hashes of the files below one root, from an earlier call."""

    def __init__(self, root: str) -> None:
        folder = cache_folder()
        name = hashlib.sha256(os.fsencode(root)).hexdigest()[:32]
        self._path = None if folder is None else folder / f"hashes_{name}.safetensors"
        self._names = self._stats = self._hashes = np.empty((0, 0), dtype=np.uint8)
        if self._path is not None and self._path.is_file():
            with suppress(OSError, SafetensorError, KeyError, ValueError):
                sealed_metadata(self._path)
                found = load_file(self._path)
                if found["stats"].shape[1:] == (3,):  # earlier versions kept two facts of a file
                    self._names, self._stats, self._hashes = found["names"], found["stats"], found["hashes"]

    def fill(self, paths: list[str], stats: NDArray[np.int64], hashes: Hashes) -> list[int]:
        """Fill in what is known; the rows of the rest."""
        if not len(self._hashes):
            return list(range(len(paths)))
        row_of = {name.tobytes(): row for row, name in enumerate(self._names)}
        rows = np.array([row_of.get(_name(path), -1) for path in paths], dtype=np.int64)
        same = (rows >= 0) & (self._stats[rows] == stats).all(axis=1)
        hashes[same] = self._hashes[rows[same]]
        return np.flatnonzero(~same).tolist()

    def write(self, paths: list[str], stats: NDArray[np.int64], hashes: Hashes) -> None:
        """Keep all that have not changed just now; where the cache cannot be written, they are hashed again."""
        if self._path is None:
            return
        changed = stats[:, 1:].max(axis=1)
        settled = np.flatnonzero((stats[:, 1] >= 0) & (changed < time_ns() - _SETTLED_NS))
        names = np.frombuffer(b"".join(map(_name, paths)), dtype=np.uint8).reshape(-1, _BYTES)
        tensors: dict[str, NDArray[Any]] = {"names": names[settled], "stats": stats[settled], "hashes": hashes[settled]}
        with suppress(OSError, SafetensorError), atomic_path(self._path) as temporary:  # the latter: a full disk
            save_file(tensors, temporary, metadata={KEY: BLANK})
            seal(temporary)


def _name(path: str) -> bytes:
    return hashlib.blake2b(os.fsencode(path), digest_size=_BYTES).digest()


def _digest(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_BYTES)).digest()
    except OSError:
        return _name(path)
