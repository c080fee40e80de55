"""What is predicted of networks before they are built, in the form that searches and budgets read.

Accuracy is a fraction in [0, 1]; latency is milliseconds. A latency budget is held against an upper
quantile of the prediction, mean + z * standard deviation, so that the network keeps it with the stated
confidence and not just every other time.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from nas.search.archive import Scores
from nas.search.budget import Budget
from search_spaces import Population, SearchSpace

LATENCY = "latency_ms"


class Predictor(Protocol):
    """An accuracy or a latency predictor, fitted."""

    def predict(self, population: Population, return_std: bool = False) -> Any:
        """The mean, shape (n,), and with `return_std` also its standard deviation, shape (n,)."""


@dataclass
class Estimator:
    """Predictions and paper costs of a population.

    Parameters
    ----------
    space : whose networks.
    accuracy : predicts accuracy in [0, 1].
    latency : predicts milliseconds; None where no device is involved.
    confidence : chance with which a network shall keep a latency budget.
    precision : of weights and activations, for the costs in bytes.

    Attributes
    ----------
    latency_scale : predictions are multiplied by it; above 1 once measurements showed they are too low.

    Raises
    ------
    ValueError : `confidence` is not between 0.5 and 1.
    """

    space: SearchSpace
    accuracy: Predictor
    latency: Predictor | None
    confidence: float = 0.95
    precision: str = "float32"
    latency_scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"confidence must be at least 0.5 and below 1, got {self.confidence}; 0.95 is usual")

    def predicted_latency(self, population: Population) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation in milliseconds, each (n,)."""
        if self.latency is None:
            raise ValueError("a latency needs a device: name one, or leave the latency budget out")
        mean, std = self.latency.predict(population, return_std=True)
        return _column(mean) * self.latency_scale, _column(std) * self.latency_scale

    def predicted_accuracy(self, population: Population) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation as fractions, each (n,)."""
        mean, std = self.accuracy.predict(population, return_std=True)
        return _column(mean), _column(std)

    def costs(self, population: Population, budget: Budget) -> dict[str, NDArray[np.float64]]:
        """What `budget` is held against, by metric key; latency as its upper quantile."""
        keys = {limit.metric.key for limit in budget.limits}
        costs: dict[str, NDArray[np.float64]] = {}
        if LATENCY in keys:
            mean, std = self.predicted_latency(population)
            costs[LATENCY] = mean + NormalDist().inv_cdf(self.confidence) * std
        if keys - {LATENCY}:
            paper = self.space.costs(population, self.precision)._asdict()
            costs |= {key: _column(paper[key]) for key in keys - {LATENCY}}
        return costs

    def max_net(self, budget: Budget) -> dict[str, float]:
        """What the max net costs by the metrics of `budget`; latency as its mean."""
        row = self.space.max[None]
        costs = {key: float(value[0]) for key, value in self.costs(row, budget).items()}
        if LATENCY in costs:
            costs[LATENCY] = float(self.predicted_latency(row)[0][0])
        return costs

    def scorer(self, budget: Budget) -> "BudgetScore":
        """The score of a search for the most accurate network within `budget`."""
        return BudgetScore(self, budget)

    @property
    def front_cost(self) -> str:
        """What accuracy is traded against: latency where there is a device, else MACs."""
        return LATENCY if self.latency is not None else "macs"

    def front_scorer(self, budget: Budget) -> "FrontScore":
        """The score of a search for the front of accuracy against `front_cost`, within the other limits."""
        return FrontScore(self, budget.without(self.front_cost))

    def chance(self, mean: NDArray[np.float64], std: NDArray[np.float64], limit_ms: float) -> NDArray[np.float64]:
        """Probability that each latency is at most `limit_ms`, by the predictions, (n,)."""
        return np.asarray(ndtr((limit_ms - mean) / np.maximum(std, 1e-12)))


@dataclass(frozen=True)
class BudgetScore:
    """Objective: minus the accuracy. Violations: of the budget."""

    estimator: Estimator
    budget: Budget

    def __call__(self, population: Population) -> Scores:
        """Score a population."""
        return Scores(self.objectives(population), self.violations(population))

    def objectives(self, population: Population) -> NDArray[np.float64]:
        """Minus the accuracy, (n, 1)."""
        return -_column(self.estimator.accuracy.predict(population))[:, None]

    def violations(self, population: Population) -> NDArray[np.float64]:
        """How far over each limit, (n, n_limits), > 0 means violated."""
        if not self.budget.limits:
            return np.empty((len(population), 0))
        return self.budget.violations(self.estimator.costs(population, self.budget))


@dataclass(frozen=True)
class FrontScore:
    """Objectives: minus the accuracy, and the front's cost (latency as its mean). Violations: of the budget."""

    estimator: Estimator
    budget: Budget

    def __call__(self, population: Population) -> Scores:
        """Score a population."""
        accuracy, violations = BudgetScore(self.estimator, self.budget)(population)
        if self.estimator.latency is not None:
            cost = _column(self.estimator.latency.predict(population)) * self.estimator.latency_scale
        else:
            cost = _column(self.estimator.space.costs(population, self.estimator.precision).macs)
        return Scores(np.stack([accuracy[:, 0], cost], axis=1), violations)


def _column(values: Any) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)
