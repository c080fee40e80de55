"""Once-for-all's own search task: its accuracy predictor and its Galaxy Note 10 latencies."""

from pathlib import Path

import numpy as np
import pytest

from nas.search.evolution import EvolutionSettings, evolve

study = pytest.importorskip("experiments.search_speed.task", reason="run from the repository's root")


@pytest.fixture(scope="module")
def task(shared_data: Path) -> object:
    return study.Task(shared_data)


@pytest.mark.parametrize("limit_ms", sorted(study.FINDER))
def test_comes_close_to_the_best_known_in_a_fraction_of_the_evaluations(task: object, limit_ms: int) -> None:
    found = []
    for seed in range(2):
        score = study.Timed(task, limit_ms)
        archive = evolve(task.space, score, rng=np.random.default_rng(seed), settings=EvolutionSettings(20_000))
        assert archive.feasible[archive.best]
        found.append(-archive.objectives[archive.best, 0])
    assert min(found) > study.FINDER[limit_ms]
    assert max(found) > study.KNOWN[limit_ms] - 0.0015
