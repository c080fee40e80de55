import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from nas.search.budget import Budget
from nas.search.evolution.archive import Archive, Scores
from nas.search.evolution.evolve import EvolutionSettings, _Search, evolve, evolve_front
from nas.search.evolution.pareto import front, hypervolume
from nas.search.objectives import Estimator
from search_spaces import Population, SearchSpace, get_space

BUDGET = Budget.parse(latency="3.2ms", macs="2.3M")


@pytest.mark.parametrize("seed", range(5))
def test_finds_the_true_optimum_within_the_budget(
    estimator: Estimator, everything: NDArray[np.int16], seed: int
) -> None:
    score = estimator.scorer(BUDGET)
    objectives, violations = score(everything)
    feasible = (violations <= 0).all(axis=1)
    assert 0.01 < feasible.mean() < 0.7  # the budget binds
    settings = EvolutionSettings(evaluations=2500)
    archive = evolve(estimator.space, score, rng=np.random.default_rng(seed), settings=settings)
    assert len(archive) <= 2500
    assert archive.feasible[archive.best]
    assert archive.objectives[archive.best, 0] == objectives[feasible].min()


def test_of_near_relatives_only_the_fittest_is_a_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    space = get_space("mobilenet_v3_small_images")
    survivors: list[Population] = []
    select = _Search._select

    def watched(self: _Search, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        chosen = select(self, numbers)
        survivors.append(self.archive.population[chosen])
        fitness = self.archive.objectives[chosen, 0] + 1e6 * np.maximum(self.archive.scores.violations[chosen, 0], 0)
        assert (np.diff(fitness) >= 0).all()
        return chosen

    def score(population: Population) -> Scores:
        costs = space.costs(population)
        return Scores(-np.sqrt(costs.params)[:, None], (costs.macs[:, None] - 4e6) / 4e6)

    monkeypatch.setattr(_Search, "_select", watched)
    evolve(space, score, rng=np.random.default_rng(0), settings=EvolutionSettings(2000, parents=60))
    for parents in survivors:
        encoded = space.encode(parents)
        size = encoded.sum(axis=1)
        apart = np.maximum(size[:, None], size) - encoded @ encoded.T
        assert apart[np.triu_indices(len(parents), 1)].min(initial=9) >= 0.1 * len(space.tokens)
    assert len(survivors) > 5


def test_nothing_is_evaluated_twice_and_a_small_space_ends_the_search(estimator: Estimator) -> None:
    settings = EvolutionSettings(evaluations=100_000, patience=3)
    archive = evolve(estimator.space, estimator.scorer(BUDGET), rng=np.random.default_rng(0), settings=settings)
    assert estimator.accuracy.rows == len(archive) <= estimator.space.size  # type: ignore[attr-defined]
    assert len(np.unique(archive.population, axis=0)) == len(archive)


def test_equal_networks_with_absent_blocks_are_one() -> None:
    space = get_space("mobilenet_v3_small_images")
    seen: list[Population] = []

    def score(population: Population) -> Scores:
        seen.append(population)
        return Scores(space.costs(population).macs[:, None].astype(float), np.empty((len(population), 0)))

    archive = evolve(space, score, rng=np.random.default_rng(0), settings=EvolutionSettings(evaluations=3000))
    rows = np.concatenate(seen)
    assert len(set(space.format(rows))) == len(rows) == len(archive)
    np.testing.assert_array_equal(archive.population[archive.best], space.min)


def test_one_by_one_scores_equal_the_archive(estimator: Estimator) -> None:
    score = estimator.scorer(BUDGET)
    archive = evolve(estimator.space, score, rng=np.random.default_rng(3), settings=EvolutionSettings(evaluations=600))
    for i in range(0, len(archive), 37):
        alone = score(archive.population[i : i + 1])
        np.testing.assert_allclose(alone.objectives[0], archive.objectives[i], rtol=1e-12)
        np.testing.assert_allclose(alone.violations[0], archive.scores.violations[i], rtol=1e-12)


def test_front_covers_the_whole_range(estimator: Estimator, everything: NDArray[np.int16]) -> None:
    score = estimator.front_scorer(Budget())
    true = score(everything).objectives
    archive = evolve_front(
        estimator.space, score, rng=np.random.default_rng(0), settings=EvolutionSettings(evaluations=2500)
    )
    reference = true.max(axis=0)
    assert hypervolume(archive.objectives, reference) >= 0.995 * hypervolume(true, reference)
    found, exact = archive.objectives[front(archive.objectives)], true[front(true)]
    np.testing.assert_allclose([found[0], found[-1]], [exact[0], exact[-1]])


def test_interrupted_search_returns_the_best_so_far(estimator: Estimator) -> None:
    score = estimator.scorer(BUDGET)
    batches: list[int] = []

    def impatient(population: Population) -> Scores:
        if len(batches) == 5:
            raise KeyboardInterrupt
        batches.append(len(population))
        return score(population)

    archive = evolve(estimator.space, impatient, rng=np.random.default_rng(0))
    assert archive.interrupted
    assert len(archive) == sum(batches) > 100  # all that came before
    assert archive.feasible[archive.best]


def test_a_predictor_that_returns_nan_is_refused(small_space: SearchSpace) -> None:
    def score(population: Population) -> Scores:
        return Scores(np.full((len(population), 1), np.nan), np.empty((len(population), 0)))

    with pytest.raises(ValueError, match="not a finite number"):
        evolve(small_space, score, rng=np.random.default_rng(0))


def test_convergence_never_gets_worse(estimator: Estimator) -> None:
    archive = evolve(
        estimator.space, estimator.scorer(BUDGET), rng=np.random.default_rng(1), settings=EvolutionSettings(2000)
    )
    history = archive.convergence()
    assert history[-1, 0] == len(archive)
    assert (np.diff(history[:, 0]) > 0).all()
    assert not (np.diff(history[:, 1]) > 0).any()
    assert history[-1, 1] == archive.objectives[archive.best, 0]


def test_archive_lets_every_row_through_once() -> None:
    archive = Archive()
    rows = np.array([[1, 2], [3, 4], [1, 2]], dtype=np.int16)
    new = archive.unseen(rows)
    np.testing.assert_array_equal(new, rows[:2])
    archive.add(new, Scores(np.zeros((2, 1)), np.zeros((2, 0))))
    np.testing.assert_array_equal(archive.unseen(np.array([[3, 4], [2, 1]], dtype=np.int16)), [[2, 1]])


@pytest.mark.parametrize("name", ["evaluations", "parents", "children", "changes", "patience"])
def test_settings_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive, got 0"):
        EvolutionSettings(**{name: 0})


PROGRAM = """
import numpy as np
from nas.search.evolution.archive import Scores
from nas.search.evolution.evolve import EvolutionSettings, evolve
from search_spaces import get_space
space = get_space("mobilenet_v3_small_images")
def score(p):
    c = space.costs(p)
    return Scores(-np.sqrt(c.params)[:, None], ((c.macs - 4e6) / 4e6)[:, None])
archive = evolve(space, score, rng=np.random.default_rng(7), settings=EvolutionSettings(evaluations=2000))
print(space.format(archive.population[archive.best]), archive.population.astype(int).sum(axis=0).tolist())
"""


def test_same_seed_same_search_in_any_process() -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0].startswith("r32-")
