"""The average over what may be assumed of a device."""

from pathlib import Path

import numpy as np
import pytest

import latency_tables
from predictors.encoding import ArchitectureEncoding
from predictors.latency import LatencyPredictor, Measurements
from predictors.latency.models import MODELS, PRIOR_WEIGHT, stacked_shares
from predictors.latency.sources import SourceDevices
from predictors.latency.transfer import DeviceCosts, OperatorCosts
from predictors.operators import WIDTH
from search_spaces import SearchSpace, get_space


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return get_space("mobilenet_v3_small_images")


def priced(space: SearchSpace, prices: np.ndarray, population: np.ndarray) -> np.ndarray:
    return DeviceCosts(prices, 0.1, 0.1, (), 1).for_space(space).predict(population)


def mean_error(predictor: LatencyPredictor, population: np.ndarray, latency_ms: np.ndarray) -> float:
    return float(np.abs(predictor.predict(population) / latency_ms - 1).mean())


@pytest.mark.parametrize("name", ["mobilenet_v3_small_images", "nasbench201", "fbnet"])
def test_prices_are_linear_in_the_features(name: str) -> None:
    space = get_space(name)
    prices = np.random.default_rng(0).gamma(1.0, 0.05, size=(WIDTH, 3))
    population = space.sample(300, np.random.default_rng(1))
    encoding = ArchitectureEncoding(space, "latency")
    singles = np.stack([DeviceCosts(p, 0.1, 0.1, (), 1, overhead_ms=0.3).single_prices for p in prices.T], axis=1)
    relative = SourceDevices.priced(encoding, singles)(encoding(population))
    for device, price in enumerate(prices.T):
        latency = priced(space, price, population) + 0.3
        scale = latency.mean() / relative[:, device].mean()
        np.testing.assert_allclose(scale * relative[:, device], latency, rtol=2e-3)


def test_a_misleading_fleet_does_no_harm(space: SearchSpace) -> None:
    """Every device of the fleet is slow where the new one is fast."""
    rng = np.random.default_rng(0)
    prices = rng.gamma(0.3, 0.2, size=WIDTH)
    train, test = space.sample(300, rng), space.sample(300, rng)
    true = priced(space, prices, np.concatenate([train, test]))
    against = true.max() + true.min() - true
    fleet = [Measurements(f"d{i}", train, against[:300] * rng.normal(1, 0.01, 300)) for i in range(4)]
    over_fleet, alone = LatencyPredictor(space).fit(fleet), LatencyPredictor(space).fit()
    errors = []
    for n in (10, 20):
        for predictor in (over_fleet, alone):
            predictor.adapt(train[:n], true[:n] * np.random.default_rng(n).normal(1, 0.02, n))
            errors.append(mean_error(predictor, test, true[300:]))
        assert errors[-2] < 1.15 * errors[-1] + 0.002


def test_costs_of_the_device_in_other_spaces_are_not_dropped_for_three_measurements(space: SearchSpace) -> None:
    rng = np.random.default_rng(3)
    own, others = rng.gamma(1.0, 0.05, size=WIDTH), rng.gamma(1.0, 0.05, size=(WIDTH, 5))
    test = space.sample(300, rng)
    chosen = space.sample(3, rng)
    singles = DeviceCosts(own, 0.1, 0.1, (), 1).single_prices
    informed = LatencyPredictor(space).know_costs(np.vstack([others, np.zeros(5)]), singles)
    latency = priced(space, own, chosen) * np.array([1.03, 0.97, 1.0])
    informed.adapt(chosen, latency)
    alone = LatencyPredictor(space).fit().adapt(chosen, latency)
    true = priced(space, own, test)
    assert mean_error(informed, test, true) < 0.04
    assert mean_error(informed, test, true) < 0.5 * mean_error(alone, test, true)


def test_shares_add_up_and_fewer_measurements_trust_the_fleet_more(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    train = space.sample(200, rng)
    macs = space.costs(train).macs / 1e6
    predictor = LatencyPredictor(space).fit([Measurements(f"d{i}", train, macs + rng.random()) for i in range(3)])
    shares = [predictor.adapt(train[:n], macs[:n] * rng.normal(1, 0.05, n)).shares_ for n in (3, 30)]
    for share in shares:
        assert sum(share.values()) == pytest.approx(1)
    assert shares[0]["fleet"] > 0.8


def test_a_mixture_of_known_devices_is_one_more_start_where_none_was_measured(
    space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every third shipped device is told from what operators cost the others."""
    rng = np.random.default_rng(7)
    shipped = Path(latency_tables.__file__).with_name("operator_costs.json")
    fleet = [costs.single_prices for costs in OperatorCosts.load(shipped).devices_.values()]
    chosen, test = space.sample(5, rng), space.sample(100, rng)

    def mean_errors() -> float:
        errors = []
        for device, prices in list(enumerate(fleet))[::3]:
            others = np.stack([each for other, each in enumerate(fleet) if other != device], axis=1)
            predictor = LatencyPredictor(space).know_costs(others)
            true = [priced(space, prices[:-1] * units, part) + prices[-1] for part in (chosen, test)]
            errors.append(mean_error(predictor.adapt(chosen, true[0]), test, true[1]))
            assert ("mixture" in predictor.shares_) == ("mixture" in MODELS)
        return float(np.mean(errors))

    units = DeviceCosts(np.ones(WIDTH), 0.1, 0.1, (), 1).single_prices[:-1] ** -1
    mixed = mean_errors()
    monkeypatch.delitem(MODELS, "mixture")
    assert mixed < 0.9 * mean_errors()


def test_devices_measured_in_the_space_are_not_mixed(space: SearchSpace) -> None:
    population = space.sample(60, np.random.default_rng(0))
    macs = space.costs(population).macs / 1e6
    fleet = [Measurements(f"d{i}", population, macs + i) for i in range(3)]
    assert "mixture" not in LatencyPredictor(space).fit(fleet).adapt(population[:5], macs[:5]).shares_


def test_stacked_shares_give_what_was_left_out_the_highest_density() -> None:
    rng = np.random.default_rng(0)
    prior, log_density = np.array([0.7, 0.3]), rng.normal(size=(2, 12))
    shares = stacked_shares(prior, log_density)

    def worth(first: float) -> float:
        mixed = np.array([first, 1 - first])
        return float(np.log(mixed @ np.exp(log_density)).sum() + PRIOR_WEIGHT * prior @ np.log(mixed))

    assert shares.sum() == pytest.approx(1)
    assert worth(shares[0]) == pytest.approx(max(worth(first) for first in np.linspace(0.001, 0.999, 999)), abs=1e-4)
    np.testing.assert_allclose(stacked_shares(prior, np.zeros((2, 12))), prior)
    far = np.array([[0.0] * 10, [-800.0] * 10])  # hopeless: only its odds beforehand are left
    np.testing.assert_allclose(stacked_shares(prior, far)[1], 0.3 * PRIOR_WEIGHT / (10 + PRIOR_WEIGHT), rtol=1e-3)


def test_operator_costs_of_other_devices_stay_known_for_a_new_device(space: SearchSpace) -> None:
    rng = np.random.default_rng(5)
    others, own = rng.gamma(1.0, 0.05, size=(WIDTH + 1, 6)), rng.gamma(1.0, 0.05, size=WIDTH + 1)
    population = space.sample(40, rng)
    latency = priced(space, others[:-1, 0], population)
    once = LatencyPredictor(space).know_costs(others).adapt(population[:6], latency[:6])
    used = LatencyPredictor(space).know_costs(others, own).adapt(population[6:20], latency[6:20])
    for fresh in (used.for_new_device(), used.for_new_device(without=["no such device"])):
        np.testing.assert_allclose(
            fresh.adapt(population[:6], latency[:6]).predict(population), once.predict(population)
        )
