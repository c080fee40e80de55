"""Image folders: one folder for each class, decoded by threads once and kept as uint8 tensors.

Either ``root/train/<class>/...`` with ``root/test/<class>/...``, or ``root/<class>/...`` to be split by
seed. Any mode and size: an image is turned as its camera held it, made RGB, its shorter side resized to the
storage resolution, and cropped to the centre square.
"""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from nas.data.dataset import Split
from nas.data.storage import allocate, temporary_folder

logger = logging.getLogger(__name__)

EXTENSIONS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
OnUnreadable = Literal["skip", "fail"]


class Folder(NamedTuple):
    """What an image folder holds; `test` is None where the seed has to choose it."""

    train: Split
    test: Split | None
    classes: tuple[str, ...]
    skipped: tuple[str, ...]


def read_folder(root: Path, resolution: int, on_unreadable: OnUnreadable, memory_gb: float) -> Folder:
    """Read every image below `root`, into a temporary file where all of them need more than `memory_gb` of memory.

    Raises
    ------
    ValueError : the folder is missing, empty, has one class, has ``train`` without ``test`` or classes in
        one that the other lacks; or an image cannot be read and `on_unreadable` is ``fail``.
    """
    if not root.is_dir():
        raise ValueError(f"the image folder {root} does not exist; give one with a folder for each class")
    splits = [root]
    if (root / "train").is_dir():
        if not (root / "test").is_dir():
            raise ValueError(
                f"{root} has train/ but no test/; add it, or split train/ by seed with data.root={root / 'train'}"
            )
        splits = [root / "train", root / "test"]
    classes, *others = [_class_names(folder) for folder in splits]
    for found in others:
        if found != classes:
            differing = ", ".join(sorted(set(found) ^ set(classes)))
            raise ValueError(
                f"train/ and test/ of {root} must have the same classes; only one of them has: {differing}"
            )
    files = [_files(folder, classes) for folder in splits]
    # Splitting copies them once.
    gb = 2 * sum(len(of_class) for split in files for of_class in split) * 3 * resolution**2 / 1e9
    if in_file := gb > memory_gb:
        logger.info(
            "decoded, the images need %.1f GB, more than data.memory_gb=%g: they go to a temporary file in %s",
            gb, memory_gb, temporary_folder(),
        )  # fmt: skip
    read = [_read_split(root, split, resolution, on_unreadable, in_file) for split in files]
    return Folder(read[0][0], read[1][0] if others else None, classes, sum((skipped for _, skipped in read), ()))


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if not names:
        raise ValueError(f"{folder} has no class folders; put the images into one folder for each class")
    if len(names) == 1:
        raise ValueError(f"{folder} has one class, {names[0]!r}; a classifier needs at least two class folders")
    return names


def _files(folder: Path, classes: Sequence[str]) -> list[list[Path]]:
    """The image files of each class, sorted."""
    files = []
    for name in classes:
        found = sorted(p for p in (folder / name).rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file())
        if not found:
            raise ValueError(f"the class folder {folder / name} has no images ({', '.join(sorted(EXTENSIONS))})")
        files.append(found)
    return files


def _read_split(
    root: Path, by_class: Sequence[Sequence[Path]], resolution: int, on_unreadable: OnUnreadable, in_file: bool
) -> tuple[Split, tuple[str, ...]]:
    files = [file for of_class in by_class for file in of_class]
    labels = [label for label, of_class in enumerate(by_class) for _ in of_class]
    images = allocate((len(files), 3, resolution, resolution), in_file)

    def decode(row: int) -> str | None:
        """Fill `row`; what is wrong with its file, else None."""
        try:
            images[row] = _read_image(files[row], resolution)
        # Pillow reports damage as any of these, by format.
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            if on_unreadable == "fail":
                raise ValueError(f"the image {files[row]} cannot be read: {error}") from error
            return str(error)
        return None

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        faults = list(threads.map(decode, range(len(files))))
    bad = [row for row, fault in enumerate(faults) if fault is not None]
    if bad:
        logger.warning(
            "skipped %d of %d images in %s that cannot be read, the first: %s (%s)",
            len(bad), len(files), root, files[bad[0]], faults[bad[0]],
        )  # fmt: skip
    good = np.array([row for row, fault in enumerate(faults) if fault is None], dtype=np.int64)
    names = [file.relative_to(root).as_posix() for file in files]
    everything = Split(torch.from_numpy(images), torch.tensor(labels, dtype=torch.int64), tuple(names), in_file)
    return everything.take(good) if bad else everything, tuple(names[row] for row in bad)


def _read_image(file: Path, resolution: int) -> NDArray[np.uint8]:
    with Image.open(file) as opened:
        opened.draft("RGB", (resolution, resolution))  # lets JPEG decode at a fraction of its size
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    square = ImageOps.fit(upright, (resolution, resolution), Image.Resampling.BICUBIC)
    return np.asarray(square).transpose(2, 0, 1)
