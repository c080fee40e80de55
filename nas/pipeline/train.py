"""Training a supernet from settings, into a folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.data import load_data
from nas.progress import SILENT, Listener
from nas.training import Recipe, make_supernet, train
from nas.training.duration import parse_duration
from search_spaces import get_space


def train_supernet(
    folder: Path,
    *,
    space: Mapping[str, Any],
    data: Mapping[str, Any],
    recipe: Mapping[str, Any],
    seed: int = 0,
    threads: int | None = None,
    accelerator: str = "auto",
    train_time: str | None = None,
    listener: Listener = SILENT,
) -> Path:
    """Train a supernet into `folder`, or go on with the training that was begun there.

    Parameters
    ----------
    space : ``name`` and options of a search space; the number of classes follows from the data.
    data : arguments of `nas.data.load_data`.
    recipe : fields of `nas.training.Recipe`.
    seed : of weights, order, augmentation and sampled subnets; the splits have ``data["seed"]``.
    threads : CPU threads, all cores if None.
    accelerator : ``auto``, ``cpu`` or ``cuda``.
    train_time : such as ``20min``; chooses the number of epochs, in place of the recipe's.
    listener : is told how it goes.

    Returns
    -------
    `folder`, with ``supernet.safetensors`` in it.

    Raises
    ------
    ValueError : something of the configuration cannot work; nothing is written then.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    if train_time is not None:
        parse_duration(train_time)
    recipe_made = Recipe.from_dict(recipe)
    options = {key: value for key, value in space.items() if key != "name"}
    get_space(space["name"], **options)  # a mistake in the options shows before the images are read
    images = load_data(**data)
    made = get_space(space["name"], **options | {"num_classes": len(images.classes)})
    train(
        make_supernet(made, recipe_made, seed),
        images,
        recipe_made,
        folder,
        seed=seed,
        threads=threads,
        device=accelerator,
        about={"data_settings": portable(data)},
        train_time=train_time,
        listener=listener,
    )
    return folder


def portable(data: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with an absolute root, so that a later run finds the images from anywhere."""
    root = data.get("root")
    return dict(data) | ({"root": str(Path(root).expanduser().resolve())} if root else {})
