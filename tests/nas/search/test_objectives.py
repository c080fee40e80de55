from dataclasses import replace

import numpy as np
import pytest

from nas.search.budget import Budget
from nas.search.latency import Latency
from nas.search.objectives import EXPONENTS, OBJECTIVES, Objectives, accuracy_of


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


def test_a_batch_needs_the_memory_of_all_its_images(objectives: Objectives) -> None:
    budget, population = Budget.parse(memory="1MB", size="1MB", macs="10M"), objectives.space.max[None]
    one, eight = objectives.costs(population, budget), replace(objectives, batch=8).costs(population, budget)
    assert eight["peak_activation_bytes"] == 8 * one["peak_activation_bytes"]
    assert (eight["weight_bytes"], eight["macs"]) == (one["weight_bytes"], one["macs"])
    assert replace(objectives, batch=8).max_net(budget)["peak_activation_bytes"] == eight["peak_activation_bytes"]


def test_mnas_weighs_the_accuracy_with_the_latency(objectives: Objectives) -> None:
    population = objectives.space.sample(50, np.random.default_rng(0))
    budget = Budget.parse(latency="3ms", macs="2.3M")
    accuracy, upper = objectives.accuracy.predict(population), objectives.costs(population, budget)[Latency()]
    np.testing.assert_array_equal(objectives.worth(population, budget), accuracy)
    mnas = replace(objectives, exponent=EXPONENTS["mnas"])
    np.testing.assert_allclose(mnas.worth(population, budget), accuracy * (upper / 3) ** -0.07)
    np.testing.assert_array_equal(mnas.worth(population, budget.without(Latency())), accuracy)
    np.testing.assert_array_equal(mnas.scorer(budget).objectives(population)[:, 0], -mnas.worth(population, budget))
    # The front is accuracy against latency, which is not weighed.
    np.testing.assert_array_equal(mnas.front_scorer(budget).objectives(population)[:, 0], -accuracy)


def test_mnas_at_half_the_latency_is_worth_a_twentieth_of_the_accuracy(objectives: Objectives) -> None:
    assert 0.5 ** EXPONENTS["mnas"] == pytest.approx(1.05, abs=0.001)


def test_an_objective_is_made_of_one_accuracy() -> None:
    assert [accuracy_of(objective) for objective in OBJECTIVES] == ["accuracy", "balanced_accuracy", "accuracy"]
