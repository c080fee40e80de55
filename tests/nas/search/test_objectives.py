import numpy as np
import pytest

from nas.search.budget import Budget
from nas.search.latency import Latency
from nas.search.objectives import Objectives


def test_latency_is_held_to_its_upper_quantile(objectives: Objectives) -> None:
    population = objectives.space.sample(5, np.random.default_rng(0))
    mean, std = objectives.predicted_latency(population)
    budget = Budget.parse(latency="3ms")
    upper = objectives.costs(population, budget)[Latency()]
    np.testing.assert_allclose(upper, mean + 1.6448536 * std)
    chance = objectives.chance(mean, std, float(upper[0]))
    assert chance[0] == pytest.approx(0.95)
    median = Objectives(objectives.space, objectives.accuracy, objectives.latency, confidence=0.5)
    np.testing.assert_allclose(median.costs(population, budget)[Latency()], mean)


@pytest.mark.parametrize("confidence", [0.0, 0.49, 1.0, 95, float("nan")])
def test_confidence_must_be_a_probability(objectives: Objectives, confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence must be"):
        Objectives(objectives.space, objectives.accuracy, objectives.latency, confidence=confidence)


def test_int8_halves_no_macs_but_quarters_memory(objectives: Objectives) -> None:
    budget = Budget.parse(memory="1MB", macs="10M")
    population = objectives.space.max[None]
    full = objectives.costs(population, budget)
    int8 = Objectives(objectives.space, objectives.accuracy, objectives.latency, precision="int8").costs(
        population, budget
    )
    assert int8["macs"] == full["macs"]
    assert 4 * int8["peak_activation_bytes"] == full["peak_activation_bytes"]
