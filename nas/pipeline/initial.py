"""Trained weights that a training starts from (``--init``): a trained network by name, an earlier run, once-for-all's.

All of them are kept but the classifier's, where the classes differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired

from pydantic import ConfigDict
from typing_extensions import TypedDict

from latency_tables.files import file_digest, read_json
from nas.shipped import CARD, find_supernet, shipped_supernets, supernet_of_search
from nas.shipped.card import read_card
from nas.shipped.pretrained import pretrained, pretrained_names
from search_spaces import SearchSpace, get_space
from search_spaces.recorded import recorded_space

if TYPE_CHECKING:
    from nas.data import ImageData
    from nas.supernet import Supernet

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""As torchvision, timm and once-for-all normalise ImageNet's images."""
Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]
_MOST_BYTES = 2**28
"""Of a list of images: some millions."""


class _Splits(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    data: str
    train: list[str]
    trained_before: NotRequired[list[str]]


def initial_space(init: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Name and options of the space that weights are of.

    Parameters
    ----------
    init : what ``--init`` names.
    options : of the space as asked for; those that are given count, as far as the weights fit.

    Raises
    ------
    ValueError : it names nothing.
    """
    kind, found = _find(init)
    if kind == "pretrained":
        return {"name": pretrained(init).space, **options}
    if kind == "run":
        record = read_card(found)["space"]
        recorded_space(record["name"], record["options"], found / CARD)
        return {"name": record["name"], **record["options"], **options}
    return {**_once_for_all_space(found), **options}


def initial_digest(init: str) -> str:
    """Of the weights, so that others are another training."""
    kind, found = _find(init)
    if kind == "pretrained":
        return pretrained(init).sha256
    if kind == "run":
        return read_card(found)["sha256"]
    return file_digest(found)


def initial_normalisation(init: str) -> Normalisation:
    """Mean and standard deviation, by channel, that the weights expect images to be normalised with.

    Raises
    ------
    ValueError : the run that they are of does not say it.
    """
    kind, found = _find(init)
    if kind == "file":
        return IMAGENET_MEAN, IMAGENET_STD
    if kind == "pretrained":
        return pretrained(init).mean, pretrained(init).std
    card = read_card(found)["card"]
    if missing := [name for name in ("mean", "std") if name not in card]:
        raise ValueError(
            f"{found / CARD}: card.{missing[0]} is missing, so it is not known how its weights expect images to be "
            "normalised; give both: data.mean=[.5,.5,.5] data.std=[.5,.5,.5]"
        )
    mean, std = card["mean"], card["std"]
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def initial_classes(init: str) -> list[str] | int | None:
    """The classes of the weights that `init` names; how many there are where their names are not known, None where that
    is not known either."""
    kind, found = _find(init)
    names = read_card(found)["card"].get("classes") if kind == "run" else None
    if names is not None:
        return names
    return None if kind == "file" else get_space(**initial_space(init, {})).num_classes


def check_initial(init: str, space: SearchSpace) -> None:
    """Refuse weights that are missing, damaged, or do not fit `space`.

    Raises
    ------
    ValueError, MissingExtra : as of `initial_supernet`.
    """
    if init in pretrained_names() and _shapes(space) == _shapes(get_space(**initial_space(init, {}))):
        pretrained(init).path()  # its digest is known, so torch, whose import takes seconds, can wait
    else:
        initial_supernet(init, space)


def _shapes(space: SearchSpace) -> dict[str, Any]:
    """The options that shapes of weights follow from, the classifier excepted."""
    return {name: value for name, value in space.options.items() if name not in ("resolutions", "num_classes")}


def initial_supernet(init: str, space: SearchSpace, seed: int = 0) -> Supernet:
    """A supernet of `space` with the weights that `init` names.

    Those of one network are sorted by importance first. In a supernet the first channels are those that narrow subnets
    were trained with, so they stay where they are.

    Raises
    ------
    ValueError : they do not fit the space.
    MissingExtra : the package with the weights is not installed.
    """
    import torch  # takes seconds

    from nas.supernet import Supernet, from_once_for_all, load_supernet
    from nas.supernet.efficientnet_lite import from_efficientnet_lite
    from nas.tracing.weights import read_state_dict

    kind, found = _find(init)
    if kind == "run":
        given = load_supernet(found)[0]
    elif kind == "pretrained":
        card = pretrained(init)
        given = from_efficientnet_lite(read_state_dict(card.path()), get_space(card.space))
        given.sort_channels()  # before the classifier that was trained with them is gone
    else:
        given = from_once_for_all(read_state_dict(found), _once_for_all_space(found).get("width_mult", 1.0))
    torch.manual_seed(seed)
    supernet = Supernet(space, given.kernel_transform)
    weights, own = given.state_dict(), supernet.state_dict()
    classifier = [key for key in own if key in weights and own[key].shape != weights[key].shape]
    if own.keys() != weights.keys() or len({key.rsplit(".", 1)[0] for key in classifier}) > 1:
        raise ValueError(f"the weights of {init} do not fit the space {space.name} with these options")
    supernet.load_state_dict({key: own[key] if key in classifier else weights[key] for key in own})
    return supernet.train()


def trained_on(init: str, data: ImageData) -> frozenset[str]:
    """Names of the images of the same place that the weights of `init` were trained on, and those they started from.

    Empty where it is not known.
    """
    kind, found = _find(init)
    file = found / "splits.json"
    if kind != "run" or not file.is_file():
        return frozenset()
    splits = read_json(file, _Splits, max_bytes=_MOST_BYTES)
    if splits["data"] != data.name:
        return frozenset()
    return frozenset(splits["train"]).union(splits.get("trained_before", []))


def trained_before(known: frozenset[str], data: ImageData) -> dict[str, int]:
    """How many images of search-validation and of the test are among those `known` to the weights, told by their names.

    More images in a class are split anew, so images to train on become images to judge by. Empty where there are none.
    """
    both = {"validation": data.validation, "test": data.test}
    counts = {name: sum(image in known for image in split.names) for name, split in both.items()}
    return counts if any(counts.values()) else {}


def trained_before_remarks(counts: Mapping[str, int], data: ImageData) -> list[str]:
    """A sentence on what `trained_before` found."""
    if not counts:
        return []
    return [
        f"{counts['validation']:,} of the {len(data.validation):,} search-validation images and {counts['test']:,} of "
        f"the {len(data.test):,} test images have the names of images that the weights from which training started had "
        "been trained on: if they are the same images, accuracies on them are too high. "
        "Keep images to judge by in folders val/ and test/, or leave --init out."
    ]


def _find(init: str) -> tuple[str, Path]:
    """What `init` names: ``pretrained``, ``run`` or ``file``, and where it is.

    Raises
    ------
    ValueError : nothing.
    """
    if init in pretrained_names():
        return "pretrained", Path()
    if init in shipped_supernets():
        return "run", find_supernet(init)
    path = Path(init).expanduser()
    if (path / CARD).is_file():
        return "run", path
    if path.is_file():
        _once_for_all_space(path)
        return "file", path
    if (searched := supernet_of_search(path)) is not None:
        raise ValueError(f"--init {init} is the folder of a search; the weights that it has are --init {searched}")
    names = [*pretrained_names(), *shipped_supernets()]
    raise ValueError(
        f"--init {init} names no trained weights; give {', '.join(names)}, the folder of a finished "
        "`nas train` run, or a file of once-for-all's MobileNetV3 or ResNet-50 like "
        "ofa_mbv3_d234_e346_k357_w1.2"
    )


def _once_for_all_space(path: Path) -> dict[str, Any]:
    """Name and options of the space that once-for-all's file is of, told by the file's name."""
    if "ofa_resnet50" in path.name:
        return {"name": "resnet50"}
    if found := re.search(r"mbv3.*_w(1\.[02])", path.name):
        return {"name": "mobilenet_v3", "width_mult": float(found[1])}
    raise ValueError(
        f"{path} is not named like once-for-all's weights of MobileNetV3 (ofa_mbv3_d234_e346_k357_w1.2, width last) "
        "or ResNet-50 (ofa_resnet50_d0-1-2_e0.2-0.25-0.35_w0.65-0.8-1.0); other state dicts are for "
        "--model NETWORK --weights FILE"
    )
