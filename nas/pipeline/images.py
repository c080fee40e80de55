"""How many images a request has, counted before any of them is decoded."""

from collections.abc import Sequence
from pathlib import Path

from nas.data.folder import read_layout
from nas.data.settings import DataSettings


def count_images(data: DataSettings) -> int | None:
    """The number of training images, which are listed and not decoded; None where it is known to be enough.

    Raises
    ------
    ValueError : the folder is missing, or cannot be read as classes of images.
    """
    if data.name == "digits" and data.root is not None:
        raise ValueError(f"the digits come with scikit-learn and take no folder; type --data {data.root} for your own")
    if data.name != "folder":
        root = Path(str(data.root)).expanduser()
        if data.name == "cifar10" and not root.is_dir():
            raise ValueError(f"the folder {root} of CIFAR-10 does not exist; unpack cifar-10-binary.tar.gz there")
        return None
    layout = read_layout(str(data.root))
    kept_back = [
        fraction
        for split, fraction in (("validation", data.validation_fraction), ("test", data.test_fraction))
        if split not in layout.files
    ]
    return sum(_left(of_class, kept_back) for of_class in layout.files["train"])


def _left(of_class: Sequence[str], kept_back: Sequence[float]) -> int:
    """Of the images of a class, those that stay for training; each other split gets one at least."""
    return len(of_class) - sum(max(1, round(fraction * len(of_class))) for fraction in kept_back)
