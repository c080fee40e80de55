"""How long a search on photographs will take, said before it starts: a forward pass is timed, the rest is counted.

Imports torch only where there is something to say.
"""

from collections.abc import Sequence
from time import perf_counter

import numpy as np

from nas.devices import Device
from nas.pipeline.compared import can_be_compared, compared_with
from nas.pipeline.given import space_of
from nas.pipeline.images import count_images
from nas.pipeline.request import SearchRequest
from nas.progress import Listener
from nas.shipped import CARD
from nas.shipped.card import read_card
from nas.training.duration import parse_duration, show_duration
from nas.training.threads import cpu_threads
from search_spaces import SearchSpace

IMAGES, PASSES = 4, 3
"""Timed at once; the fastest pass counts, as the first ones also plan."""


def say_expected_time(request: SearchRequest, searches: Sequence[Sequence[Device]], listener: Listener) -> None:
    """Say how long it will take, where it is known how long own images, or a chosen network alone, are trained.

    Parameters
    ----------
    request : what is asked for.
    searches : the devices of each network that is searched for.
    listener : receives the sentence.
    """
    trained = (request.training_folder / CARD).is_file()
    if request.trains_alone if trained else request.train_time and request.data.name == "folder":
        listener.say(expected_time(request, space_of(request), searches))


def expected_time(request: SearchRequest, space: SearchSpace, searches: Sequence[Sequence[Device]]) -> str:
    """What the parts of the search will take, in a sentence.

    Parameters
    ----------
    request : with a train time, unless its supernet has been trained.
    space : of the networks; one of middle cost is timed.
    searches : the devices of each network that is searched for.
    """
    from nas.evaluation.trained import GIVEN  # torch, which a refused search does without
    from nas.pipeline.baselines import SHARE

    folder = request.training_folder
    if trained := (folder / CARD).is_file():
        card = read_card(folder)["card"]
        sizes = card["data"].get("sizes", {}) if "data" in card else {}
        training = card.get("seconds", 0.0)
    else:
        sizes = dict[str, int](count_images(request.data).items())
        training = parse_duration(str(request.train_time))
    evaluations = len(searches) * (request.evaluations + request.finalists * request.rounds)
    with cpu_threads(request.threads):
        seconds = _seconds_an_evaluation(space, sizes.get("train", 0), sizes.get("validation", 0))
    evaluating = evaluations * seconds
    given = (folder / GIVEN).is_file() if trained else request.model is not None
    limited = request.limits["latency"] is not None
    comparing = sum(can_be_compared(devices, limited) for devices in searches)
    comparing *= bool(compared_with(request.baselines, space, given))
    alone = request.finetune_s(training)
    baselines = comparing * SHARE * (training + alone)
    tuning = len(searches) * alone
    parts = [] if trained else [f"{show_duration(training)} of training"]
    parts.append(f"up to {show_duration(evaluating)} for {evaluations} evaluations of subnets")
    if baselines:
        parts.append(f"{show_duration(baselines)} for baselines to compare with (baselines=none leaves them out)")
    if tuning:
        each = "the chosen network" if len(searches) == 1 else f"each of the {len(searches)} chosen networks"
        parts.append(f"{show_duration(tuning)} to train {each} alone")
    total = (0.0 if trained else training) + evaluating + baselines + tuning
    # With a trained supernet, evaluations and baselines of earlier searches are used again; so are those of a search
    # by the next one.
    most = "up to" if trained or len(searches) > 1 else "about"
    return (
        f"this will take {most} {show_duration(total)}: {', '.join(parts)}; measuring the device and reading the "
        "images take more time"
    )


def _seconds_an_evaluation(space: SearchSpace, images: int, validation: int) -> float:
    import torch

    from nas.evaluation.accuracy import calibration_size
    from nas.supernet import Supernet

    supernet = Supernet(space).eval()
    sampled = space.sample(64, np.random.default_rng(0))
    macs = space.costs(sampled).macs
    supernet.activate(sampled[np.argsort(macs)[len(macs) // 2]])
    batch = torch.zeros(IMAGES, 3, supernet.resolution, supernet.resolution).to(memory_format=torch.channels_last)
    seconds = []
    with torch.inference_mode():
        for _ in range(PASSES):
            began = perf_counter()
            supernet(batch)
            seconds.append(perf_counter() - began)
    return min(seconds) / IMAGES * (validation + min(images, calibration_size(supernet.resolution)))
