"""Decoded images with their labels, and the record of how they were split.

Pixels are uint8 in [0, 255], stored at one resolution; `mean` and `std` are of the train split in units of
pixel / 255.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.data.storage import allocate


@dataclass(frozen=True, eq=False)
class Split:
    """Some labelled images.

    Attributes
    ----------
    images : uint8 tensor of shape (n, 3, side, side).
    labels : int64 tensor of shape (n,).
    names : where each image came from: its path below the root, or its index in the published set.
    in_file : whether the images are in a temporary file and not in memory; see `nas.data.storage`.
    """

    images: Tensor
    labels: Tensor
    names: tuple[str, ...]
    in_file: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> "Split":
        """The images at `rows`, copied."""
        images = torch.from_numpy(allocate((len(rows), *self.images.shape[1:]), self.in_file))
        for copied, chunk in zip(torch.split(images, 1024), torch.split(torch.from_numpy(rows), 1024), strict=True):
            copied.copy_(self.images[chunk])
        names = tuple(self.names[row] for row in rows)
        return Split(images, self.labels[torch.from_numpy(rows)], names, self.in_file)

    def near(self, device: torch.device) -> Tensor:
        """The images, on a GPU where they take at most a quarter of its free memory, else where they are."""
        if device.type != "cuda" or self.in_file or self.images.numel() > torch.cuda.mem_get_info(device)[0] / 4:
            return self.images
        return self.images.to(device)

    def digest(self) -> str:
        """SHA-256 of pixels and labels."""
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        digest.update(self.labels.numpy().tobytes())
        digest.update(np.ascontiguousarray(self.images.numpy()).data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class ImageData:
    """A set of images, split for training, for searching (validation) and for reporting (test).

    Attributes
    ----------
    name : as given to `load_data`.
    classes : names of the classes; a label is an index into it.
    mean, std : of the train split, one for each channel, in units of pixel / 255.
    train, validation, test : disjoint splits with every class in each.
    seed : the splits follow from it.
    flip : whether a mirrored image still shows its class; training then mirrors half of them.
    skipped : names of image files that could not be read.
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
                "search with --data PATH to use them"
            )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the classes and of every pixel and label in its split; of the images stood in for."""
        if self.stands_for is not None:
            return self.stands_for
        parts = (repr(self.classes), self.train.digest(), self.validation.digest(), self.test.digest())
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def splits(self) -> dict[str, Any]:
        """What went where, as written to ``splits.json``: names by split, seed and fingerprint."""
        return {
            "data": self.name,
            "seed": self.seed,
            "fingerprint": self.fingerprint,
            "classes": list(self.classes),
            "resolution": int(self.train.images.shape[-1]),
            "skipped": list(self.skipped),
            "train": list(self.train.names),
            "validation": list(self.validation.names),
            "test": list(self.test.names),
        }


def channel_statistics(images: Tensor) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of each channel of uint8 `images`, in units of pixel / 255."""
    total = torch.zeros(3, dtype=torch.int64)
    squares = torch.zeros(3, dtype=torch.int64)
    for chunk in torch.split(images, 1024):  # exact integers, and never a float copy of the whole set
        pixels = chunk.to(torch.int64)
        total += pixels.sum(dim=(0, 2, 3))
        squares += pixels.square_().sum(dim=(0, 2, 3))
    count = images.numel() / 3
    mean = total.double() / count
    # A channel that never changes has no scale of its own; one grey level stands in for it.
    std = (squares.double() / count - mean.square()).clamp(min=1.0).sqrt()
    (m0, m1, m2), (s0, s1, s2) = (mean / 255).tolist(), (std / 255).tolist()
    return (m0, m1, m2), (s0, s1, s2)
