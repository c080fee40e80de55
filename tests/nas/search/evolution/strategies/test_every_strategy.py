"""What every strategy must do, whatever file it is in."""

import numpy as np
import pytest
from numpy.typing import NDArray

from nas.search.budget import Budget
from nas.search.evolution import strategies as room
from nas.search.evolution.archive import Archive
from nas.search.evolution.settings import EvolutionSettings
from nas.search.evolution.strategies import Search, run_strategy, strategies, strategy
from nas.search.feasibility import check_feasibility
from nas.search.objectives import Objectives
from search_spaces import Population, SearchSpace

BUDGET = Budget.parse(latency="3.2ms", macs="2.3M")

every = pytest.mark.parametrize("name", strategies())


def found(name: str, objectives: Objectives, seed: int = 0, evaluations: int = 600) -> Archive:
    return run_strategy(
        name,
        objectives.space,
        objectives.scorer(BUDGET),
        rng=np.random.default_rng(seed),
        settings=EvolutionSettings(evaluations),
    )


def test_the_usual_ones_are_there() -> None:
    assert {"evolution", "gradient", "nsga2", "random"} <= set(strategies())


@every
def test_the_same_seed_evaluates_the_same_networks(objectives: Objectives, name: str) -> None:
    first, again, other = (found(name, objectives, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.population, again.population)
    np.testing.assert_array_equal(first.objectives, again.objectives)
    assert not np.array_equal(first.population, other.population)
    assert len(first) <= 600
    assert first.feasible[first.best]


@every
def test_one_by_one_scores_equal_the_archive(objectives: Objectives, name: str) -> None:
    archive, score = found(name, objectives), objectives.scorer(BUDGET)
    for i in range(0, len(archive), 37):
        row = archive.population[i : i + 1]
        np.testing.assert_allclose(score.objectives(row)[0], archive.objectives[i], rtol=1e-12)
        np.testing.assert_allclose(score.violations(row)[0], archive.scores.violations[i], rtol=1e-12)


@every
def test_nothing_is_evaluated_twice_and_a_small_space_ends_the_search(objectives: Objectives, name: str) -> None:
    settings = EvolutionSettings(evaluations=100_000, patience=3)
    archive = run_strategy(
        name, objectives.space, objectives.scorer(BUDGET), rng=np.random.default_rng(0), settings=settings
    )
    assert objectives.accuracy.rows == len(archive) <= objectives.space.size  # type: ignore[attr-defined]
    assert len(np.unique(archive.population, axis=0)) == len(archive)


@every
def test_networks_to_start_from_are_evaluated(objectives: Objectives, everything: NDArray[np.int16], name: str) -> None:
    score = objectives.scorer(BUDGET)
    start = everything[(score.violations(everything) <= 0).all(axis=1)][:5]
    archive = run_strategy(
        name, objectives.space, score, rng=np.random.default_rng(0), settings=EvolutionSettings(300), start=start
    )
    assert (archive.find(start) >= 0).all()


@every
def test_a_budget_that_only_few_networks_keep(objectives: Objectives, everything: NDArray[np.int16], name: str) -> None:
    latency = np.sort(objectives.costs(everything, BUDGET)[BUDGET.latencies[0]])
    budget = Budget.parse(latency=f"{latency[3] + 1e-9}ms")
    archive = run_strategy(
        name,
        objectives.space,
        objectives.scorer(budget),
        rng=np.random.default_rng(0),
        settings=EvolutionSettings(2000),
        start=check_feasibility(objectives, budget).starts,
    )
    assert archive.feasible[archive.best]


@every
def test_an_interrupted_search_returns_the_best_so_far(objectives: Objectives, name: str) -> None:
    objectives.accuracy.interrupt_at_call(2)  # type: ignore[attr-defined]
    archive = found(name, objectives, evaluations=100_000)
    assert archive.interrupted
    assert len(archive) == objectives.accuracy.rows > 20  # type: ignore[attr-defined]
    assert archive.feasible[archive.best]


@every
def test_a_predictor_that_returns_nan_is_refused(small_space: SearchSpace, name: str) -> None:
    class Broken:
        def objectives(self, population: Population) -> NDArray[np.float64]:
            return np.full((len(population), 1), np.nan)

        def violations(self, population: Population) -> NDArray[np.float64]:
            return np.empty((len(population), 0))

    with pytest.raises(ValueError, match="not a finite number"):
        run_strategy(name, small_space, Broken(), rng=np.random.default_rng(0))


def test_a_new_strategy_is_found_by_its_name(objectives: Objectives, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_STRATEGIES", dict(room._STRATEGIES))

    @strategy("only_the_smallest")
    def only_the_smallest(search: Search) -> None:
        search.evaluate(search.space.min[None])

    assert "only_the_smallest" in strategies()
    archive = found("only_the_smallest", objectives)
    np.testing.assert_array_equal(archive.population, objectives.space.min[None])


def test_an_unknown_strategy_is_refused(objectives: Objectives) -> None:
    with pytest.raises(ValueError, match=r"no search strategy 'annealing'; known: evolution, gradient, nsga2, random"):
        found("annealing", objectives)
