"""Once-for-all's own search task: its accuracy predictor and its Galaxy Note 10 latencies."""

from pathlib import Path

import numpy as np
import pytest

from nas.search.evolution.settings import EvolutionSettings
from nas.search.evolution.strategies import run_strategy

study = pytest.importorskip("experiments.search_speed.task", reason="run from the repository's root")


@pytest.fixture(scope="module")
def task(shared_data: Path) -> object:
    return study.Task(shared_data)


@pytest.mark.parametrize("limit_ms", sorted(study.FINDER))
def test_comes_close_to_the_best_known_in_a_fraction_of_the_evaluations(task: object, limit_ms: int) -> None:
    found = []
    for seed in range(2):
        score = study.Sloped(task, limit_ms)
        archive = run_strategy(
            "evolution", task.space, score, rng=np.random.default_rng(seed), settings=EvolutionSettings(10_000)
        )
        assert archive.feasible[archive.best]
        found.append(-archive.objectives[archive.best, 0])
    assert min(found) > max(study.FINDER[limit_ms], study.KNOWN[limit_ms] - 0.0012)
    assert max(found) > study.KNOWN[limit_ms] - 0.0005


def test_slopes_are_the_derivatives(task: object) -> None:
    import torch

    rows = task.space.sample(20, np.random.default_rng(0))
    inputs = torch.tensor(task.inputs(rows), requires_grad=True)
    x = inputs
    for layer in (0, 2, 4, 6):
        weight, bias = (torch.from_numpy(task.weights[f"{layer}.{name}"]) for name in ("weight", "bias"))
        x = torch.nn.functional.linear(torch.relu(x) if layer else x, weight, bias)
    x.sum().backward()
    # An operator's column stands for its kernel's input and its expansion's.
    encoded = task.space.encode(rows)
    own = (task.slopes(rows) * encoded).sum(axis=1)
    np.testing.assert_allclose(own, (inputs.grad * inputs).sum(dim=1).detach().numpy(), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(x[:, 0].detach().numpy(), task.accuracy(rows), rtol=1e-5)
