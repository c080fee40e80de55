"""Synthetic images in place of a training set that is not at hand, in one PNG file that can be looked at.

The file holds square tiles, row by row. Networks see them only to calibrate batch-norm and the ranges of int8, and to
be compared with their exported files; they have no labels, so no accuracy can be judged on them.
"""

from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from latency_tables.files import atomic_path
from nas.data.dataset import ImageData, Split


def write_calibration_images(path: Path, images: Tensor) -> None:
    """Write uint8 `images` (n, 3, side, side), n a square number, as the tiles of a square picture."""
    n, channels, side, _ = images.shape
    rows = isqrt(n)
    if rows * rows != n:
        raise ValueError(f"the file holds a square number of images, got {n}")
    tiles = images.view(rows, rows, channels, side, side).permute(0, 3, 1, 4, 2)
    with atomic_path(path) as temporary:
        Image.fromarray(tiles.reshape(rows * side, rows * side, channels).numpy()).save(
            temporary, format="png", optimize=True
        )


def read_calibration_images(path: Path, side: int) -> Tensor:
    """The uint8 images (n, 3, side, side) of such a file.

    Raises
    ------
    ValueError : the file is damaged, or does not hold tiles of that side.
    """
    try:
        with Image.open(path) as opened:
            picture = np.asarray(opened.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    height, width, channels = picture.shape
    if height % side or width % side:
        raise ValueError(f"{path} does not hold images of {side} x {side} pixels: it has {width} x {height} pixels")
    tiles = picture.reshape(height // side, side, width // side, side, channels).transpose(0, 2, 4, 1, 3)
    return torch.from_numpy(tiles.reshape(-1, channels, side, side).copy())


def read_synthetic_data(path: Path, card: Mapping[str, Any]) -> ImageData:
    """`synthetic_data` of the images in such a file, whose side `card` says.

    Raises
    ------
    ValueError : see `read_calibration_images`.
    """
    data = card["data"]
    return synthetic_data(read_calibration_images(path, data.get("calibration_side", data["resolution"])), card)


def synthetic_data(images: Tensor, card: Mapping[str, Any]) -> ImageData:
    """What `card` says of the training's images, with `images` in their place and nothing to judge accuracy on.

    Parameters
    ----------
    images : uint8 tensor of shape (n, 3, side, side).
    card : of a trained supernet; its ``data``, ``classes``, ``mean`` and ``std`` are read.
    """
    unlabelled = torch.full((len(images),), -1, dtype=torch.int64)
    split = Split(images, unlabelled, tuple(f"synthetic {i}" for i in range(len(images))))
    nothing = split.take(np.empty(0, dtype=np.int64))
    data = card["data"]
    mean, std = card["mean"], card["std"]
    return ImageData(
        name=data["name"],
        classes=tuple(card["classes"]),
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        train=split,
        validation=nothing,
        test=nothing,
        stands_for=data["fingerprint"],
    )
