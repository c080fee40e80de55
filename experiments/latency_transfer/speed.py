"""How long suggesting, adapting and predicting take; processor seconds of one thread, after a warm-up."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from predictors.latency import LatencyPredictor, Measurements
from search_spaces import get_space

N_DEVICES, N_NETWORKS, N_PREDICTED = 15, 1000, 100_000


def _seconds(work: Callable[..., object], *arguments: Any) -> float:
    work(*arguments)
    start = time.process_time()
    work(*arguments)
    return round(time.process_time() - start, 3)


def times_of(name: str) -> dict[str, float]:
    """Times in one space, with a fleet of 15 devices that never were: only their number matters here."""
    space = get_space(name)
    rng = np.random.default_rng(0)
    population, many = space.sample(N_NETWORKS, rng), space.sample(N_PREDICTED, rng)
    macs = space.costs(population).macs / space.costs(population).macs.mean()
    fleet = [Measurements(f"device{i}", population, macs + rng.random(N_NETWORKS)) for i in range(N_DEVICES)]
    predictor = LatencyPredictor(space)
    return {
        "fit the fleet": _seconds(predictor.fit, fleet),
        "suggest 10 of 1,000": _seconds(predictor.suggest, population, 10),
        "adapt to 100": _seconds(predictor.adapt, population[:100], macs[:100]),
        "adapt to 10": _seconds(predictor.adapt, population[:10], macs[:10]),
        "predict 100,000": _seconds(predictor.predict, many),
        "predict 100,000 with intervals": _seconds(predictor.predict, many, True),
    }


def times() -> dict[str, dict[str, float]]:
    """Times in two spaces, in processor seconds."""
    return {name: times_of(name) for name in ("fbnet", "mobilenet_v3")}
