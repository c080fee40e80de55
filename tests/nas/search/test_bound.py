from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from nas.search.bound import accuracy_bound
from nas.search.budget import Budget
from nas.search.evolution.evolve import EvolutionSettings, evolve
from nas.search.objectives import Estimator
from nas.search.run import SearchSettings, run_search
from predictors.accuracy import AccuracyPredictor
from predictors.latency import LatencyPredictor
from search_spaces import SearchSpace, get_space

BUDGETS = [{"latency": "85%"}, {"macs": "80%", "memory": "95%"}, {"latency": "90%", "params": "85%"}, {"size": "100%"}]


@cache
def fitted(space: SearchSpace, seed: int) -> Estimator:
    rng = np.random.default_rng(seed)
    rows = space.sample(60, rng, tilt=1.5)
    costs = space.costs(rows)
    signs = rng.choice([-1, 1], 2)
    noise = rng.normal(size=(2, 60))
    accuracy = 0.8 + 0.03 * np.log(costs.macs / 4e6) + 0.02 * signs[0] * np.log(costs.params / 2e5) + 0.003 * noise[0]
    accuracy += 0.01 * signs[1] * np.log(costs.peak_activation_bytes / 1e5)
    latency = (0.2 + costs.macs / 5e6 + costs.params / 1e6) * (1 + 0.03 * noise[1])
    with threadpool_limits(1):  # small matrices: more threads wait for each other
        predictors = AccuracyPredictor(space).fit(rows, accuracy), LatencyPredictor(space).fit().adapt(rows, latency)
    return Estimator(space, *predictors)


@pytest.mark.parametrize("typed", BUDGETS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_nothing_within_the_budget_is_above_it(
    small_space: SearchSpace, everything: NDArray[np.int16], typed: dict[str, str], seed: int
) -> None:
    estimator = fitted(small_space, seed)
    budget = Budget.parse(**typed)
    budget = budget.resolve(estimator.max_net(budget))
    scores = estimator.scorer(budget)(everything)
    feasible = (scores.violations <= 0).all(axis=1)
    assert feasible.any()
    best = int(np.where(feasible, scores.objectives[:, 0], np.inf).argmin())
    bound = accuracy_bound(estimator, budget, everything[best])
    optimum = -scores.objectives[best, 0]
    assert bound.accuracy is not None, bound.reason
    assert optimum <= bound.accuracy <= optimum + 0.01


def test_a_large_space_in_a_second() -> None:
    space = get_space("mobilenet_v3_small_images")
    estimator, budget = fitted(space, 0), Budget.parse(latency="1.2ms")
    archive = evolve(
        space, estimator.scorer(budget), rng=np.random.default_rng(0), settings=EvolutionSettings(evaluations=6000)
    )
    bound = accuracy_bound(estimator, budget, archive.population[archive.best])
    assert bound.accuracy is not None
    assert -archive.objectives[archive.best, 0] <= bound.accuracy < -archive.objectives[archive.best, 0] + 0.005


def test_no_bound_where_none_can_be_proved(estimator: Estimator) -> None:
    quick = SearchSettings(EvolutionSettings(500), EvolutionSettings(500))
    result = run_search(estimator, Budget.parse(macs="3M"), settings=quick)
    assert result.bound["accuracy"] is None
    assert result.bound["gap"] is None
    assert "not a sum" in result.bound["reason"]


def test_the_result_says_how_far_from_the_bound_it_is(small_space: SearchSpace) -> None:
    quick = SearchSettings(EvolutionSettings(1500), EvolutionSettings(500))
    result = run_search(fitted(small_space, 0), Budget.parse(latency="85%"), settings=quick)
    assert result.bound["found"] + result.bound["gap"] == pytest.approx(result.bound["accuracy"])
    assert 0 <= result.bound["gap"] < 0.01
    assert result.to_dict()["bound"] == result.bound
