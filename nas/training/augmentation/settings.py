"""The augmentations by name, with the parameters of each.

A recipe has a list of them, applied in that order, for instance in YAML::

    augmentation:
      - random_resized_crop
      - flip
      - {name: random_erasing, probability: 0.5}

Whatever is random in them is drawn for each image of a batch by itself.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from nas.training.checks import check_fields, check_number, check_range


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """One way to change training images; `name` is what a recipe calls it."""

    name: ClassVar[str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values that `read_augmentation` takes."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {"name": self.name} | values

    def _number(self, name: str, **bounds: Any) -> None:
        check_number(f"augmentation {self.name}", name, getattr(self, name), **bounds)

    def _range(self, name: str, *, above: float, most: float) -> None:
        check_range(f"augmentation {self.name}", name, getattr(self, name), above=above, most=most)
        low, high = getattr(self, name)
        object.__setattr__(self, name, (low, high))  # a list from YAML is the same as a tuple


@dataclass(frozen=True, kw_only=True)
class PadCrop(Augmentation):
    """Shift an image, its border pixels repeated.

    Attributes
    ----------
    padding : most stored pixels by which it moves in each direction.
    """

    name = "pad_crop"
    padding: int = 4

    def __post_init__(self) -> None:
        self._number("padding", least=0, integer=True)


@dataclass(frozen=True, kw_only=True)
class Flip(Augmentation):
    """Mirror an image left to right, if the data says that a mirrored image still shows its class (`data.flip`).

    Attributes
    ----------
    probability : share of the images that are mirrored.
    """

    name = "flip"
    probability: float = 0.5

    def __post_init__(self) -> None:
        self._number("probability", least=0, most=1)


@dataclass(frozen=True, kw_only=True)
class RandomResizedCrop(Augmentation):
    """Cut out a random rectangle and enlarge it to the stored resolution.

    Going deeper with convolutions, https://arxiv.org/abs/1409.4842, section 6.

    Attributes
    ----------
    scale : least and largest share of the image's area.
    ratio : least and largest width divided by height; drawn evenly on a logarithmic scale.
    """

    name = "random_resized_crop"
    scale: tuple[float, float] = (0.35, 1.0)
    ratio: tuple[float, float] = (0.75, 1.3333)

    def __post_init__(self) -> None:
        self._range("scale", above=0, most=1)
        self._range("ratio", above=0, most=100)


@dataclass(frozen=True, kw_only=True)
class ColorJitter(Augmentation):
    """Change brightness, contrast, saturation and hue, in this order.

    Attributes
    ----------
    brightness, contrast, saturation : the factor is drawn evenly from 1 - value to 1 + value.
    hue : largest turn of the colours, as a share of the whole circle, at most 0.5.
    """

    name = "color_jitter"
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            self._number(name, least=0, most=1)
        self._number("hue", least=0, most=0.5)


@dataclass(frozen=True, kw_only=True)
class TrivialAugment(Augmentation):
    """One operation of fourteen, at a random strength.

    TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation, https://arxiv.org/abs/2103.10158, its wide
    range of strengths. Images move by a share of their side here, not by a number of pixels.
    """

    name = "trivial_augment"


@dataclass(frozen=True, kw_only=True)
class RandAugment(Augmentation):
    """A few operations of fourteen one after another, all at the same strength.

    RandAugment: Practical automated data augmentation with a reduced search space, https://arxiv.org/abs/1909.13719.

    Attributes
    ----------
    operations : how many an image has.
    magnitude : their strength, 0 to 30.
    """

    name = "rand_augment"
    operations: int = 2
    magnitude: int = 9

    def __post_init__(self) -> None:
        self._number("operations", least=1, most=10, integer=True)
        self._number("magnitude", least=0, most=30, integer=True)


@dataclass(frozen=True, kw_only=True)
class RandomErasing(Augmentation):
    """Fill a random rectangle with the mean colour of the training images.

    Random Erasing Data Augmentation, https://arxiv.org/abs/1708.04896.

    Attributes
    ----------
    probability : share of the images that lose one.
    scale : least and largest share of the image's area.
    ratio : least and largest width divided by height; drawn evenly on a logarithmic scale.
    """

    name = "random_erasing"
    probability: float = 0.25
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)

    def __post_init__(self) -> None:
        self._number("probability", least=0, most=1)
        self._range("scale", above=0, most=1)
        self._range("ratio", above=0, most=100)


@dataclass(frozen=True, kw_only=True)
class MixUp(Augmentation):
    """Lay another image of the batch over an image; its label becomes as much of the other's.

    mixup: Beyond Empirical Risk Minimization, https://arxiv.org/abs/1710.09412. A share is drawn for each image.

    Attributes
    ----------
    alpha : the share is drawn from Beta(alpha, alpha): small values mix little.
    probability : share of the images that are mixed.
    """

    name = "mixup"
    alpha: float = 0.2
    probability: float = 1.0

    def __post_init__(self) -> None:
        self._number("alpha", above=0)
        self._number("probability", least=0, most=1)


@dataclass(frozen=True, kw_only=True)
class CutMix(Augmentation):
    """Put a rectangle of another image of the batch into an image; its label becomes as much of the other's.

    CutMix: Regularization Strategy to Train Strong Classifiers, https://arxiv.org/abs/1905.04899. A rectangle is drawn
    for each image.

    Attributes
    ----------
    alpha : the share of the area that stays is drawn from Beta(alpha, alpha).
    probability : share of the images that are mixed.
    """

    name = "cutmix"
    alpha: float = 1.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        self._number("alpha", above=0)
        self._number("probability", least=0, most=1)


AUGMENTATIONS: dict[str, type[Augmentation]] = {
    kind.name: kind
    for kind in (
        RandomResizedCrop,
        PadCrop,
        Flip,
        TrivialAugment,
        RandAugment,
        ColorJitter,
        RandomErasing,
        MixUp,
        CutMix,
    )
}


def read_augmentation(entry: object, where: str) -> Augmentation:
    """Make an augmentation from an entry of a recipe's list: a name, or a mapping with a name and parameters.

    Raises
    ------
    ValueError : an unknown name or parameter, or a value that cannot work; `where` says in which recipe.
    """
    if isinstance(entry, Augmentation):
        return entry
    settings = {"name": entry} if isinstance(entry, str) else entry
    if not isinstance(settings, Mapping) or not isinstance(settings.get("name"), str):
        raise ValueError(
            f"{where}: an augmentation is a name, or a name with parameters such as "
            f"{{name: pad_crop, padding: 4}}; got {entry!r}"
        )
    name = settings["name"]
    if name not in AUGMENTATIONS:
        raise ValueError(f"{where}: unknown augmentation {name!r}; known: {', '.join(AUGMENTATIONS)}")
    parameters = {key: value for key, value in settings.items() if key != "name"}
    check_fields(AUGMENTATIONS[name], parameters, f"{where}: augmentation {name}")
    return AUGMENTATIONS[name](**parameters)
