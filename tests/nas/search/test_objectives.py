import numpy as np
import pytest

from nas.search.budget import Budget
from nas.search.objectives import Estimator


def test_latency_is_held_to_its_upper_quantile(estimator: Estimator) -> None:
    population = estimator.space.sample(5, np.random.default_rng(0))
    mean, std = estimator.predicted_latency(population)
    budget = Budget.parse(latency="3ms")
    upper = estimator.costs(population, budget)["latency_ms"]
    np.testing.assert_allclose(upper, mean + 1.6448536 * std)
    chance = estimator.chance(mean, std, float(upper[0]))
    assert chance[0] == pytest.approx(0.95)
    median = Estimator(estimator.space, estimator.accuracy, estimator.latency, confidence=0.5)
    np.testing.assert_allclose(median.costs(population, budget)["latency_ms"], mean)


@pytest.mark.parametrize("confidence", [0.0, 0.49, 1.0, 95, float("nan")])
def test_confidence_must_be_a_probability(estimator: Estimator, confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence must be"):
        Estimator(estimator.space, estimator.accuracy, estimator.latency, confidence=confidence)


def test_int8_halves_no_macs_but_quarters_memory(estimator: Estimator) -> None:
    budget = Budget.parse(memory="1MB", macs="10M")
    population = estimator.space.max[None]
    full = estimator.costs(population, budget)
    int8 = Estimator(estimator.space, estimator.accuracy, estimator.latency, precision="int8").costs(population, budget)
    assert int8["macs"] == full["macs"]
    assert 4 * int8["peak_activation_bytes"] == full["peak_activation_bytes"]
