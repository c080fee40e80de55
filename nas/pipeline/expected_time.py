"""How long a search on photographs will take, said before it starts: a forward pass is timed, the rest is counted."""

from time import perf_counter

import numpy as np

from nas.evaluation.trained import GIVEN
from nas.pipeline.at_hand import AUTO, baseline_names
from nas.pipeline.baselines import SHARE
from nas.pipeline.images import count_images
from nas.pipeline.photographs import LEAST_SIDE
from nas.pipeline.request import SearchRequest
from nas.shipped import CARD
from nas.shipped.card import read_card
from nas.training.duration import parse_duration, show_duration
from search_spaces import SearchSpace

IMAGES, PASSES = 4, 3
"""Timed at once; the fastest pass counts, as the first ones also plan."""


def expected_time(request: SearchRequest, space: SearchSpace) -> str:
    """What the parts of the search will take, in a sentence.

    Parameters
    ----------
    request : with a train time, unless its supernet has been trained.
    space : of the networks; one of middle cost is timed.
    """
    folder = request.training_folder
    if trained := (folder / CARD).is_file():
        card = read_card(folder)["card"]
        sizes = card["data"].get("sizes", {}) if "data" in card else {}
        images, validation = sizes.get("train", 0), sizes.get("validation", 0)
        training = card.get("seconds", 0.0)
    else:
        images, fraction = count_images(request.data) or 0, request.data.validation_fraction
        validation = round(images * fraction / max(0.1, 1 - fraction - request.data.test_fraction))
        training = parse_duration(str(request.train_time))
    evaluations = request.evaluations + request.finalists * request.rounds
    evaluating = evaluations * _seconds_an_evaluation(space, images, validation)
    tuning = request.finetune_s
    compared = bool(baseline_names(request.baselines))
    if request.baselines == AUTO:
        photographs = int(space.resolution(space.max)[0]) >= LEAST_SIDE
        compared = (compared and photographs) or request.model is not None or (folder / GIVEN).is_file()
    baselines = SHARE * (training + tuning) if compared else 0.0
    parts = [] if trained else [f"{show_duration(training)} of training"]
    parts.append(f"up to {show_duration(evaluating)} for {evaluations} evaluations of subnets")
    if baselines:
        parts.append(f"{show_duration(baselines)} for baselines to compare with (baselines=none leaves them out)")
    if tuning:
        parts.append(f"{show_duration(tuning)} to train the chosen network alone")
    total = (0.0 if trained else training) + evaluating + baselines + tuning
    # With a trained supernet, evaluations and baselines of earlier searches are used again.
    most = "up to" if trained else "about"
    return (
        f"this will take {most} {show_duration(total)}: {', '.join(parts)}; measuring the device and reading the "
        "images come on top"
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
