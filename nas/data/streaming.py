"""Pictures decoded by several processes: all of a set once, or batch by batch while it is trained on.

torch's DataLoader runs the processes. What comes out does not depend on how many there are.
"""

import hashlib
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from mmap import mmap
from multiprocessing import get_start_method
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nas.data.decode import read_square
from nas.data.tree import printable
from nas.progress import SILENT, Listener, Progress

Rows = NDArray[np.int64]

_CHUNK = 16
"""Pictures that a process decodes at a time, where all of a set are decoded."""
_FEW = 128
"""So many pictures are decoded sooner than processes are started."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Decoded:
    """Some pictures.

    Attributes
    ----------
    pixels : uint8 array of shape (n, 3, side, side); zeros where a file could not be read.
    digests : uint8 array of shape (n, 16): hashes of the pixels.
    faults : what is wrong with a file, by its row.
    """

    pixels: NDArray[np.uint8]
    digests: NDArray[np.uint8]
    faults: dict[int, str]


class PictureFiles(Dataset[Any]):
    """Files of pictures, read at one side in pixels.

    Parameters
    ----------
    paths : of the files. Kept in one array: a list would be copied into every process, object by object.
    side : of the squares that they become.
    value_range : of deep pictures; see `nas.data.decode.as_rgb`.
    """

    def __init__(self, paths: Sequence[str], side: int, value_range: tuple[float, float] | None = None) -> None:
        self._paths = np.array([os.fsencode(path) for path in paths], dtype=np.bytes_)
        self.side, self.value_range = side, value_range

    def __len__(self) -> int:
        return len(self._paths)

    def path(self, row: int) -> str:
        """Of one file."""
        return os.fsdecode(bytes(self._paths[row]))

    def __getitems__(self, rows: Sequence[int]) -> Decoded:
        """The pictures at `rows`."""
        pixels = np.zeros((len(rows), 3, self.side, self.side), dtype=np.uint8)
        digests = np.zeros((len(rows), 16), dtype=np.uint8)
        faults: dict[int, str] = {}
        for place, row in enumerate(rows):
            try:
                pixels[place] = read_square(self.path(row), self.side, self.value_range)
            # Whatever a reader stumbles over is this file's trouble alone.
            except Exception as error:
                faults[place] = " ".join(f"{error or type(error).__name__}".split())
            digests[place] = np.frombuffer(hashlib.blake2b(pixels[place], digest_size=16).digest(), dtype=np.uint8)
        return Decoded(pixels, digests, faults)


class _Into(Dataset[Any]):
    """Files of pictures, each read into its place in `pixels`; what it gives is without them."""

    def __init__(self, files: PictureFiles, pixels: NDArray[np.uint8]) -> None:
        self._files, self._pixels = files, pixels

    def __getitems__(self, rows: Sequence[int]) -> Decoded:
        part = self._files.__getitems__(rows)
        self._pixels[np.asarray(rows)] = part.pixels
        return Decoded(part.pixels[:0], part.digests, part.faults)


def loader(files: Dataset[Any], batches: Iterable[Sequence[int]], workers: int) -> Iterator[Decoded]:
    """The pictures of each batch of rows, in order, decoded ahead by `workers` processes; 0 decodes here.

    Batches come through pipes and not through shared memory, of which containers often have little.
    """

    def begun(n: int) -> Iterator[Decoded]:
        return iter(
            DataLoader(
                files,
                batch_sampler=batches,  # type: ignore[arg-type]  # any iterable of rows
                num_workers=n,
                collate_fn=_as_it_is,
                worker_init_fn=_end_with_the_main_process if n else None,
                prefetch_factor=4 if n else None,
            )
        )

    if workers:
        try:
            return begun(workers)
        except OSError:  # no processes, or no semaphores, are to be had
            pass
    return begun(0)


def decode_all(files: PictureFiles, workers: int, done: Progress | None = None) -> Decoded:
    """All pictures.

    Parameters
    ----------
    done : called with the number of pictures decoded and of all.
    """
    n = len(files)
    workers = workers if n > _FEW and get_start_method() == "fork" else 0
    shape = (n, 3, files.side, files.side)
    # Processes write their pictures where they are wanted, into memory that a fork shares.
    room = mmap(-1, max(1, prod(shape))) if workers else bytearray(prod(shape))
    pixels = np.frombuffer(room, dtype=np.uint8, count=prod(shape)).reshape(shape)
    digests = np.empty((n, 16), dtype=np.uint8)
    faults: dict[int, str] = {}
    starts = range(0, n, _CHUNK)
    chunks = [range(start, min(start + _CHUNK, n)) for start in starts]
    for start, part in zip(starts, loader(_Into(files, pixels), chunks, workers), strict=True):
        digests[start : start + len(part.digests)] = part.digests
        faults |= {start + place: fault for place, fault in part.faults.items()}
        if done is not None:
            done(start + len(part.digests), n)
    return Decoded(pixels, digests, faults)


class StreamedImages:
    """The images of a split, read from their files whenever they are needed.

    A file that cannot be read is replaced by the next readable one of its class, whatever process reads it.

    Parameters
    ----------
    files, labels : of the images.
    workers : processes that decode.
    skip : whether to replace an unreadable file, or to fail.
    listener : is told once of every file that is replaced.
    """

    def __init__(
        self, files: PictureFiles, labels: Rows, workers: int, skip: bool = True, listener: Listener = SILENT
    ) -> None:
        self.files, self._labels, self._workers, self._skip, self._listener = files, labels, workers, skip, listener
        self._said: set[str] = set()

    def __len__(self) -> int:
        return len(self.files)

    @property
    def side(self) -> int:
        """In pixels."""
        return self.files.side

    def batch(self, rows: Rows) -> Tensor:
        """The images at `rows`, read here and now."""
        return self._whole(rows, self.files.__getitems__(rows.tolist()))

    def batches(self, rows: Iterable[Rows]) -> Iterator[Tensor]:
        """The images at each of `rows`, read ahead."""
        wanted: list[Rows] = []

        def noted() -> Iterator[list[int]]:
            for some in rows:
                wanted.append(some)
                yield some.tolist()

        for part in loader(self.files, _Once(noted()), self._workers):
            yield self._whole(wanted.pop(0), part)

    def take(self, rows: Rows) -> "StreamedImages":
        """The images at `rows`."""
        files = PictureFiles([self.files.path(int(row)) for row in rows], self.side, self.files.value_range)
        return StreamedImages(files, self._labels[rows], self._workers, self._skip, self._listener)

    def _whole(self, rows: Rows, part: Decoded) -> Tensor:
        for place, fault in part.faults.items():
            path = self.files.path(int(rows[place]))
            if not self._skip:
                raise ValueError(f"the image {printable(path)} cannot be read: {fault}")
            if path not in self._said:
                self._said.add(path)
                self._listener.say(f"skipped an image that cannot be read: {printable(path)} ({fault})")
            part.pixels[place] = self._instead_of(int(rows[place]))
        return torch.from_numpy(part.pixels)

    def _instead_of(self, row: int) -> NDArray[np.uint8]:
        same = np.flatnonzero(self._labels == self._labels[row])
        for other in np.roll(same, -int(np.searchsorted(same, row)) - 1):
            found = self.files.__getitems__([int(other)])
            if not found.faults:
                pixels: NDArray[np.uint8] = found.pixels[0]
                return pixels
        raise ValueError(f"no image of the class of {printable(self.files.path(row))} can be read")


class _Once:
    """An iterable for the DataLoader, which would turn a generator down."""

    def __init__(self, iterator: Iterator[list[int]]) -> None:
        self._iterator = iterator

    def __iter__(self) -> Iterator[list[int]]:
        return self._iterator


def _as_it_is(part: Any) -> Any:
    return part


def _end_with_the_main_process(worker: int) -> None:
    """A signal to all processes of a run is for the main one, which finishes its step and needs the images for it.

    A decoding process ends when the main process says so or is gone, whatever it is doing.
    """
    main = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(signal, "sigtimedwait"):  # macOS
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def watch() -> None:
        while os.getppid() == main:
            received = signal.sigtimedwait({signal.SIGTERM}, 1.0)
            if received is not None and received.si_pid == main:
                break
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
