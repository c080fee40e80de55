"""What may be said about a set of images, checked when it is said.

Nothing heavy is imported here: a request is made of these settings before torch is needed.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from latency_tables.files import from_fields, shown

NAMES = ("digits", "folder", "cifar10")
ON_UNREADABLE = ("skip", "fail")
MEMORY_GB = 1.5
"""By default, decoded images that need more are read while training: two processes of two GB fit a small machine."""
MOST_VALUE = 1e30
"""Of `DataSettings.value_range`, of either sign."""
_LISTS = ("mean", "std", "value_range")
LEAST_STD = 0.001
"""Of `DataSettings.std`; 1/255 leaves pixels from 0 to 255."""


@dataclass(frozen=True)
class DataSettings:
    """A set of images and how it is read.

    Attributes
    ----------
    name : ``digits`` (ships with scikit-learn), ``folder`` (your images) or ``cifar10`` (on your disk).
    root : the folder of the images; not for digits.
    resolution : side in pixels at which images are kept, the largest that a network will read; None follows from the
        images and the search space, see `nas.data.resolution`.
    validation_fraction : share of the training images kept back for searching, where there is no folder for them.
    test_fraction : share of the training images kept back for the test, where there is no folder for it.
    seed : of the splits. Keep it when only the training's seed is to change.
    on_unreadable : ``skip`` an unreadable image and say so, or ``fail``.
    flip : whether training may mirror images; by default all but digits are.
    memory_gb : decoded images that need more (in GB of 1e9 bytes; 3 * resolution^2 bytes each) are read from their
        files while training, or refused for CIFAR-10; by default 1.5.
    workers : processes that decode; by default one for each core. Results are the same with any number.
    mean, std : that pixels are normalised by, three numbers each, in units of pixel / 255; by default what the trained
        weights expect that training starts from, or those of the training images.
    value_range : of a folder, the two values of deep pictures (16 or 32 bits, floating point) that become black and
        white; by default found from the training images, see `nas.data.depth`. The others' range is 0 to 255.

    Raises
    ------
    ValueError : a value that cannot work.
    """

    name: str = "digits"
    root: str | None = None
    resolution: int | None = None
    validation_fraction: float = 0.2
    test_fraction: float = 0.2
    seed: int = 0
    on_unreadable: str = "skip"
    flip: bool | None = None
    memory_gb: float | None = None
    workers: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.root, os.PathLike):
            object.__setattr__(self, "root", os.fspath(self.root))
        if self.name not in NAMES:
            raise ValueError(f"unknown data {self.name!r}; known: {', '.join(NAMES)}")
        if self.on_unreadable not in ON_UNREADABLE:
            raise ValueError(f"data.on_unreadable is {' or '.join(ON_UNREADABLE)}, not {self.on_unreadable!r}")
        for name, kind, word in (
            ("root", str, "a folder"),
            ("resolution", int, "a whole number of pixels"),
            ("seed", int, "a whole number"),
            ("validation_fraction", (int, float), "a number"),
            ("test_fraction", (int, float), "a number"),
            ("memory_gb", (int, float), "a number"),
            ("workers", int, "a whole number"),
            ("flip", bool, "true or false"),
        ):
            value = getattr(self, name)
            optional = name not in ("seed", "validation_fraction", "test_fraction")
            wrong = not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)
            if wrong and not (optional and value is None):
                raise ValueError(f"data.{name} must be {word}, got {value!r}")
        if self.resolution is not None and not 8 <= self.resolution <= 4096:
            raise ValueError(f"data.resolution must be at least 8 pixels and at most 4096, got {self.resolution}")
        validation, test = self.validation_fraction, self.test_fraction
        if not (validation > 0 and test > 0 and validation + test < 1):
            raise ValueError(
                "validation_fraction and test_fraction must be positive and together below 1, "
                f"got {validation} and {test}"
            )
        if self.name != "digits" and not self.root:
            raise ValueError(f"data={self.name} needs the folder of its images: data.root=PATH")
        for name in ("memory_gb", "seed", "workers"):
            if (value := getattr(self, name)) is not None and not value >= 0:
                raise ValueError(f"data.{name} must not be negative, got {value}")
        self._check_normalisation()
        self._check_value_range()

    def _check_normalisation(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise ValueError("data.mean and data.std go together, like data.mean=[.5,.5,.5] data.std=[.5,.5,.5]")
        for name, least in (("mean", 0.0), ("std", LEAST_STD)):
            value = getattr(self, name)
            if value is None:
                continue
            numbers = list(value) if isinstance(value, list | tuple) else []
            if len(numbers) != 3 or not all(_is_within(number, least, 1) for number in numbers):
                raise ValueError(
                    f"data.{name} must be three numbers from {least:g} to 1, in units of pixel / 255, like [.5,.5,.5]; "
                    f"got {shown(value)}"
                )
            object.__setattr__(self, name, tuple(map(float, numbers)))

    def _check_value_range(self) -> None:
        value = self.value_range
        if value is None:
            return
        numbers = list(value) if isinstance(value, list | tuple) else []
        if (
            len(numbers) != 2
            or not all(_is_within(n, -MOST_VALUE, MOST_VALUE) for n in numbers)
            or numbers[0] >= numbers[1]
        ):
            raise ValueError(
                "data.value_range must be the two values that become black and white, the smaller first, like "
                f"[0,4095]; got {shown(value)}"
            )
        if self.name != "folder":
            raise ValueError(f"data.value_range is for a folder of pictures, not for {self.name}; leave it out")
        object.__setattr__(self, "value_range", tuple(map(float, numbers)))

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """From a mapping of the fields.

        Raises
        ------
        ValueError : a field that there is not, or a value that cannot work.
        """
        return from_fields(cls, settings, "data.")

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, complete."""
        values = asdict(self)
        return values | {name: list(values[name]) for name in _LISTS if values[name] is not None}

    def portable(self) -> dict[str, Any]:
        """As `as_dict`, with an absolute root, so that a later run finds the images from anywhere."""
        root = {} if self.root is None else {"root": os.path.realpath(os.path.expanduser(self.root))}
        return self.as_dict() | root

    def deciding(self) -> dict[str, Any]:
        """The settings that what a network reads follows from, beside the contents of the folder."""
        left_out = ["root", "memory_gb", "workers"]
        if self.mean is None:  # a training without them is the one that it was before there were these settings
            left_out += ["mean", "std"]
        if self.value_range is None:
            left_out += ["value_range"]
        return {name: value for name, value in self.as_dict().items() if name not in left_out}


def names_folder(given: str) -> bool:
    """Whether what is given for images is their folder, and no name of `NAMES`."""
    return "/" in given or given.startswith((".", "~")) or os.path.isdir(given)


def _is_within(number: Any, least: float, most: float) -> bool:
    """Whether it is a number from `least` to `most`."""
    plain = isinstance(number, int | float) and not isinstance(number, bool)
    return plain and least <= number <= most
