"""Once-for-all's own search task: its accuracy predictor and its Galaxy Note 10 latencies."""

from pathlib import Path

import numpy as np
import pytest

from nas.search.evolution.settings import EvolutionSettings
from nas.search.run import SearchSettings

study = pytest.importorskip("experiments.search_speed.task", reason="run from the repository's root")


@pytest.fixture(scope="module")
def task(shared_data: Path) -> object:
    return study.Task(shared_data)


@pytest.mark.parametrize("limit_ms", sorted(study.FINDER))
def test_what_nas_search_runs_ends_above_the_finder(task: object, limit_ms: int) -> None:
    settings = SearchSettings(EvolutionSettings(10_000), EvolutionSettings(200))
    found = [study.search(task, limit_ms, seed, settings).best() for seed in range(2)]
    assert min(found) > study.FINDER[limit_ms]
    assert min(found) > study.KNOWN[limit_ms] - 0.0045


def test_the_accuracy_is_that_of_the_published_weights(task: object) -> None:
    import torch

    rows = task.space.sample(20, np.random.default_rng(0))
    x = torch.tensor(task.inputs(rows))
    for layer in (0, 2, 4, 6):
        weight, bias = (torch.from_numpy(task.weights[f"{layer}.{name}"]) for name in ("weight", "bias"))
        x = torch.nn.functional.linear(torch.relu(x) if layer else x, weight, bias)
    np.testing.assert_allclose(x[:, 0].numpy(), task.accuracy(rows), rtol=1e-5)
