"""A request is judged before anything is done: what cannot work is refused before a device or a weight is touched.

Values are judged where they are given (`nas.pipeline.request`); here is judged what they name: images, supernet,
devices, storage, accelerator.
"""

from collections.abc import Mapping
from pathlib import Path

from latency_tables.writable import RUNS_HINT, check_writable
from nas.errors import MissingExtra
from nas.pipeline.at_hand import AUTO, NONE, baseline_names
from nas.pipeline.given import normalisation, space_to_train
from nas.pipeline.images import check_memory, check_same_images, count_images
from nas.pipeline.initial import check_initial, initial_space
from nas.pipeline.request import SearchRequest, TrainRequest
from nas.search.objectives import EXPONENTS, OBJECTIVES, accuracy_of, check_objective
from nas.shipped import CALIBRATION_IMAGES_FILE, CARD, find_supernet
from nas.shipped.card import read_card
from nas.training.launched import launched
from search_spaces import get_space
from search_spaces.settings import SpaceSettings


def check_request(request: object) -> None:
    """Judge the request of a training or of a search; other settings have nothing that is named from outside.

    Raises
    ------
    ValueError : something asked for cannot work.
    MissingExtra : what one of the files needs is not installed.
    Failure : the storage does not answer.
    """
    if isinstance(request, SearchRequest):
        check_search(request)
    elif isinstance(request, TrainRequest):
        check_training(request)
        check_start(request)


def check_trained(given: Mapping[str, str], supernet: str) -> None:
    """Refuse settings of a training where the supernet has been trained: they would change nothing.

    Parameters
    ----------
    given : how each setting that was given is typed, by its key.
    supernet : how that one is typed.

    Raises
    ------
    ValueError : a setting of a training is among them.
    """
    for key, typed in given.items():
        if key.partition(".")[0] in ("space", "recipe", "train_time"):
            raise ValueError(f"{supernet} names one that has been trained; leave {typed} out, or {supernet}")


def check_length(given: Mapping[str, str]) -> None:
    """Refuse two lengths of one training, of which the second would change nothing.

    Parameters
    ----------
    given : how each setting that was given is typed, by its key.

    Raises
    ------
    ValueError : both are among them.
    """
    for epochs in ("epochs", "recipe.epochs"):
        if epochs in given and "train_time" in given:
            raise ValueError(
                f"{given['train_time']} and {given[epochs]} both say how long the training is; leave one of them out"
            )


def check_evaluated(request: SearchRequest, given: Mapping[str, str]) -> None:
    """Refuse settings of evaluations where none takes place, as the images of the supernet are not at hand.

    Parameters
    ----------
    given : how each setting that was given is typed, by its key.

    Raises
    ------
    ValueError : one of them is among those given.
    """
    for key, typed in given.items():
        if key in ("evaluations", "storage") and _without_images(request):
            raise ValueError(
                f"{typed} is of no use here: the images of {request.supernet} do not come with it, so no subnet is "
                f"evaluated; leave it out, or type --supernet {request.supernet} --data PATH; --data FOLDER alone "
                "searches on other images"
            )


def check_training(request: TrainRequest) -> None:
    """Judge the processes, the images, the space that reads them, and the accelerator; see `check_request`."""
    launched()
    count_images(request.data)
    if request.init is not None:
        theirs = get_space(**initial_space(request.init, {})).name
        if request.space.name not in (theirs, SpaceSettings().name) and request.space.make().name != theirs:
            raise ValueError(
                f"the weights of {request.init} are of the space {theirs}; leave --space {request.space.name} out"
            )
    space = space_to_train(request)
    check_memory(request.data, int(space.resolution(space.max)[0]))
    check_accelerator(request.accelerator)


def check_start(request: TrainRequest) -> None:
    """Judge the trained weights that a training starts from; see `check_request`."""
    if request.init is not None:
        check_initial(request.init, space_to_train(request))
        normalisation(request)


def check_accelerator(accelerator: str) -> None:
    """Refuse a GPU where there is none.

    Raises
    ------
    ValueError : there is none.
    """
    if accelerator == "cuda":
        import torch  # takes seconds, but nothing else knows

        if not torch.cuda.is_available():
            raise ValueError("accelerator=cuda: PyTorch finds no NVIDIA GPU here; leave it out to train on the CPU")


def check_search(request: SearchRequest) -> None:
    """Judge what a search starts from, its devices and its files; see `check_request`."""
    if request.former is not None:  # answered by what a finished search learnt
        return
    from nas.pipeline.devices import file_kinds_of, named_devices

    check_objective(request.objective, OBJECTIVES)
    if request.objective in EXPONENTS and request.limits["latency"] is None:
        raise ValueError(
            f"objective={request.objective} weighs accuracy against latency, so it needs a budget for that; add "
            "--latency 20ms or --latency 60%"
        )
    baseline_names(request.baselines)
    devices = named_devices(request)
    if request.supernet is None:
        check_training(request)
        _check_supernet(request)
        images = count_images(request.data).get("train")
    else:
        check_accelerator(request.accelerator)
        card = read_card(find_supernet(request.supernet))["card"]
        data = card.get("data")
        images = data.get("sizes", {}).get("train") if data else None
        if _without_images(request):
            _refuse_labels(request)
        if request.trains_alone and "recipe" not in card:
            raise ValueError(
                f"{request.supernet} does not say by which recipe it was trained, so its networks cannot be trained "
                "alone; type --finetune-time none"
            )
        if request.trains_alone and "seconds" not in card and "%" in str(request.finetune_time):
            raise ValueError(
                f"{request.supernet} does not say how long it was trained, so --finetune-time {request.finetune_time} "
                "of that is not known; type --finetune-time 2min"
            )
        if not _without_images(request):
            check_same_images(request, card)
    wanted = {device.spec.precision for device in devices}
    wanted |= {"int8"} if request.precision == AUTO else {kind.precision for kind in file_kinds_of(request, devices)}
    from nas.export.network_file import MIN_CALIBRATION_IMAGES

    if "int8" in wanted and images is not None and images < MIN_CALIBRATION_IMAGES:
        raise ValueError(
            f"int8 needs at least {MIN_CALIBRATION_IMAGES} training images, to learn the ranges of activations from, "
            f"here are {images}; add images, or leave int8 out"
        )
    if request.storage is not None:
        from nas.evaluation.storage import Database  # Optuna

        Database(request.storage)


def _without_images(request: SearchRequest) -> bool:
    """Whether the supernet's images neither come with it nor were named."""
    given = request.moved_data is not None or request.supernet is None
    return not given and (find_supernet(str(request.supernet)) / CALIBRATION_IMAGES_FILE).is_file()


def _refuse_labels(request: SearchRequest) -> None:
    """Refuse what only labelled images can give, where there are none."""
    wanted = (
        (accuracy_of(request.objective) != "accuracy", f"objective={request.objective}", "objective=accuracy"),
        (request.precision == AUTO, f"--precision {AUTO}", "--precision float32"),
        (request.trains_alone, f"--finetune-time {request.finetune_time}", "--finetune-time none"),
        (request.baselines not in (AUTO, NONE), f"baselines={request.baselines}", f"baselines={NONE}"),
    )
    for asked, typed, instead in wanted:
        if asked:
            raise ValueError(
                f"{typed} needs labelled images, and those of {request.supernet} do not come with it; type "
                f"--supernet {request.supernet} --data PATH, or {instead}"
            )


def _check_supernet(request: SearchRequest) -> None:
    """Refuse to train a supernet that could not be kept, or from weights that are none; one that is there already is
    only read."""
    try:
        check_writable(Path(request.runs) / "train", RUNS_HINT)
        check_start(request)
    except (ValueError, MissingExtra):
        if not (request.training_folder / CARD).is_file():
            raise
