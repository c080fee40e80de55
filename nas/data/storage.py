"""Room for decoded images: in memory or, where they are too many for it, in a temporary file.

The file is mapped, so that the system reads what a batch asks for and keeps in memory what there is room for. It has
no name: it goes when the process goes, in whatever way.
"""

import os
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def half_of_memory() -> float:
    """Half of this machine's memory, in GB of 1e9 bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2e9


def temporary_folder() -> Path:
    """Where temporary files are kept: TMPDIR, else /var/tmp, which is on a disk where /tmp may be memory."""
    return Path(os.environ.get("TMPDIR") or ("/var/tmp" if os.path.isdir("/var/tmp") else tempfile.gettempdir()))


def allocate(shape: tuple[int, ...], in_file: bool) -> NDArray[np.uint8]:
    """Room for bytes of `shape`, in memory or in a temporary file.

    Raises
    ------
    ValueError : the file does not fit on its disk.
    """
    if not in_file:
        return np.empty(shape, dtype=np.uint8)
    size, folder = int(np.prod(shape)), temporary_folder()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            # Blocks of its own, or a full disk would end the process at some later write.
            os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype=np.uint8, mode="r+", shape=shape)
    except OSError as error:
        raise ValueError(
            f"the decoded images need {size / 1e9:.1f} GB in {folder}, which cannot be had ({error.strerror}); "
            "set TMPDIR to a folder on a larger disk, or use a smaller data.resolution"
        ) from error


class ReadAhead:
    """Batches of `images`, the next one read by a thread while the last one is trained on.

    What is read does not depend on what was read ahead.
    """

    def __init__(self, images: Tensor) -> None:
        self.images = images
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._ahead: tuple[Tensor, Future[Tensor]] | None = None

    def batch(self, rows: Tensor, following: Tensor | None = None) -> Tensor:
        """The images at `rows`; begins to read those at `following`, if any."""
        if self._ahead is None or not torch.equal(self._ahead[0], rows):
            self._ahead = self._begin(rows)
        images = self._ahead[1].result()
        self._ahead = None if following is None else self._begin(following)
        return images

    def _begin(self, rows: Tensor) -> tuple[Tensor, Future[Tensor]]:
        return rows, self._thread.submit(self.images.index_select, 0, rows)
