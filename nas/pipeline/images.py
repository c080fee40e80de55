"""What is known of a request's images before any of them is decoded: how many, and whether they changed."""

from math import ceil
from pathlib import Path

from latency_tables.files import shown
from nas.data.folder import SplitName, read_layout
from nas.data.resolution import side_for
from nas.data.settings import MEMORY_GB, DataSettings
from nas.data.splits import too_few
from nas.pipeline.given import space_to_train
from nas.pipeline.request import SearchRequest
from nas.progress import counted
from nas.shipped import CARD
from nas.shipped.card import RecordedTraining, read_card

CIFAR10_IMAGES = 60_000
_FOUND = {"resolution", "value_range"}
"""Settings that follow from the images where they are not given."""
OF_A_TRAINING = {
    "resolution": "--resolution {}",
    "validation_fraction": "data.validation_fraction={}",
    "test_fraction": "data.test_fraction={}",
    "seed": "data.seed={}",
    "mean": "data.mean={}",
    "std": "data.std={}",
    "value_range": "data.value_range={}",
}
"""Settings of images that what a supernet has learnt depends on, and how each is typed."""


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


def check_same_images(request: SearchRequest, card: RecordedTraining) -> None:
    """Refuse images that a supernet was not trained on, as far as it is told without decoding them.

    Parameters
    ----------
    card : of the request's supernet; it may say little.

    Raises
    ------
    ValueError : they are others, are read in another way, or are not there.
    """
    then, name = card.get("data_settings"), request.supernet
    if then is None:
        return
    data = request.moved_data or DataSettings.from_dict(then)
    trained = then | {key: value for key, value in card.items() if key in ("mean", "std")}
    for key, typed in OF_A_TRAINING.items():
        now = getattr(data, key)
        now = list(now) if isinstance(now, tuple) else now
        if now is not None and key in trained and now != trained[key]:
            raise ValueError(
                f"{typed.format(_as_typed(now))} is not what {name} was trained with, {_as_typed(trained[key])}; leave "
                "it out, or leave --supernet out to train with it"
            )
    counts, what = count_images(data), ""
    if data.name != (kind := then.get("name", data.name)):
        what = f"it is data={data.name}, the training had data={shown(kind)}"
    elif data.name == "folder":
        classes, known = list(read_layout(str(data.root)).classes), card.get("classes")
        n, images = sum(counts.values()), sum(card.get("data", {}).get("sizes", {}).values())
        if known is not None and classes != known:
            what = f"its classes are {_listed(classes)}, those of the training were {_listed(known)}"
        elif n < images:  # some may be left out when they are read, none is added
            what = f"it has {counted(n, 'image')}, the training had {images:,}"
    if what:
        raise ValueError(
            f"--data {shown(data.root or data.name, 1_000)} does not have the images that {name} was trained on: {what}"
            "; put those back, or leave --supernet out to train on these"
        )


def _as_typed(value: object) -> str:
    """A number, or several in brackets, as text."""
    return shown(value).replace(" ", "")


def _listed(names: list[str]) -> str:
    """The first of some names, and how many there are."""
    few = ", ".join(shown(name) for name in names[:4])
    return few if len(names) <= 4 else f"{few}, ... ({len(names)})"


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
