"""Labelled images, and the record of how they were split.

Pixels are uint8 in [0, 255] at one resolution; `mean` and `std` are in units of pixel / 255.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data.streaming import Rows, StreamedImages

OFTEN_OTHERS_BY = "perhaps by data.memory_gb, as only in memory all copies and unreadable images are left out"
"""Why images may be others than those of a training, though nobody has changed them."""


@dataclass(frozen=True, eq=False)
class Split:
    """Some labelled images, in memory or in their files. `batch`, `batches` and `BatchReader` work for both.

    Attributes
    ----------
    images : uint8 tensor of shape (n, 3, side, side), or what reads them from their files.
    labels : int64 tensor of shape (n,).
    names : where each image came from: its path below the root, or its index in the published set.
    """

    images: Tensor | StreamedImages
    labels: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def side(self) -> int:
        """Of the images, in pixels."""
        return self.images.side if isinstance(self.images, StreamedImages) else int(self.images.shape[-1])

    @property
    def streamed(self) -> bool:
        """Whether the images are read from their files whenever they are needed."""
        return isinstance(self.images, StreamedImages)

    def batch(self, rows: Rows) -> Tensor:
        """The images at `rows`, uint8 of shape (len(rows), 3, side, side)."""
        if isinstance(self.images, StreamedImages):
            return self.images.batch(rows)
        return self.images[torch.from_numpy(rows)]

    def batches(self, size: int, rows: Rows | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels, `size` at a time and in order: all of them, or those at `rows`."""
        chosen = np.arange(len(self)) if rows is None else rows
        parts = [chosen[start : start + size] for start in range(0, len(chosen), size)]
        images = self.images.batches(parts) if isinstance(self.images, StreamedImages) else map(self.batch, parts)
        for part, some in zip(parts, images, strict=True):
            yield some, self.labels[torch.from_numpy(part)]

    def take(self, rows: Rows) -> "Split":
        """The images at `rows`, copied."""
        images = self.images.take(rows) if isinstance(self.images, StreamedImages) else self.batch(rows)
        return Split(images, self.labels[torch.from_numpy(rows)], tuple(self.names[row] for row in rows))

    def digest(self) -> str:
        """SHA-256 of pixels and labels."""
        digest = hashlib.sha256(repr((len(self), 3, self.side, self.side)).encode())
        digest.update(self.labels.numpy().tobytes())
        for images, _ in self.batches(1024):
            digest.update(np.ascontiguousarray(images.numpy()).data)
        return digest.hexdigest()


class BatchReader:
    """Batches of a split by number, the following ones read ahead where the images are in their files.

    What a step gets depends on its number alone: not on what was read before, nor on how many processes decode.

    Parameters
    ----------
    split : read from.
    rows_of : the rows of a step.
    n_steps : nothing is read ahead beyond them.
    device : on which the images are wanted. Those in memory are moved there once, where they take at most a quarter of
        a GPU's free memory.
    """

    def __init__(self, split: Split, rows_of: Callable[[int], Rows], n_steps: int, device: torch.device) -> None:
        self._split, self._rows_of, self._n_steps, self._device = split, rows_of, n_steps, device
        self._images = None if isinstance(split.images, StreamedImages) else _near(split.images, device)
        self._labels = split.labels.to(device)
        self._last: tuple[int, Tensor] | None = None
        self._ahead: Iterator[Tensor] = iter(())

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Uint8 images and labels of a step, on the device."""
        rows = torch.from_numpy(self._rows_of(step))
        there = rows.to(self._device, non_blocking=True)
        if self._images is None:
            images = self._streamed(step)
        else:
            images = self._images[there if self._images.device.type == self._device.type else rows]
        return images.to(self._device, non_blocking=True), self._labels[there]

    def _streamed(self, step: int) -> Tensor:
        assert isinstance(self._split.images, StreamedImages)
        if self._last is not None and self._last[0] == step:
            return self._last[1]
        if self._last is None or self._last[0] != step - 1:
            self._ahead = self._split.images.batches(map(self._rows_of, range(step, max(step + 1, self._n_steps))))
        self._last = step, next(self._ahead)
        return self._last[1]


def _near(images: Tensor, device: torch.device) -> Tensor:
    if device.type != "cuda" or images.numel() > torch.cuda.mem_get_info(device)[0] / 4:
        return images
    return images.to(device)


@dataclass(frozen=True, eq=False)
class ImageData:
    """A set of images, split for training, for searching (validation) and for reporting (test).

    Attributes
    ----------
    name : as given to `load_data`.
    classes : names of the classes; a label is an index into it.
    mean, std : that pixels are normalised by, one for each channel, in units of pixel / 255: of the train split, unless
        the settings or trained weights say otherwise.
    train, validation, test : disjoint splits with every class in each.
    seed : the splits follow from it.
    flip : whether a mirrored image still shows its class; training then mirrors half of them.
    skipped : names of image files that could not be read.
    content : digest of the files and settings that the images follow from; None where their pixels are to be hashed.
    value_range : that deep pictures were brought to eight bits by; None where there are none.
    trained_before : names of images that the weights from which training starts had been trained on.
    stands_for : fingerprint of the images that those in `train` stand in for. They are synthesised then, without
        labels, and the other splits are empty.
    """

    name: str
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    train: Split
    validation: Split
    test: Split
    seed: int = 0
    flip: bool = False
    skipped: tuple[str, ...] = ()
    content: str | None = None
    value_range: tuple[float, float] | None = None
    trained_before: tuple[str, ...] = ()
    stands_for: str | None = None

    @property
    def labelled(self) -> bool:
        """Whether networks can be trained and judged on these images."""
        return self.stands_for is None

    def require_labels(self, what: str) -> None:
        """Refuse `what` where these images only stand in for others.

        Raises
        ------
        ValueError : they do.
        """
        if not self.labelled:
            raise ValueError(
                f"{what} needs the images that the supernet was trained on, which do not come with it; "
                f"type nas search --supernet {self.name} --data PATH to use them"
            )

    @property
    def resolution(self) -> int:
        """Side at which the images are kept, in pixels."""
        return self.train.side

    @cached_property
    def class_counts(self) -> dict[str, NDArray[np.int64]]:
        """Images of each class by split, in the order of `classes`."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {
            name: np.bincount(split.labels.numpy()[split.labels.numpy() >= 0], minlength=len(self.classes))
            for name, split in splits.items()
        }

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the images, their classes and their splits; of the images stood in for, where they are others."""
        if self.stands_for is not None:
            return self.stands_for
        parts: tuple[Any, ...]
        if self.content is not None:
            parts = (self.content, self.resolution, len(self.train), len(self.validation), len(self.test))
        else:
            parts = (self.train.digest(), self.validation.digest(), self.test.digest())
        return hashlib.sha256("\n".join(map(str, (repr(self.classes), *parts))).encode()).hexdigest()

    def splits(self) -> dict[str, Any]:
        """What went where, as written to ``splits.json``: names by split, seed and fingerprint."""
        return {
            "data": self.name,
            "seed": self.seed,
            "fingerprint": self.fingerprint,
            "classes": list(self.classes),
            "class_counts": {name: counts.tolist() for name, counts in self.class_counts.items()},
            "resolution": self.resolution,
            "skipped": list(self.skipped),
            "train": list(self.train.names),
            "validation": list(self.validation.names),
            "test": list(self.test.names),
            **({"trained_before": list(self.trained_before)} if self.trained_before else {}),
        }
