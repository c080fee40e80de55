"""Which of a few measurements cannot be right.

A measurement that was interrupted takes much longer than the network does. With ten of them, one such drags the
whole device along, and heavy tails of the noise alone do not catch it. It is found by predicting it from the others:
the most distant one is left out for good where it lies far from what they say. The limits were chosen on training
devices with one measurement of ten made 1.5 to 3 times too slow.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from predictors.latency.models import Average

Floats = NDArray[np.float64]

WORTH_A_LOOK = 1.5  # deviations between a measurement and its left-out prediction
DOUBTFUL = 4.0  # deviations from the prediction of a fit that never saw it
FEWEST, MOST = 5, 40
"""Measurements among which one is looked for: of fewer no one is odd, and among more it does little harm."""
ONE_IN = 5
"""At most one of so many measurements is left out."""

Fit = Callable[[NDArray[np.intp]], Average]


def fit_without_suspicious(
    fit: Fit, features: NDArray[np.float32], latency_ms: Floats, trusted: NDArray[np.bool_]
) -> tuple[Average, NDArray[np.intp]]:
    """Fit a device to its measurements without those that cannot be right.

    Parameters
    ----------
    fit : fits the rows with these numbers.
    features : of the measured networks, shape (n, width).
    latency_ms : shape (n,).
    trusted : shape (n,); those that are never left out, because they were measured again and are as they were.

    Returns
    -------
    The fit, and the numbers of the rows that were left out of it.
    """
    kept = np.arange(len(latency_ms))
    average = fit(kept)
    if not FEWEST <= len(kept) <= MOST:
        return average, np.empty(0, dtype=np.intp)
    for _ in range(len(latency_ms) // ONE_IN):
        distance = np.abs(latency_ms[kept] - average.left_out.mean) / average.left_out.std
        distance[trusted[kept]] = 0
        farthest = int(distance.argmax())
        if distance[farthest] < WORTH_A_LOOK:
            break
        row, others = kept[farthest], np.delete(kept, farthest)
        without = fit(others)
        if abs(latency_ms[row] - without.predict(features[row])) < DOUBTFUL * without.std(features[row]):
            break
        kept, average = others, without
    return average, np.setdiff1d(np.arange(len(latency_ms)), kept)


def left_out_of_all(
    average: Average, features: NDArray[np.float32], suspicious: Sequence[int] | NDArray[np.intp]
) -> tuple[Floats, Floats]:
    """Left-out predictions of all rows, suspicious ones among them: means and deviations, shape ``(n,)``."""
    kept = np.setdiff1d(np.arange(len(features)), suspicious)
    mean, std = np.empty(len(features)), np.empty(len(features))
    mean[kept], std[kept] = average.left_out
    for row in suspicious:
        mean[row], std[row] = average.predict(features[row]), average.std(features[row])
    return mean, std
