"""CIFAR-10 from the binary version on the user's disk; nothing is downloaded.

Learning multiple layers of features from tiny images (2009), https://www.cs.toronto.edu/~kriz/cifar.html.
The Python version that torchvision keeps is pickled, and unpickling runs whatever code the file holds, so
only the binary version is read: records of one label byte and 3,072 pixels, red first.
"""

from pathlib import Path

import numpy as np
import torch

from nas.data.dataset import Split
from nas.data.transforms import resize

FOLDER = "cifar-10-batches-bin"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE
_AT_ONCE = 1024
"""Images that are resized at a time: the numbers in between take four times the memory of what comes out."""


def read_cifar10(root: Path, resolution: int) -> tuple[Split, Split, tuple[str, ...]]:
    """The 50,000 training and 10,000 test images, and the names of their classes.

    Raises
    ------
    ValueError : the binary version is not there, or a file of it is damaged.
    """
    folder = root if (root / "test_batch.bin").is_file() else root / FOLDER
    if not (folder / "test_batch.bin").is_file():
        found = "only the pickled Python version" if (root / "cifar-10-batches-py").is_dir() else "no CIFAR-10"
        raise ValueError(
            f"{root} holds {found}; unpack the binary version (cifar-10-binary.tar.gz) there, "
            "or use an image folder with data=folder data.root=..."
        )
    train = _read([folder / f"data_batch_{i}.bin" for i in range(1, 6)], resolution)
    return train, _read([folder / "test_batch.bin"], resolution), CLASSES


def _read(files: list[Path], resolution: int) -> Split:
    records, names = [], []
    for file in files:
        if not file.is_file():
            raise ValueError(f"{file} is missing; unpack cifar-10-binary.tar.gz again")
        content = np.fromfile(file, dtype=np.uint8)
        if content.size == 0 or content.size % RECORD or content[::RECORD].max() >= len(CLASSES):
            raise ValueError(f"{file} is not a CIFAR-10 batch of {RECORD}-byte records; unpack the archive again")
        records.append(content.reshape(-1, RECORD))
        names += [f"{file.stem}/{index}" for index in range(len(records[-1]))]
    rows = torch.from_numpy(np.concatenate(records))
    small = rows[:, 1:].reshape(-1, 3, SIDE, SIDE)
    images = torch.empty((len(rows), 3, resolution, resolution), dtype=torch.uint8)
    for some, part in zip(torch.split(images, _AT_ONCE), torch.split(small, _AT_ONCE), strict=True):
        some[:] = resize(part, resolution)
    return Split(images, rows[:, 0].to(torch.int64), tuple(names))
