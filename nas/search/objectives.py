"""What is predicted of networks before they are built, in the form that searches and budgets read.

Accuracy is a fraction in [0, 1]; latency is milliseconds. A latency budget is held against an upper
quantile of the prediction, mean + z * standard deviation, so that the network keeps it with the stated
confidence and not just every other time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nas.search.budget import Budget
from nas.search.latency import ONLY_DEVICE, CostKey, Latency, by_latency
from search_spaces import Population, SearchSpace


class Predictor(Protocol):
    """An accuracy or a latency predictor, fitted."""

    def predict(self, population: Population, return_std: bool = False) -> Any:
        """The mean, shape (n,), and with `return_std` also its standard deviation, shape (n,)."""


class Unknown:
    """Takes the place of a predictor of accuracy that is yet to be learnt, where only costs are of interest."""

    def predict(self, population: Population, return_std: bool = False) -> Any:
        """Refused.

        Raises
        ------
        NotImplementedError : always.
        """
        raise NotImplementedError


ACCURACIES = ("accuracy", "balanced_accuracy")
"""What accuracy is: the share of correct images, or the mean of the classes' recalls."""
FAR_OVER = 1e6
"""Times a limit: what a network that is cut off from the image is said to cost; by how much it is over, without one."""
PEAK = "peak_activation_bytes"
MNAS = "mnas"
OBJECTIVES = (*ACCURACIES, MNAS)
"""What a network may be chosen by within the budget: an accuracy, or MnasNet's ``accuracy (latency / limit)^-0.07``."""
EXPONENTS = {MNAS: -0.07}
"""Of latency in an objective, 0 where absent: 5 % of relative accuracy is worth twice the latency (MnasNet, CVPR 2019,
https://arxiv.org/abs/1807.11626)."""


def check_confidence(confidence: float) -> None:
    """Refuse a chance with which no network can be asked to keep a budget.

    Raises
    ------
    ValueError : it is not between 0.5 and 1.
    """
    if not 0.5 <= confidence < 1:
        raise ValueError(f"confidence must be at least 0.5 and below 1, got {confidence}; 0.95 is usual")


def accuracy_of(objective: str) -> str:
    """The accuracy that an objective is made of."""
    return objective if objective in ACCURACIES else ACCURACIES[0]


def check_objective(objective: str, known: tuple[str, ...] = ACCURACIES) -> str:
    """`objective`, if it is one of those `known`.

    Raises
    ------
    ValueError : it is not.
    """
    if objective not in known:
        raise ValueError(f"objective must be {', '.join(known[:-1])} or {known[-1]}, got {objective!r}")
    return objective


@dataclass
class Objectives:
    """Predictions and paper costs of a population.

    Parameters
    ----------
    space : whose networks.
    accuracy : predicts accuracy in [0, 1].
    latency : predicts milliseconds; where several devices share the network one each, by the device's name; None
        where no device is involved.
    confidence : chance with which a network shall keep a latency budget.
    precision : of weights and activations, for the costs in bytes.
    exponent : of the latency in what a network is worth; 0 where accuracy alone decides. See `worth`.
    batch : images of an inference, whose activations are in memory together.

    Attributes
    ----------
    latency_scale : factors of the latency predictions, 1 where absent; above 1 once measurements showed they are
        too low.

    Raises
    ------
    ValueError : `confidence` is not between 0.5 and 1.
    """

    space: SearchSpace
    accuracy: Predictor
    latency: Predictor | Mapping[str, Predictor] | None
    confidence: float = 0.95
    precision: str = "float32"
    latency_scale: dict[Latency, float] = field(default_factory=dict)
    exponent: float = 0.0
    batch: int = 1

    def __post_init__(self) -> None:
        check_confidence(self.confidence)

    @property
    def latencies(self) -> Mapping[Latency, Predictor]:
        """The latency predictors, one for each device."""
        return by_latency(self.latency)

    def predicted_latency(
        self, population: Population, key: Latency = ONLY_DEVICE
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation in milliseconds, each (n,)."""
        mean, std = self._latency(key).predict(population, return_std=True)
        scale = self.latency_scale.get(key, 1.0)
        return _column(mean) * scale, _column(std) * scale

    def mean_latency(self, population: Population, key: Latency = ONLY_DEVICE) -> NDArray[np.float64]:
        """Mean in milliseconds, (n,); quicker than with its standard deviation."""
        return _column(self._latency(key).predict(population)) * self.latency_scale.get(key, 1.0)

    def _latency(self, key: Latency) -> Predictor:
        if key not in self.latencies:
            raise ValueError("a latency needs a device: name one, or leave the latency budget out")
        return self.latencies[key]

    def predicted_accuracy(self, population: Population) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation as fractions, each (n,)."""
        mean, std = self.accuracy.predict(population, return_std=True)
        return _column(mean), _column(std)

    def costs(self, population: Population, budget: Budget) -> dict[CostKey, NDArray[np.float64]]:
        """What `budget` is held against, by the limits' keys; latency as its upper quantile.

        A network that nothing of the image gets through is far over every limit, whatever it would cost.
        """
        paper: Mapping[str, Any] | None = None
        costs: dict[CostKey, NDArray[np.float64]] = {}
        for limit in budget.limits:
            if limit.latency is not None:
                mean, std = self.predicted_latency(population, limit.latency)
                costs[limit.key] = mean + NormalDist().inv_cdf(self.confidence) * std
            else:
                paper = paper or self.on_paper(population)
                costs[limit.key] = _column(paper[limit.metric.key])
        connected = self.space.connected(population)
        if connected.all():
            return costs
        return {limit.key: np.where(connected, costs[limit.key], FAR_OVER * limit.value) for limit in budget.limits}

    def on_paper(self, population: Population) -> dict[str, NDArray[np.int64]]:
        """Costs on paper, each (n,); see `costs_at_batch`."""
        return costs_at_batch(self.space, population, self.precision, self.batch)

    def worth(self, population: Population, budget: Budget) -> NDArray[np.float64]:
        """What networks are chosen by within `budget`, (n,), more is better: the predicted accuracy.

        With an exponent it is multiplied by ``(latency / limit) ** exponent`` for every limit on a latency, whose upper
        quantile counts.
        """
        accuracy = _column(self.accuracy.predict(population))
        return self.weighed(accuracy, self.costs(population, budget), budget) if self.exponent else accuracy

    def weighed(
        self, accuracy: NDArray[np.float64], costs: Mapping[CostKey, NDArray[np.float64]], budget: Budget
    ) -> NDArray[np.float64]:
        """`accuracy` (n,) times ``(latency / limit) ** exponent`` for every limit of `budget` on a latency."""
        for key in budget.latencies:
            accuracy = accuracy * (costs[key] / budget[key].value) ** self.exponent
        return accuracy

    def max_net(self, budget: Budget) -> dict[CostKey, float]:
        """What the max net costs by the limits of `budget`; latency as its mean."""
        row = self.space.max[None]
        costs = {key: float(value[0]) for key, value in self.costs(row, budget).items()}
        return costs | {key: float(self.mean_latency(row, key)[0]) for key in budget.latencies}

    def scorer(self, budget: Budget) -> "BudgetScore":
        """The score of a search for the most accurate network within `budget`."""
        return BudgetScore(self, budget)

    @property
    def front_costs(self) -> tuple[CostKey, ...]:
        """What accuracy is traded against: latency on each device, MACs where there is none."""
        return tuple(self.latencies) or ("macs",)

    def front_scorer(self, budget: Budget) -> "FrontScore":
        """The score of a search for the front of accuracy against `front_costs`, within the other limits."""
        return FrontScore(self, budget.without(*self.front_costs))

    def chance(self, mean: NDArray[np.float64], std: NDArray[np.float64], limit_ms: float) -> NDArray[np.float64]:
        """Probability that each latency is at most `limit_ms`, by the predictions, (n,)."""
        # For a handful of networks; scipy's vectorised form costs a third of a second to import.
        deviations = ((limit_ms - mean) / np.maximum(std, 1e-12)).tolist()
        return np.array([NormalDist().cdf(deviation) for deviation in deviations])


@dataclass(frozen=True)
class BudgetScore:
    """Objective: minus what a network is worth. Violations: of the budget."""

    predicted: Objectives
    budget: Budget

    def objectives(self, population: Population) -> NDArray[np.float64]:
        """Minus what the networks are worth, (n, 1); see `Objectives.worth`."""
        return -self.predicted.worth(population, self.budget)[:, None]

    def violations(self, population: Population) -> NDArray[np.float64]:
        """How far over each limit, (n, n_limits), > 0 means violated.

        Without limits, a column for networks that nothing of the image gets through, where the space has such.
        """
        if not self.budget.limits:
            cut = ~self.predicted.space.connected(population)[:, None]
            return np.where(cut, FAR_OVER, 0.0)[:, : int(self.predicted.space.may_be_cut)]
        return self.budget.violations(self.predicted.costs(population, self.budget))


@dataclass(frozen=True)
class FrontScore:
    """Objectives: minus the accuracy, and the front's costs (latency as its mean). Violations: of the budget."""

    predicted: Objectives
    budget: Budget

    def objectives(self, population: Population) -> NDArray[np.float64]:
        """Minus the accuracy, then the costs, (n, 1 + n_costs)."""
        accuracy = -_column(self.predicted.accuracy.predict(population))
        costs = [self.predicted.mean_latency(population, key) for key in self.predicted.latencies]
        if not costs:
            costs = [_column(self.predicted.space.costs(population, self.predicted.precision).macs)]
        return np.stack([accuracy, *costs], axis=1)

    def violations(self, population: Population) -> NDArray[np.float64]:
        """How far over each limit, > 0 means violated; see `BudgetScore.violations`."""
        return BudgetScore(self.predicted, self.budget).violations(population)


def costs_at_batch(
    space: SearchSpace, population: Population, precision: str, batch: int
) -> dict[str, NDArray[np.int64]]:
    """Costs on paper, each (n,): the peak of the activations of `batch` images together, all else of one."""
    costs = space.costs(population, precision)._asdict()
    return costs | {PEAK: batch * costs[PEAK]}


def _column(values: Any) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)
