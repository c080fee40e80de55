"""The data sets by name, each read, split and described in the same way."""

from pathlib import Path
from typing import Literal, get_args

from nas.data.cifar10 import read_cifar10
from nas.data.dataset import ImageData, Split, channel_statistics
from nas.data.digits import read_digits
from nas.data.folder import OnUnreadable, read_folder
from nas.data.storage import half_of_memory
from nas.data.stratify import stratified_split

DataName = Literal["digits", "folder", "cifar10"]


def load_data(
    name: str = "digits",
    root: str | Path | None = None,
    resolution: int | None = None,
    validation_fraction: float = 0.2,
    test_fraction: float = 0.2,
    seed: int = 0,
    on_unreadable: OnUnreadable = "skip",
    flip: bool | None = None,
    memory_gb: float | None = None,
    workers: int | None = None,
) -> ImageData:
    """Read a set of images, decode them once and split it.

    Parameters
    ----------
    name : ``digits`` (ships with scikit-learn), ``folder`` (your images) or ``cifar10`` (on your disk).
    root : the folder of the images; not for digits.
    resolution : side in pixels at which images are stored; give the largest that a network will read.
    validation_fraction : share of the training images kept back for searching.
    test_fraction : share kept back for test, where the data has no test split of its own.
    seed : of the splits. Keep it when only the training's seed is to change.
    on_unreadable : ``skip`` an unreadable image with a warning, or ``fail``.
    flip : whether training may mirror images; by default all but digits are.
    memory_gb : a folder whose decoded images need more (in GB of 1e9 bytes; twice 3 * resolution^2 for each) is
        kept in a temporary file; half of the machine's memory by default. Results are the same.

    Raises
    ------
    ValueError : unknown name, missing or unusable folder, fractions that leave nothing to train on.
    """
    resolution = resolution or 32
    if name not in get_args(DataName):
        raise ValueError(f"unknown data {name!r}; known: {', '.join(get_args(DataName))}")
    if on_unreadable not in get_args(OnUnreadable):
        raise ValueError(f"on_unreadable is {' or '.join(get_args(OnUnreadable))}, not {on_unreadable!r}")
    if resolution < 8:
        raise ValueError(f"data.resolution must be at least 8 pixels, got {resolution}")
    if not (validation_fraction > 0 and test_fraction > 0 and validation_fraction + test_fraction < 1):
        raise ValueError(
            "validation_fraction and test_fraction must be positive and together below 1, "
            f"got {validation_fraction} and {test_fraction}"
        )
    if name != "digits" and root is None:
        raise ValueError(f"data={name} needs the folder of its images: data.root=PATH")
    if memory_gb is not None and not memory_gb >= 0:
        raise ValueError(f"data.memory_gb must not be negative, got {memory_gb}")
    if seed < 0:
        raise ValueError(f"data.seed must not be negative, got {seed}")

    test: Split | None = None
    skipped: tuple[str, ...] = ()
    if name == "digits":
        pool, classes = read_digits(resolution)
    elif name == "cifar10":
        pool, test, classes = read_cifar10(Path(str(root)).expanduser(), resolution)
    else:
        limit = half_of_memory() if memory_gb is None else memory_gb
        pool, test, classes, skipped = read_folder(Path(str(root)).expanduser(), resolution, on_unreadable, limit)

    labels = pool.labels.numpy()
    if test is None:
        kept, validation_rows, test_rows = stratified_split(labels, (validation_fraction, test_fraction), seed, classes)
        test = pool.take(test_rows)
    else:
        kept, validation_rows = stratified_split(labels, (validation_fraction,), seed, classes)
    train = pool.take(kept)
    mean, std = channel_statistics(train.images)
    return ImageData(
        name=name,
        classes=classes,
        mean=mean,
        std=std,
        train=train,
        validation=pool.take(validation_rows),
        test=test,
        seed=seed,
        flip=name != "digits" if flip is None else flip,
        skipped=skipped,
    )
