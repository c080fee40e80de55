"""Which networks to measure next, and how many: those that make the rest of the pool most certain.

Greedy A-optimal design: each choice is the network whose measurement lowers the summed predictive variance
over the pool most. Design of experiments with Gaussian processes: Krause, Singh and Guestrin (JMLR 2008),
https://jmlr.org/papers/v9/krause08a.html.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TOGETHER = 5
"""Networks that are chosen before any is measured."""
FEW = 20
"""So many are chosen one at a time; of more, a tenth at a time."""


def next_count(known: int, wanted: int) -> int:
    """How many networks to choose where `known` of the `wanted` ones are measured: five, then one or a few at a time.

    What was measured says which features matter on this device, so a choice that waits for it is a better one
    (experiments/latency_transfer). A session measures a reference network too, so many of them cost time.
    """
    at_once = 1 if wanted <= FEW else wanted // 10
    return min(TOGETHER - known if known < TOGETHER else at_once, wanted - known)


def a_optimal(covariance: Floats, noise_variance: Floats, n: int, taken: NDArray[Any]) -> NDArray[np.intp]:
    """Choose `n` rows of a pool one after the other.

    Parameters
    ----------
    covariance : of the pool's latencies, shape (pool, pool).
    noise_variance : of a measurement of each, shape (pool,).
    n : how many to choose, at most as many as are not taken.
    taken : bool, shape (pool,); rows not to be chosen.

    Returns
    -------
    int array of shape (n,), the row most worth measuring first.
    """
    covariance = covariance.copy()
    open_rows = ~taken
    chosen = np.empty(n, dtype=np.intp)
    for step in range(n):
        total = np.diagonal(covariance) + noise_variance
        gain = np.where(open_rows, np.square(covariance).sum(axis=0) / total, -np.inf)
        best = int(gain.argmax())
        covariance -= np.outer(covariance[:, best], covariance[best] / total[best])
        open_rows[best] = False
        chosen[step] = best
    return chosen
