"""The standard deviation stated of a latency: wide enough for what it is used for, by errors that were held out."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

UPPER = 1.645
"""Standard deviations above the mean below which 95 % of a normal distribution lie."""


def relative_errors(predicted: Floats, measured: Floats) -> Floats:
    """How far measurements lie above their predictions, as fractions of these; below 0 where they lie under them."""
    errors: Floats = measured / np.maximum(predicted, 1e-12) - 1
    return errors


def calibrated(errors: Sequence[Floats]) -> float:
    """The relative standard deviation that means what it is used for, over groups of errors that count equally.

    At least 68 % of the measurements lie within one of it, and at least 95 % below the prediction and `UPPER` of it,
    which is what a budget is held against. A few devices err many times as much as the others: no one width gives both
    shares exactly.

    Parameters
    ----------
    errors : as of `relative_errors`, a group for each device, or one for all.
    """
    pooled = np.concatenate(errors)
    weights = np.concatenate([np.full(len(one), 1 / len(one)) for one in errors])

    def holding(share: float, values: Floats) -> float:
        order = np.argsort(values)
        shares = np.cumsum(weights[order]) / weights.sum()
        return float(values[order][np.searchsorted(shares, share)])

    return max(holding(0.68, np.abs(pooled)), holding(0.95, pooled) / UPPER)
