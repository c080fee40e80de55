"""What a training starts from (random weights, ``--model`` or ``--init``), and the space of its networks."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.data.resolution import space_with_resolution
from nas.pipeline.initial import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Normalisation,
    initial_normalisation,
    initial_space,
    initial_supernet,
)
from nas.pipeline.request import SearchRequest, TrainRequest, network_digest, weights_digest
from nas.shipped import CARD
from nas.shipped.card import read_card
from search_spaces import SearchSpace, get_space
from search_spaces.recorded import recorded_space

if TYPE_CHECKING:
    from nas.supernet import Supernet
    from nas.tracing import Adopted


def adopted(request: TrainRequest) -> Adopted:
    """The given network made elastic; once in a process.

    Raises
    ------
    ValueError : there is no such network, or it cannot be made elastic; see `nas.tracing`.
    """
    assert request.model is not None
    digests = weights_digest(request.weights), network_digest(request.model)
    return _adopted(request.model, request.weights, request.data.resolution, *digests)


@lru_cache(maxsize=2)
def _adopted(model: str, weights: str | None, resolution: int | None, *_digests: str) -> Adopted:
    from nas.tracing import adopt, load_model  # torch's import takes seconds

    path = None if weights is None else Path(weights).expanduser()
    return adopt(load_model(model, path, resolution=resolution))


def space_to_train(request: TrainRequest, num_classes: int | None = None) -> SearchSpace:
    """The space of a request, with the classes of its images where they are known.

    Raises
    ------
    ValueError : it cannot be made.
    """
    classes: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if request.model is not None:
        space = adopted(request).space
        return get_space(space.name, **space.options | classes)
    settings = {"name": request.space.name, **request.space.options}
    if request.init is not None:
        settings = initial_space(request.init, request.space.options)
    return get_space(**space_with_resolution(settings, request.data.resolution) | classes)


def space_of(request: SearchRequest) -> SearchSpace:
    """The space of the supernet, from its card alone where there is one."""
    card = request.training_folder / CARD
    if card.is_file():
        record = read_card(request.training_folder)["space"]
        return recorded_space(record["name"], record["options"], card)
    return space_to_train(request, request.n_classes)


def supernet_to_train(request: TrainRequest, space: SearchSpace) -> Supernet:
    """The supernet that training begins with: random weights, given ones, or those of the given network."""
    from nas.training import make_supernet

    if request.init is not None:
        return initial_supernet(request.init, space, request.seed)
    if request.model is None:
        return make_supernet(space, request.recipe, request.seed)
    from nas.tracing import start_from

    return start_from(adopted(request), space, request.seed).supernet


def normalisation(request: TrainRequest) -> Normalisation | None:
    """Mean and standard deviation of pixels, by channel, that trained weights expect; None where none are given."""
    if not request.starts_trained:
        return None
    if request.data.mean is not None and request.data.std is not None:
        return request.data.mean, request.data.std
    if request.init is not None:
        return initial_normalisation(request.init)
    mean, std = adopted(request).normalisation or (IMAGENET_MEAN, IMAGENET_STD)
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])
