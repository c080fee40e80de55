"""What is known of a request's images before any of them is decoded: how many, and whether they changed."""

from math import ceil
from pathlib import Path

from nas.data.folder import SplitName, read_layout
from nas.data.resolution import side_for
from nas.data.settings import MEMORY_GB, DataSettings
from nas.data.splits import too_few
from nas.pipeline.given import space_to_train
from nas.pipeline.request import SearchRequest
from nas.shipped import CARD
from nas.shipped.card import read_card

CIFAR10_IMAGES = 60_000
_FOUND = {"resolution", "value_range"}
"""Settings that follow from the images where they are not given."""


def count_images(data: DataSettings) -> dict[SplitName, int]:
    """The number of images of each split, which are listed and not decoded; empty where there are known to be enough.

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
        return {}
    layout = read_layout(str(data.root))
    fractions: dict[SplitName, float] = {"validation": data.validation_fraction, "test": data.test_fraction}
    kept_back = {split: fraction for split, fraction in fractions.items() if split not in layout.files}
    for name, of_class in zip(layout.classes, layout.files["train"], strict=True):
        if len(of_class) <= len(kept_back):
            raise too_few(name, len(of_class), len(kept_back) + 1)
    found: dict[SplitName, int] = {split: sum(map(len, files)) for split, files in layout.files.items()}
    for split, fraction in kept_back.items():  # of each class, one at least
        found[split] = sum(max(1, round(fraction * len(of_class))) for of_class in layout.files["train"])
        found["train"] -= found[split]
    return found


def check_memory(data: DataSettings, largest: int) -> None:
    """Refuse CIFAR-10 at a side at which it takes too much memory: its binary version is not read while training.

    Parameters
    ----------
    largest : resolution that the search space reads.

    Raises
    ------
    ValueError : it takes more than ``data.memory_gb``.
    """
    if data.name != "cifar10":
        return
    side = side_for(0, largest, data.resolution)
    gb = CIFAR10_IMAGES * 3 * side**2 / 1e9
    limit = MEMORY_GB if data.memory_gb is None else data.memory_gb
    if gb > limit:
        raise ValueError(
            f"CIFAR-10 at {side} pixels takes {gb:.1f} GB of memory, twice that while it is read, and data.memory_gb="
            f"{limit:g} allows less; type --resolution 64 (0.7 GB), data.memory_gb={ceil(gb)}, or --data FOLDER with "
            "CIFAR-10 as JPEG files, which are read while training"
        )


def why_anew(request: SearchRequest) -> str:
    """That the images, or the given network, of an earlier training of the same settings have changed since, if so."""
    data = request.data
    told = data.portable()
    for path in sorted((Path(request.runs) / "train").glob(f"*/{CARD}")) if data.root else []:
        try:
            record = read_card(path.parent)
        except ValueError:  # the sentence is only a remark
            continue
        card = record["card"]
        then = card.get("data_settings", {})
        recipe = card["recipe"]["name"] if "recipe" in card else None
        if (
            {name for name, value in told.items() if value != then.get(name)} <= _FOUND
            and (recipe, card.get("seed")) == (request.recipe.name, request.seed)
            and record["space"]["name"] == space_to_train(request).name
        ):
            network = "" if request.model is None else " the given network,"
            what = f"the images in {data.root},{network} or settings of the training,"
            return f", as {what} have changed since {path.parent}"
    return ""
