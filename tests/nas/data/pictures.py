"""Image folders made for a test."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nas.data import DataSettings, ImageData, load_data
from nas.progress import Listener


def photo(path: Path, seed: int, size: tuple[int, int] = (20, 16)) -> Path:
    """A picture unlike those of other seeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, size=(size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def photos(root: Path, folders: Iterable[str], n: int = 5) -> Path:
    """`n` pictures in each folder below `root`, all different."""
    for number, folder in enumerate(folders):
        for i in range(n):
            photo(root / folder / f"{i}.png", 1000 * number + i)
    return root


def read(root: Path | str, **settings: Any) -> tuple[ImageData, str]:
    """The images at 16 pixels, and all that was said of them."""
    said: list[str] = []
    data = load_data(DataSettings("folder", str(root), **{"resolution": 16} | settings), Listener(say=said.append))
    return data, "\n".join(said)


def names(data: ImageData) -> list[str]:
    """Of all images of all splits."""
    return sorted(data.train.names + data.validation.names + data.test.names)
