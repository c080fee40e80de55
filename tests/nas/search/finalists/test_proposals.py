"""Which networks become finalists."""

import numpy as np

from nas.search.budget import Budget
from nas.search.evolution.settings import EvolutionSettings
from nas.search.evolution.strategies import run_strategy
from nas.search.finalists.proposals import Evaluated, choose_evaluated, choose_finalists
from nas.search.latency import Latency
from nas.search.objectives import Objectives

SETTINGS = EvolutionSettings(2000)
BUDGET = Budget.parse(latency="3.2ms")


def test_finalists_are_unlike_each_other_and_leave_growing_room(objectives: Objectives) -> None:
    space = objectives.space
    archive = run_strategy(
        "evolution", space, objectives.scorer(BUDGET), rng=np.random.default_rng(0), settings=SETTINGS
    )
    chosen = choose_finalists(space, archive, BUDGET, 6, archive.population[:0])
    assert len(np.unique(chosen, axis=0)) == 6
    upper = objectives.costs(chosen, BUDGET)[Latency()]
    assert (upper <= 3.2 * (1 - 0.1 * np.arange(6) / 5) + 1e-9).all()
    np.testing.assert_array_equal(chosen[0], archive.population[archive.best])
    others = choose_finalists(space, archive, BUDGET, 6, chosen)
    assert not (others[:, None] == chosen[None]).all(axis=2).any()


def test_limits_on_paper_are_kept_also_where_no_network_within_all_limits_is_left(objectives: Objectives) -> None:
    space = objectives.space
    budget = Budget.parse(latency="1us", macs="3M")
    archive = run_strategy("random", space, objectives.scorer(budget), rng=np.random.default_rng(0), settings=SETTINGS)
    assert not archive.feasible.any()
    chosen = choose_finalists(space, archive, budget, 6, archive.population[:0])
    assert len(chosen) == 6
    assert (space.costs(chosen).macs <= 3e6).all()
    assert not len(choose_finalists(space, archive, budget, 6, archive.population[:0], measured=()))


def test_of_networks_evaluated_before_the_best_that_fit_are_taken(objectives: Objectives) -> None:
    pool = objectives.space.sample(50, np.random.default_rng(6))
    accuracy = np.linspace(0.5, 0.9, 50)
    score = objectives.scorer(BUDGET)
    within = np.flatnonzero((score.violations(pool) <= 0).all(axis=1))
    assert 5 < len(within) < 50
    evaluated, none = Evaluated(pool, accuracy), pool[:0]
    np.testing.assert_array_equal(choose_evaluated(objectives, evaluated, BUDGET, 3, none), pool[within[::-1][:3]])
    rest = choose_evaluated(objectives, evaluated, BUDGET, 50, pool[within[-1:]], worth=accuracy[within[-4]])
    np.testing.assert_array_equal(rest, pool[within[::-1][1:3]])
