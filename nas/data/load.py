"""The data sets by name, each read, split and described in the same way."""

from pathlib import Path

from nas.data.cifar10 import SIDE as CIFAR10_SIDE
from nas.data.cifar10 import read_cifar10
from nas.data.dataset import ImageData, Split
from nas.data.digits import SIDE as DIGITS_SIDE
from nas.data.digits import read_digits
from nas.data.folder import SplitName
from nas.data.pictures import read_pictures
from nas.data.resolution import resolution_sentence, side_for
from nas.data.settings import DataSettings
from nas.data.splits import missing_splits
from nas.data.statistics import channel_statistics
from nas.progress import SILENT, Listener


def load_data(settings: DataSettings, listener: Listener = SILENT, largest: int | None = None) -> ImageData:
    """Read a set of images and split it; decoded once into memory, or read while training where that is too much.

    Parameters
    ----------
    settings : which images, and how they are read.
    listener : is told of the images, their size, and whatever is odd about them.
    largest : resolution that the search space reads; the images are kept at it, unless the settings say otherwise.

    Raises
    ------
    ValueError : a missing or unusable folder, splits that leave a class without images.
    """
    asked, flip = settings.resolution, settings.flip
    if settings.name == "folder":
        pictures = read_pictures(settings, listener, largest)
        splits, classes = pictures.splits, pictures.classes
        skipped, content, value_range = pictures.skipped, pictures.content, pictures.value_range
    else:
        skipped, content, value_range = (), None, None
        typical = DIGITS_SIDE if settings.name == "digits" else CIFAR10_SIDE
        side = side_for(typical, largest, asked)
        if settings.name == "digits":
            flip = bool(flip)
            pool, classes = read_digits(side)
            given: dict[SplitName, Split] = {"train": pool}
        else:
            train, test, classes = read_cifar10(Path(str(settings.root)).expanduser(), side)
            given = {"train": train, "test": test}
        n = sum(len(split) for split in given.values())
        listener.say(resolution_sentence(n, len(classes), typical, side, asked is not None, largest is not None))
        labels = {name: split.labels.numpy() for name, split in given.items()}
        fractions: dict[SplitName, float] = {
            "validation": settings.validation_fraction,
            "test": settings.test_fraction,
        }
        origin = missing_splits(labels, fractions, settings.seed, classes)
        splits = {name: given[source].take(rows) for name, (source, rows) in origin.items()}
    train = splits["train"]
    sizes = ", ".join(f"{len(split):,} {_IN_WORDS[name]}" for name, split in splits.items())
    # Where an unreadable image is to end the run, this is what finds it.
    statistics = channel_statistics(train, content if settings.on_unreadable == "skip" else None, listener)
    data = ImageData(
        name=settings.name,
        classes=classes,
        mean=settings.mean or statistics.mean,
        std=settings.std or statistics.std,
        train=train,
        validation=splits["validation"],
        test=splits["test"],
        seed=settings.seed,
        flip=True if flip is None else flip,
        skipped=skipped,
        content=content,
        value_range=value_range,
    )
    listener.say(f"splits: {sizes}")
    for remark in statistics.remarks:
        listener.say(f"careful: {remark}")
    return data


_IN_WORDS = {"train": "to train on", "validation": "for search-validation", "test": "for the test"}
