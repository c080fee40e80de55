import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

from nas.search.budget import Budget
from nas.search.evolution.archive import Archive
from nas.search.evolution.evaluation import Numbers
from nas.search.evolution.selection import Survival
from nas.search.evolution.settings import EvolutionSettings
from nas.search.evolution.strategies import run_strategy
from nas.search.objectives import Objectives
from nas.tracing import Model, adopt
from search_spaces import Population, SearchSpace, get_space

FEW = EvolutionSettings(600, parents=20, children=20)
BUDGET = Budget.parse(latency="3.2ms", macs="2.3M")


class ManyParameters:
    """As many parameters as 4 M MACs allow."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    def objectives(self, population: Population) -> NDArray[np.float64]:
        return -np.sqrt(self.space.costs(population).params)[:, None]

    def violations(self, population: Population) -> NDArray[np.float64]:
        return ((self.space.costs(population).macs - 4e6) / 4e6)[:, None]


@pytest.mark.parametrize("seed", range(5))
def test_finds_the_true_optimum_within_the_budget(
    objectives: Objectives, everything: NDArray[np.int16], seed: int
) -> None:
    score = objectives.scorer(BUDGET)
    feasible = (score.violations(everything) <= 0).all(axis=1)
    assert 0.01 < feasible.mean() < 0.7  # the budget binds
    settings = EvolutionSettings(evaluations=2500)
    archive = run_strategy("evolution", objectives.space, score, rng=np.random.default_rng(seed), settings=settings)
    assert len(archive) <= 2500
    assert archive.feasible[archive.best]
    assert archive.objectives[archive.best, 0] == score.objectives(everything)[feasible].min()


def test_survivors_differ_from_each_other_and_stand_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    space = get_space("mobilenet_v3_small_images")
    survivors: list[Population] = []
    select = Survival.__call__

    def watched(self: Survival, archive: Archive, numbers: Numbers) -> Numbers:
        chosen = select(self, archive, numbers)
        survivors.append(archive.population[chosen])
        fitness = archive.objectives[chosen, 0] + 1e6 * archive.violation[chosen]
        assert (np.diff(fitness) >= 0).all()
        return chosen

    monkeypatch.setattr(Survival, "__call__", watched)
    settings = EvolutionSettings(2000, parents=60)
    run_strategy("evolution", space, ManyParameters(space), rng=np.random.default_rng(0), settings=settings)
    for parents in survivors:
        encoded = space.encode(parents)
        size = encoded.sum(axis=1)
        differ = np.maximum(size[:, None], size) - encoded @ encoded.T
        assert differ[np.triu_indices(len(parents), 1)].min(initial=9) >= 0.1 * len(space.tokens)
    assert len(survivors) > 5


def test_equal_networks_with_absent_blocks_are_one() -> None:
    space = get_space("mobilenet_v3_small_images")
    seen: list[Population] = []

    class Macs:
        def objectives(self, population: Population) -> NDArray[np.float64]:
            seen.append(population)
            return space.costs(population).macs[:, None].astype(float)

        def violations(self, population: Population) -> NDArray[np.float64]:
            return np.empty((len(population), 0))

    settings = EvolutionSettings(evaluations=3000)
    archive = run_strategy("evolution", space, Macs(), rng=np.random.default_rng(0), settings=settings)
    rows = np.concatenate(seen)
    assert len(set(space.format(rows))) == len(rows) == len(archive)
    np.testing.assert_array_equal(archive.population[archive.best], space.min)


def test_convergence_never_gets_worse(objectives: Objectives) -> None:
    settings = EvolutionSettings(2000)
    archive = run_strategy(
        "evolution", objectives.space, objectives.scorer(BUDGET), rng=np.random.default_rng(1), settings=settings
    )
    history = archive.convergence()
    assert history[-1, 0] == len(archive)
    assert (np.diff(history[:, 0]) > 0).all()
    assert not (np.diff(history[:, 1]) > 0).any()
    assert history[-1, 1] == archive.objectives[archive.best, 0]


def test_reaches_what_random_search_does_not() -> None:
    space = get_space("mobilenet_v3_small_images")
    settings, found = EvolutionSettings(1500), {}
    for name in ("evolution", "random"):
        found[name] = [
            archive.objectives[archive.best, 0]
            for seed in range(3)
            if (
                archive := run_strategy(
                    name, space, ManyParameters(space), rng=np.random.default_rng(seed), settings=settings
                )
            ).feasible[archive.best]
        ]
    assert len(found["evolution"]) == len(found["random"]) == 3
    assert max(found["evolution"]) < min(found["random"])


@pytest.mark.parametrize("name", ["evaluations", "parents", "children", "candidates_per_child", "changes", "patience"])
def test_settings_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive, got 0"):
        EvolutionSettings(**{name: 0})


PROGRAM = """
import numpy as np
from nas.search.evolution.settings import EvolutionSettings
from nas.search.evolution.strategies import run_strategy
from search_spaces import get_space
space = get_space("mobilenet_v3_small_images")
class Score:
    def objectives(self, p): return -np.sqrt(space.costs(p).params)[:, None]
    def violations(self, p): return ((space.costs(p).macs - 4e6) / 4e6)[:, None]
archive = run_strategy(
    "evolution", space, Score(), rng=np.random.default_rng(7), settings=EvolutionSettings(evaluations=2000)
)
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


def equal_layers() -> SearchSpace:
    """Two plain layers of one width: nothing but the width and the resolution can be chosen."""
    module = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)),
    )
    return adopt(Model("plain", 32, module.eval()), [16, 24, 32]).space


@pytest.mark.parametrize(
    "make", [lambda: get_space("reparameterised", blocks=["mobileone"], resolutions=[16, 32]), equal_layers]
)
def test_positions_without_a_choice_of_operators_are_no_obstacle(make: Callable[[], SearchSpace]) -> None:
    space = make()
    archive = run_strategy("evolution", space, ManyParameters(space), rng=np.random.default_rng(0), settings=FEW)
    assert archive.feasible.any()
    assert (space.costs(archive.population[archive.feasible]).macs <= 4e6).all()
