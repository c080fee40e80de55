"""What operators cost a device, from published latencies of hand-made networks alone.

A few dozen networks cannot tell twenty-eight prices apart. So each quantity (launches, MACs, elements, weights) has
one price for all classes of layers, each class may cost more than that, which is penalised, and an inference has an
overhead. Non-negative least squares on relative errors. Errors are of networks that were left out, a whole family at
once, for a new search space is a new family; and of the smallest third, told from the larger ones. Latencies are
milliseconds.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from predictors.latency.transfer import LEAST_ERROR, MEAN_DISTANCE, DeviceCosts, scaled
from predictors.latency.width import calibrated, relative_errors
from predictors.operators import CLASSES, QUANTITIES, WIDTH

Floats = NDArray[np.float64]

BY_CLASS = 100.0
"""Penalty of what a class costs beyond its quantity, relative to one network's squared error: chosen with families of
networks left out."""
AT_ALL = 0.03
"""The same of overhead and quantities: three networks should not be fitted exactly."""
SHARED = np.tile(np.eye(len(QUANTITIES)), (len(CLASSES), 1, 1)).transpose(1, 0, 2).reshape(WIDTH, len(QUANTITIES))
"""Prices of all classes from one for each quantity, shape ``(WIDTH, quantities)``."""
SMALLEST = 1 / 3
HAND_MADE = "hand-made networks"


class Prices(NamedTuple):
    """Milliseconds of an inference, and for the units of `predictors.latency.transfer`, shape ``(WIDTH,)``."""

    overhead_ms: float
    prices: Floats

    def predict(self, totals: NDArray[Any]) -> Floats:
        """Milliseconds of networks with these totals, ``(n, WIDTH)``."""
        latency: Floats = scaled(totals) @ self.prices + self.overhead_ms
        return latency


def fit_prices(totals: NDArray[Any], latency_ms: Floats) -> Prices:
    """Prices from networks with these totals.

    Parameters
    ----------
    totals : in the order of `predictors.operators`, shape (n, WIDTH).
    latency_ms : shape (n,).
    """
    from scipy.optimize import nnls

    by_class = scaled(totals) / latency_ms[:, None]
    at_all = np.concatenate([1 / latency_ms[:, None], by_class @ SHARED], axis=1)
    penalties = [np.sqrt(AT_ALL * np.square(at_all).mean(axis=0)), np.sqrt(BY_CLASS * np.square(by_class).mean(axis=0))]
    design = np.concatenate([np.concatenate([at_all, by_class], axis=1), np.diag(np.concatenate(penalties))])
    target = np.concatenate([np.ones(len(latency_ms)), np.zeros(design.shape[1])])
    overhead, *rest = nnls(design, target, maxiter=30 * design.shape[1])[0]
    n = len(QUANTITIES)
    return Prices(float(overhead), SHARED @ np.array(rest[:n]) + np.array(rest[n:]))


class LeftOut(NamedTuple):
    """Every network predicted from those of other families, and the smallest ones from the larger.

    Attributes
    ----------
    families_ms : shape (n,).
    smallest : numbers of the smallest networks, by MACs.
    smallest_ms : of these.
    """

    families_ms: Floats
    smallest: NDArray[np.intp]
    smallest_ms: Floats

    def std(self, latency_ms: Floats) -> float:
        """The relative standard deviation that holds what was left out in both ways."""
        return max(
            calibrated([relative_errors(self.families_ms, latency_ms)]),
            calibrated([relative_errors(self.smallest_ms, latency_ms[self.smallest])]),
        )

    def errors(self, latency_ms: Floats) -> tuple[float, float]:
        """Mean absolute relative errors of both."""
        return (
            float(np.abs(self.families_ms / latency_ms - 1).mean()),
            float(np.abs(self.smallest_ms / latency_ms[self.smallest] - 1).mean()),
        )


def leave_out(totals: NDArray[Any], latency_ms: Floats, families: NDArray[Any]) -> LeftOut:
    """Predict every network from those of other families, and the smallest ones from the larger.

    Parameters
    ----------
    totals, latency_ms : as of `fit_prices`.
    families : of each network, shape (n,); at least two.
    """
    predicted = np.empty(len(latency_ms))
    for family in np.unique(families):
        out = families == family
        predicted[out] = fit_prices(totals[~out], latency_ms[~out]).predict(totals[out])
    order = np.argsort(_macs(totals), kind="stable")
    smallest, larger = np.split(order, [round(SMALLEST * len(order))])
    return LeftOut(predicted, smallest, fit_prices(totals[larger], latency_ms[larger]).predict(totals[smallest]))


def published_costs(
    totals: NDArray[Any], latency_ms: Floats, families: NDArray[Any], batch: int = 1
) -> tuple[DeviceCosts, LeftOut]:
    """The costs of a device whose networks were published, and what its errors are told from.

    The error stated of a space is the larger one of `LeftOut.errors`.

    Parameters
    ----------
    totals, latency_ms, families : as of `leave_out`.
    batch : images of an inference.
    """
    found = fit_prices(totals, latency_ms)
    left_out = leave_out(totals, latency_ms, families)
    alone = np.array(
        [
            fit_prices(np.delete(totals, i, axis=0), np.delete(latency_ms, i)).predict(totals[i : i + 1])[0]
            for i in range(len(latency_ms))
        ]
    )
    macs = _macs(totals)
    costs = DeviceCosts(
        found.prices,
        max(LEAST_ERROR, float(np.abs(alone / latency_ms - 1).mean()) / MEAN_DISTANCE),
        max(LEAST_ERROR, left_out.std(latency_ms)),
        (HAND_MADE,),
        len(latency_ms),
        batch,
        found.overhead_ms,
        (int(macs.min()), int(macs.max())),
        max(left_out.errors(latency_ms)),
    )
    return costs, left_out


def _macs(totals: NDArray[Any]) -> Floats:
    first = len(CLASSES) * QUANTITIES.index("macs")
    macs: Floats = np.asarray(totals, dtype=np.float64)[:, first : first + len(CLASSES)].sum(axis=1)
    return macs
