"""How a chosen network is trained alone where nothing else is said: much as its supernet was trained."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from nas.search.record import read_record
from nas.shipped import find_supernet
from nas.shipped.card import read_card
from nas.training import Finetuning, Recipe

SAME = (
    "batch_size",
    "optimizer",
    "momentum",
    "nesterov",
    "trained_share",
    "weight_decay",
    "clip_norm",
    "label_smoothing",
    "augmentation",
    "balance_classes",
)
"""What training a chosen network alone has in common with the training of its supernet."""
RATE = 0.5
"""Share of that training's learning rate, where it started from random weights."""

F = TypeVar("F", bound=Finetuning)


def usual_finetuning(card: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Fields of `Finetuning` for a network of a supernet; none where its card names no recipe.

    A supernet of trained weights has been trained for minutes only. Its networks learn from labels alone, as a teacher
    takes half of the time (experiments/photographs), but for those of a given network that knew these classes before.

    Parameters
    ----------
    card : of the supernet.
    given : what is known of the network that it was made of; see `nas.evaluation.trained.given_network`.
    """
    if "recipe" not in card:
        return {}
    recipe = Recipe.from_dict(card["recipe"])
    same = {name: getattr(recipe, name) for name in SAME}
    # Earlier versions did not write what a training started from.
    if not card.get("starts_trained", recipe.trained_share < 1):
        return same | {"learning_rate": RATE * recipe.learning_rate}
    labels_alone = {} if (given or {}).get("own_classifier") else {"label_weight": 1.0}
    return same | {"learning_rate": recipe.learning_rate} | labels_alone


def as_its_supernet(settings: F, source: Path, typed: Collection[str]) -> tuple[F, str]:
    """The settings with what is usual for the network of the search in `source`, and a sentence; what is `typed` stays.

    Raises
    ------
    ValueError : `source` is no finished search, or its supernet is gone.
    """
    supernet = read_record(source).get("supernet")
    usual = {}
    if supernet:
        from nas.evaluation.trained import given_network  # imports torch

        folder = find_supernet(str(supernet))
        usual = usual_finetuning(read_card(folder)["card"], given_network(folder))
    made = replace(settings, **{name: value for name, value in usual.items() if name not in typed})
    whose = "as its supernet was" if usual else "by the usual settings"
    return made, (
        f"trained {whose}, from a learning rate of {made.learning_rate:g} in batches of {made.batch_size}; otherwise: "
        f"learning_rate={made.learning_rate / 2:g} batch_size=32, --cfg job lists all"
    )
