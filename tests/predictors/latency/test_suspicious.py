"""One bad measurement of ten, and a device that slows down."""

import numpy as np
import pytest

from predictors.latency import LatencyPredictor, Measurements
from predictors.latency.slowdown import find_slowdown_of_device
from search_spaces import SearchSpace, get_space

N = 10


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return get_space("mobilenet_v3_small_images")


@pytest.fixture(scope="module")
def fleet(space: SearchSpace) -> LatencyPredictor:
    rng = np.random.default_rng(5)
    population = space.sample(200, rng)
    devices = [Measurements(f"d{i}", population, true(space, population, 100 + i)) for i in range(5)]
    return LatencyPredictor(space).fit(devices)


def true(space: SearchSpace, population: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    weights = rng.gamma(4.0, size=space.encode(space.min).shape[1]) / 4
    macs = space.costs(population).macs / space.costs(space.max).macs
    return 5 * (2 + 4 * macs + 0.1 * space.encode(population) @ weights)


def measured(space: SearchSpace, fleet: LatencyPredictor, seed: int) -> tuple[np.ndarray, np.ndarray]:
    pool = space.sample(300, np.random.default_rng(seed))
    chosen = pool[fleet.for_new_device().suggest(pool, N)]
    return chosen, true(space, chosen, seed) * np.random.default_rng(seed).normal(1, 0.02, N)


def test_one_of_ten_three_times_too_slow_does_no_damage(space: SearchSpace, fleet: LatencyPredictor) -> None:
    test = space.sample(200, np.random.default_rng(77))
    with_it, without, found = [], [], []
    for seed in range(3):
        chosen, latency = measured(space, fleet, seed)
        for position in range(N):
            bad = latency.copy()
            bad[position] *= 3
            others = np.arange(N) != position
            predictor = fleet.for_new_device()
            for errors, keep in ((with_it, slice(None)), (without, others)):
                predictor.adapt(chosen[keep], bad[keep])
                errors.append(np.abs(predictor.predict(test) / true(space, test, seed) - 1).mean())
                if errors is with_it:
                    found.append(predictor.suspicious_.tolist() == [position])
                    assert len(predictor.left_out_ms_) == N
    assert np.mean(with_it) < 1.3 * np.mean(without)
    assert np.mean(found) > 0.9


def test_what_was_measured_again_is_never_left_out(space: SearchSpace, fleet: LatencyPredictor) -> None:
    chosen, latency = measured(space, fleet, 0)
    latency[4] *= 3
    trusted = np.arange(N) == 4
    predictor = fleet.for_new_device()
    assert predictor.adapt(chosen, latency).suspicious_.tolist() == [4]
    assert 4 not in predictor.adapt(chosen, latency, trusted).suspicious_


def test_false_alarms_are_rare(space: SearchSpace, fleet: LatencyPredictor) -> None:
    predictor = fleet.for_new_device()
    alarms = [len(predictor.adapt(*measured(space, fleet, seed)).suspicious_) for seed in range(25)]
    assert np.mean(alarms) <= 0.05


def test_a_slowdown_on_the_way_is_seen_without_a_reference(space: SearchSpace, fleet: LatencyPredictor) -> None:
    for seed in range(2):
        chosen, latency = measured(space, fleet, seed)
        assert find_slowdown_of_device(fleet, chosen, latency) is None
        found = find_slowdown_of_device(fleet, chosen, np.where(np.arange(N) < 5, 1, 1.4) * latency)
        assert found is not None
        assert abs(found.after - 5) <= 1
        assert found.factor == 1.4
