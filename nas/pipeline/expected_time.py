"""How long a search on photographs will take, said before it starts: a forward pass is timed, the rest is counted."""

from time import perf_counter

import numpy as np

from nas.pipeline.at_hand import NONE, baseline_names
from nas.pipeline.baselines import SHARE
from nas.pipeline.images import count_images
from nas.pipeline.request import SearchRequest
from nas.shipped import CARD
from nas.training.duration import parse_duration, show_duration
from search_spaces import SearchSpace

IMAGES, PASSES = 4, 3
"""Timed at once; the fastest pass counts, as the first ones also plan."""


def expected_time(request: SearchRequest, space: SearchSpace) -> str:
    """What the parts of the search will take, in a sentence; training takes nothing where the supernet is there.

    Parameters
    ----------
    request : with a train time.
    space : of the networks; one of middle cost is timed.
    """
    training = parse_duration(str(request.train_time))
    trained = (request.training_folder / CARD).is_file()
    images = count_images(request.data) or 0
    fraction = request.data.validation_fraction
    validation = round(images * fraction / max(0.1, 1 - fraction - request.data.test_fraction))
    evaluations = request.evaluations + request.finalists * request.rounds
    evaluating = evaluations * _seconds_an_evaluation(space, images, validation)
    tuning = request.finetune_s
    compared = request.baselines != NONE and (request.model is not None or baseline_names(request.baselines))
    baselines = SHARE * (training + tuning) if compared else 0.0
    parts = [] if trained else [f"{show_duration(training)} of training"]
    parts.append(f"up to {show_duration(evaluating)} for {evaluations} evaluations of subnets")
    if baselines:
        most = "up to " if trained else ""  # those of an earlier search may be there
        parts.append(f"{most}{show_duration(baselines)} for baselines to compare with (baselines=none leaves them out)")
    if tuning:
        parts.append(f"{show_duration(tuning)} to train the chosen network alone")
    total = (0.0 if trained else training) + evaluating + baselines + tuning
    return (
        f"this will take about {show_duration(total)}: {', '.join(parts)}; measuring the device and reading the images "
        "come on top"
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
