from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.search.evolution.choices import OperatorChoices
from nas.search.evolution.evaluation import Evaluator
from nas.search.evolution.knapsack import Knapsack
from nas.search.evolution.local_search import LocalSearch
from nas.search.evolution.surrogate import AdditiveModel
from search_spaces import Population, SearchSpace, get_space

CELLS = get_space("nasbench201")
ELASTIC = get_space("mobilenet_v3_small_images")


def limit_of(space: SearchSpace) -> float:
    return float(np.median(space.costs(space.sample(500, np.random.default_rng(1))).macs))


def by_macs(space: SearchSpace, population: Population) -> NDArray[np.float64]:
    return (space.costs(population).macs / limit_of(space) - 1)[:, None]


def random_objective(space: SearchSpace) -> AdditiveModel:
    """Random weights of operators, which here are the objective itself."""
    return AdditiveModel(space, np.random.default_rng(0).normal(size=space.encoding_width).astype(np.float32))


@dataclass
class Limited:
    """An additive objective within limits."""

    model: AdditiveModel
    violations: Callable[[Population], NDArray[np.float64]]

    def objectives(self, population: Population) -> NDArray[np.float64]:
        return self.model.predict(population)[:, None].astype(np.float64)


def test_a_fill_is_nearly_the_best_within_the_budget() -> None:
    model = random_objective(CELLS)
    everything = CELLS.from_values(np.indices((5,) * 6).reshape(6, -1).T)
    within = everything[by_macs(CELLS, everything)[:, 0] <= 0]
    best, worst = (getattr(model.predict(within), end)() for end in ("min", "max"))
    choices = OperatorChoices(CELLS)
    gains, scale = choices.gains(model.weights)
    fill = Knapsack(choices, lambda rows: by_macs(CELLS, rows))
    for start in everything[[0, 100, -1]]:  # from networks within and beyond the limit
        row = fill(start[None], by_macs(CELLS, start[None]), gains[None], scale, np.random.default_rng(0))
        assert by_macs(CELLS, row)[0, 0] <= 0  # MACs add up over the edges of a cell
        assert model.predict(row)[0] <= best + 0.1 * (worst - best)  # what the relaxation leaves of the budget


def test_fills_keep_several_limits_and_none() -> None:
    space, model = ELASTIC, random_objective(ELASTIC)
    limits = np.median(space.costs(space.sample(500, np.random.default_rng(1))).params), limit_of(space)

    def violations(rows: Population) -> NDArray[np.float64]:
        costs = space.costs(rows)
        return np.stack([costs.params / limits[0] - 1, costs.macs / limits[1] - 1], axis=1)

    choices = OperatorChoices(space)
    structures = np.repeat(space.min[None], 20, axis=0)
    local_search = LocalSearch(choices, Evaluator(Limited(model, violations), 1000), 20, np.random.default_rng(0))
    rows = local_search.fill(structures, model)
    assert (violations(rows) <= 0).all()
    assert len(np.unique(rows, axis=0)) > 5  # noise makes them differ
    gains, scale = choices.gains(model.weights)
    free = Knapsack(choices, lambda rows: np.empty((len(rows), 0)))
    unlimited = free(structures[:1], np.empty((1, 0)), gains[None], scale, np.random.default_rng(0))
    np.testing.assert_array_equal(unlimited, choices.filled(structures[:1], gains[None].argmin(axis=2)))


def test_proposals_are_better_and_within_the_limit() -> None:
    space, model = ELASTIC, random_objective(ELASTIC)
    choices = OperatorChoices(space)
    rng = np.random.default_rng(0)
    evaluate = Evaluator(Limited(model, lambda rows: by_macs(space, rows)), 1000)
    local_search = LocalSearch(choices, evaluate, 200, rng)
    rows = space.sample(200, rng, tilt=1.5)
    proposed = local_search.propose(rows, by_macs(space, rows), model)
    np.testing.assert_array_equal(proposed[:, choices.structure], rows[:, choices.structure])
    over, within = by_macs(space, proposed)[:, 0], by_macs(space, rows)[:, 0] <= 0
    assert (over[within] <= 1e-3).all()
    assert (model.predict(proposed[within]) <= model.predict(rows[within]) + 1e-5).all()
    assert (proposed[within] != rows[within]).any(axis=1).mean() > 0.9
    # Networks beyond the limit are brought within it, wherever their structure can be.
    cheapest = by_macs(space, choices.filled(rows, np.zeros_like(choices.numbers(rows))))[:, 0]
    assert (over[~within & (cheapest < -0.05)] <= 1e-3).all()


def test_steps_only_improve() -> None:
    space, model = ELASTIC, random_objective(ELASTIC)
    evaluate = Evaluator(Limited(model, lambda rows: by_macs(space, rows)), 10_000)
    local_search = LocalSearch(OperatorChoices(space), evaluate, 60, np.random.default_rng(0))
    children = space.sample(300, np.random.default_rng(1))
    best = []
    evaluate(space.min[None])
    numbers = local_search.step(children, model)
    while len(local_search.unfinished):
        best.append(evaluate.archive.objectives[numbers][evaluate.archive.feasible[numbers], 0].min())
        numbers = local_search.step(children[:0], model)
    assert (np.diff(best) <= 0).all()  # a step never loses a better network
    within = children[by_macs(space, children)[:, 0] <= 0]
    assert evaluate.archive.objectives[evaluate.archive.best, 0] < model.predict(within).min()
