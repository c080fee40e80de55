import numpy as np
from numpy.typing import NDArray

from nas.search.budget import Budget
from nas.search.evolution.pareto import front, hypervolume
from nas.search.evolution.settings import EvolutionSettings
from nas.search.evolution.strategies import run_strategy
from nas.search.objectives import Objectives


def test_front_covers_the_whole_range(objectives: Objectives, everything: NDArray[np.int16]) -> None:
    score = objectives.front_scorer(Budget())
    true = score.objectives(everything)
    archive = run_strategy(
        "nsga2", objectives.space, score, rng=np.random.default_rng(0), settings=EvolutionSettings(evaluations=2500)
    )
    reference = true.max(axis=0)
    assert hypervolume(archive.objectives, reference) >= 0.995 * hypervolume(true, reference)
    found, exact = archive.objectives[front(archive.objectives)], true[front(true)]
    np.testing.assert_allclose([found[0], found[-1]], [exact[0], exact[-1]])
