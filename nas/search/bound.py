"""How much better than what was found any network within the budget could be, by the same predictors.

The accuracy predictor is a sum over operators plus weighted logarithms of costs on paper. A logarithm lies
below its tangents and, between two costs, above its chord; put in its place, they make a sum over slots that
is nowhere below the prediction. The latency predictor is a sum over slots where no fleet stands behind it,
and its upper quantile is at least mean * (1 + z * noise). So an exact search of the two sums
(`nas.search.exact`) gives an accuracy that no network within the budget is predicted to exceed. Other
predictors have no bound, which is said. Accuracies are fractions.

With a fleet the latency also has squares of sums over all slots (`predictors.latency.sources`), weighted by either
sign, so it is neither a sum over slots nor convex. A sum over slots below it exists (a tangent, less a bound on
the curvature slot by slot), but that bound's slack adds up over the slots, and whether it leaves anything of the
budget has not been shown; so no bound is given rather than one that says nothing.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from nas.search.budget import Budget
from nas.search.exact import SlotSum, minimise, tabulate
from nas.search.objectives import LATENCY, Estimator
from predictors.accuracy import AccuracyPredictor
from predictors.latency import LatencyPredictor
from search_spaces import Population

_TANGENTS = 3  # each is valid; the next one touches where the last bound was reached
_ROUNDING = 2e-5  # predictions are single precision
_COSTS = ("macs", "params", "peak_activation_bytes", "blocks")


@dataclass(frozen=True)
class Bound:
    """No network within the budget is predicted to be more accurate than `accuracy`; None where that is unknown.

    Attributes
    ----------
    accuracy : a fraction.
    reason : why there is none, in a sentence; empty where there is one.
    """

    accuracy: float | None
    reason: str = ""


def accuracy_bound(estimator: Estimator, budget: Budget, found: Population) -> Bound:
    """An upper bound of the predicted accuracy within `budget`; `found` is the best network known, (n_genes,)."""
    accuracy = estimator.accuracy
    if not isinstance(accuracy, AccuracyPredictor):
        return Bound(None, "the accuracy predictor is not a sum over operators and costs")
    limited = [estimator.latencies[limit.key] for limit in budget.limits if limit.metric.key == LATENCY]
    if not all(isinstance(latency, LatencyPredictor) and not latency.devices_ for latency in limited):
        return Bound(None, "the latency predictor is not a sum over operators")
    try:
        # Small products again; see `nas.search.evolution.evolve`.
        with threadpool_limits(1, user_api="blas"):
            return Bound(min(1.0, _bound(estimator, accuracy, budget, found) + _ROUNDING))
    except ValueError as error:
        return Bound(None, str(error))


def _bound(estimator: Estimator, accuracy: AccuracyPredictor, budget: Budget, found: Population) -> float:
    space = estimator.space

    def paper(key: str) -> Any:
        return lambda population: getattr(space.costs(population, estimator.precision), key).astype(np.float64)

    limits = []
    for limit in budget.limits:
        key, number = limit.key, limit.value
        if limit.metric.key == LATENCY:
            latency = estimator.latencies[key]
            assert isinstance(latency, LatencyPredictor)
            z = NormalDist().inv_cdf(estimator.confidence)
            number /= estimator.latency_scale.get(key, 1.0) * (1 + z * latency.noise_)
            limits.append((tabulate(space, latency.predict, rounding=1e-5), number * (1 + 1e-4)))
        else:
            maximum = key == "peak_activation_bytes"
            limits.append((tabulate(space, paper(key), maximum=maximum), number))
    part = tabulate(space, lambda population: accuracy.parts(population)[0], rounding=1e-6)
    _, slopes = accuracy.parts(found[None])
    tables = [
        tabulate(space, lambda population: space.costs(population).macs.astype(np.float64)),
        tabulate(space, lambda population: space.costs(population).params.astype(np.float64)),
        tabulate(space, lambda population: space.costs(population).peak_activation_bytes.astype(float), maximum=True),
        tabulate(space, lambda population: _blocks(space, population)),
    ]
    sums = [i for i in range(len(_COSTS)) if not tables[i].maximum and slopes[i]]
    lowest = {i: _extreme(space, tables[i], 1, limits) for i in sums if slopes[i] < 0}
    highest = {i: _extreme(space, tables[i], -1, limits) for i in sums if slopes[i] < 0}
    touch = np.array([max(1.0, table(space, found[None])[0]) for table in tables])
    best = np.inf
    for _ in range(_TANGENTS):
        constant, weighted = 0.0, [(part, 1.0)]
        for i in sums:
            if slopes[i] > 0:
                slope, level = 1 / touch[i], np.log(touch[i]) - 1
            else:
                low, high = max(1.0, lowest[i]), max(1.0, highest[i])
                slope = (np.log(high) - np.log(low)) / (high - low) if high > low else 0.0
                level = np.log(low) - slope * low
            constant += slopes[i] * level
            weighted.append((tables[i], slopes[i] * slope))
        objective = SlotSum([-np.sum([w * t.values[s] for t, w in weighted], axis=0) for s in range(len(space.slots))])
        value, at = -np.inf, found
        for low, high in _peak_levels(space, tables[2]) if slopes[2] else [(1.0, np.inf)]:
            peak = slopes[2] * np.log(max(1.0, high if slopes[2] > 0 else low)) if slopes[2] else 0.0
            optimum = minimise(space, objective, [*limits, (tables[2], high)])
            if optimum.genotype is not None and constant + peak - optimum.objective > value:
                value, at = constant + peak - optimum.objective, optimum.genotype
        if value == -np.inf:
            raise ValueError("no network keeps the budget")
        best = min(best, value)
        touch = np.array([max(1.0, table(space, at[None])[0]) for table in tables])
    return float(best)


def _extreme(space: Any, table: SlotSum, sign: int, limits: list[tuple[SlotSum, float]]) -> float:
    found = minimise(space, SlotSum([sign * values for values in table.values]), limits)
    if found.genotype is None:
        raise ValueError("no network keeps the budget")
    return sign * found.objective


def _peak_levels(space: Any, table: SlotSum, at_most: int = 6) -> list[tuple[float, float]]:
    """Intervals (least, most] that together hold the peak of every network."""
    least = float(max(values.min() for values in table.values))
    levels = np.unique(np.concatenate([values[values >= least] for values in table.values]))
    tops = levels[np.unique(np.linspace(0, len(levels) - 1, at_most + 1).round().astype(int))]
    bottoms = [tops[0], *(levels[np.searchsorted(levels, top) + 1] for top in tops[:-1])]
    return list(zip(map(float, bottoms), map(float, tops), strict=True))


def _blocks(space: Any, population: Population) -> NDArray[np.float64]:
    """Blocks that are there: what the accuracy predictor counts."""
    sizes = [len(gene.values) for gene in space.context_genes]
    first = sum(size for size in sizes if size > 1)
    return np.asarray(space.encode(population)[:, first:].sum(axis=1), dtype=np.float64)
