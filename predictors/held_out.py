"""How wrong a predictor is on networks that it has not seen.

Errors are of held-out measurements; nothing here looks at what the predictor was fitted to.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LatencyErrors:
    """Errors of predicted latencies.

    Attributes
    ----------
    n : networks compared; where errors are expected of networks that were not measured
        (`predictors.latency.expectation`), those that were, which the shares inside the intervals are of.
    mape : mean absolute error as a fraction of the measured latency.
    within_10 : share of networks predicted within 10 % of the measured latency.
    spearman : rank correlation; NaN when fewer than three networks, or all are equal.
    spearman_trimmed : the same without the fastest and the slowest tenth, as HELP (NeurIPS 2021) reports it.
    within_one_sigma, within_two_sigma : share of networks inside the predicted intervals; 0.68 and 0.95 are honest.
    """

    n: int
    mape: float
    within_10: float
    spearman: float
    spearman_trimmed: float
    within_one_sigma: float
    within_two_sigma: float


def latency_errors(measured: Floats, predicted: Floats, std: Floats) -> LatencyErrors:
    """Compare measured with predicted latencies, all of shape ``(n,)`` and in milliseconds."""
    relative = np.abs(predicted - measured) / measured
    within_one, within_two = coverage(measured, predicted, std)
    order = np.argsort(measured, kind="stable")
    middle = order[int(0.1 * len(order)) : int(0.9 * len(order))]
    return LatencyErrors(
        n=len(measured),
        mape=float(relative.mean()),
        within_10=float((relative <= 0.1).mean()),
        spearman=rank_correlation(measured, predicted),
        spearman_trimmed=rank_correlation(measured[middle], predicted[middle]),
        within_one_sigma=within_one,
        within_two_sigma=within_two,
    )


def coverage(measured: Floats, predicted: Floats, std: Floats) -> tuple[float, float]:
    """Share of `measured` within one and two standard deviations of `predicted`."""
    distance = np.abs(measured - predicted) / std
    return float((distance <= 1).mean()), float((distance <= 2).mean())


def rank_correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Spearman's coefficient, NaN where it is not defined."""
    from scipy.stats import spearmanr

    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b).statistic)


def concordance(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Kendall's tau b, NaN where it is not defined."""
    from scipy.stats import kendalltau

    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(kendalltau(a, b).statistic)
