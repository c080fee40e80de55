"""How wrong predictions of other networks are to be expected, and what more measurements would change.

The networks that a device is learnt from are chosen to be unlike each other, so their left-out errors say too much of
the networks of a space. What is expected here is of a fair sample of the space, from the predicted intervals, whose
width what was left out has calibrated. All is relative to the latency.
"""

import numpy as np
from numpy.typing import NDArray

from predictors.held_out import LatencyErrors, rank_correlation
from predictors.latency.suggestion import a_optimal

Floats = NDArray[np.float64]

N_DRAWS = 8  # devices drawn from what is known, to be ranked like the predicted one
MEAN_DISTANCE = float(np.sqrt(2 / np.pi))  # of a normal distribution, in standard deviations
WANTED_ERROR = 0.05
"""Below this mean error no more measurements are asked for."""
MOST_FURTHER = 30
LEAST_GAIN = 0.03  # part of the error that five more measurements must take away to be worth their time


def expected_errors(mean: Floats, spread: Floats, noise: float, n: int, within: tuple[float, float]) -> LatencyErrors:
    """Errors to expect of networks that were not measured.

    Parameters
    ----------
    mean : relative latencies predicted for a sample of the space, shape (m,).
    spread : a square root of their covariance, shape (m, width).
    noise : standard deviation of a measurement, relative to its latency.
    n : networks the predictor was adapted to.
    within : shares of them within one and two deviations of what the others predicted.
    """
    from scipy.special import erf

    std = np.sqrt(np.square(spread).sum(axis=1) / np.square(mean) + noise**2)
    rng = np.random.default_rng(0)
    drawn = mean + rng.standard_normal((N_DRAWS, spread.shape[1])) @ spread.T
    drawn += noise * mean * rng.standard_normal(drawn.shape)
    order = np.argsort(mean, kind="stable")
    middle = order[int(0.1 * len(order)) : int(0.9 * len(order))]
    return LatencyErrors(
        n=n,
        mape=float(MEAN_DISTANCE * std.mean()),
        within_10=float(erf(0.1 / (std * np.sqrt(2))).mean()),
        spearman=float(np.mean([rank_correlation(mean, one) for one in drawn])),
        spearman_trimmed=float(np.mean([rank_correlation(mean[middle], one[middle]) for one in drawn])),
        within_one_sigma=within[0],
        within_two_sigma=within[1],
    )


def further_measurements(mean: Floats, spread: Floats, noise: float) -> int:
    """How many more networks to measure until the error is small, or until more of them would change little.

    0 where the error is small already, or where it is the noise of a measurement, which no number of them lowers.

    Parameters
    ----------
    mean, spread, noise : as of `expected_errors`.
    """
    errors = _errors_after(mean, spread, noise)
    if errors[0] <= WANTED_ERROR:
        return 0
    enough = np.flatnonzero(errors <= WANTED_ERROR)
    if len(enough):
        return int(enough[0])
    later = np.minimum(np.arange(len(errors)) + 5, len(errors) - 1)
    worth = errors[later] < (1 - LEAST_GAIN) * errors
    return int(worth.argmin()) if not worth.all() else MOST_FURTHER


def _errors_after(mean: Floats, spread: Floats, noise: float) -> Floats:
    """Expected mean error after 0, 1, ... of the most telling further measurements, shape ``(MOST_FURTHER + 1,)``."""
    covariance = (spread @ spread.T).astype(np.float64)
    noise_variance = np.square(noise * mean)
    order = a_optimal(covariance, noise_variance, MOST_FURTHER, np.zeros(len(mean), dtype=bool))
    errors = np.empty(MOST_FURTHER + 1)
    for step in range(MOST_FURTHER + 1):
        variance = np.maximum(np.diagonal(covariance), 0) / np.square(mean) + noise**2
        errors[step] = MEAN_DISTANCE * np.sqrt(variance).mean()
        if step < MOST_FURTHER:
            best = order[step]
            total = covariance[best, best] + noise_variance[best]
            covariance = covariance - np.outer(covariance[:, best], covariance[best] / total)
    return errors
