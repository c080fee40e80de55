"""A device that slowed down on the way, seen from its measurements alone, in the order in which they were made.

Where no reference network was measured beside them: if all that was measured from some point on is divided by a
factor, the measurements predict each other better. Limits were chosen on training devices of the fleets.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from predictors.latency.predictor import LatencyPredictor

Floats = NDArray[np.float64]

FACTORS = (1.2, 1.4, 1.7)
LEAST_STRETCH = 3
MOST_SPLITS = 10
FEWEST, MOST = 8, 60
"""Measurements among which a slowdown is looked for."""
GAIN = 5.0  # of the log density of the left-out measurements


class Slowdown(NamedTuple):
    """A device took about `factor` times as long from the measurement numbered `after` (from 0) on."""

    after: int
    factor: float


def find_slowdown_of_device(
    predictor: LatencyPredictor, population: NDArray[np.int16], latency_ms: Floats
) -> Slowdown | None:
    """The slowdown that makes the measurements agree best; None where none makes them agree much better.

    Parameters
    ----------
    predictor : what is known of other devices; it is not changed.
    population, latency_ms : in the order of measuring, shapes (n, n_genes) and (n,).
    """
    n = len(latency_ms)
    if not FEWEST <= n <= MOST:
        return None
    fresh = predictor.for_new_device()
    splits = np.unique(np.linspace(LEAST_STRETCH, n - LEAST_STRETCH, MOST_SPLITS).astype(int))

    def score(after: int, factor: float) -> float:
        divisor = np.where(np.arange(n) < after, 1.0, factor)
        fresh.adapt(population, latency_ms / divisor, np.ones(n, dtype=bool))
        distance = (latency_ms / divisor - fresh.left_out_ms_) / fresh.left_out_std_ms_
        density = -2.5 * np.log1p(distance**2 / 4) - np.log(fresh.left_out_std_ms_ * divisor)
        return float(density.sum())

    found = {(int(k), f): score(int(k), f) for k in splits for f in FACTORS}
    best = max(found, key=lambda key: found[key])
    return Slowdown(*best) if found[best] > score(n, 1.0) + GAIN else None
