"""Trained supernets that come with the program, each a folder here, and how a supernet is named.

Such a folder holds what a training run leaves (``supernet.safetensors``, ``supernet.json``), ``accuracy.csv``, and
``calibration.png``: synthesised images that stand in for the training's when batch-norm is calibrated. Imports no
torch, so that a name is checked at once.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from latency_tables.files import read_json, shown

FOLDER = Path(__file__).parent
CARD = "supernet.json"
CALIBRATION_IMAGES_FILE = "calibration.png"
DEFAULT = "cifar10"
"""What `nas search` starts from when nothing is said of a supernet, of images or of a training."""
STARTS = {"supernet", "model", "init", "data", "space", "recipe", "train_time"}
"""Whoever sets one of these has said what a search starts from."""


def shipped_supernets() -> list[str]:
    """Their names, sorted."""
    return sorted(card.parent.name for card in FOLDER.glob(f"*/{CARD}"))


def usual_supernet(given: Iterable[str]) -> str | None:
    """What a search starts from where none of the settings `given`, like ``recipe.epochs``, says it."""
    said = {key.partition(".")[0] for key in given} & STARTS
    return None if said or DEFAULT not in shipped_supernets() else DEFAULT


def find_supernet(given: str | Path) -> Path:
    """The folder of a trained supernet.

    Parameters
    ----------
    given : the name of a shipped one, or the folder of a finished training run.

    Raises
    ------
    ValueError : it is neither.
    """
    if str(given) in shipped_supernets():
        return FOLDER / given
    if not (Path(given) / CARD).is_file():
        if (searched := supernet_of_search(Path(given))) is not None:
            raise ValueError(f"{given} is no trained supernet, but a search; its supernet is {searched}")
        names = ", ".join(shipped_supernets())
        raise ValueError(
            f"{given} is no trained supernet; give the folder of a finished `nas train` run"
            + (f", or the name of a shipped one: {names}" if names else "")
        )
    return Path(given)


def supernet_of_search(folder: Path) -> str | None:
    """The supernet of the finished search in `folder`; None where there is none."""
    try:
        found = read_json(folder / "result.json", dict[str, Any]).get("supernet")
    except ValueError:
        return None
    return None if found is None else shown(found, 1_000)
