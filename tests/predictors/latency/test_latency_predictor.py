import time
from pathlib import Path

import numpy as np
import pytest

from predictors.latency import LatencyPredictor, Measurements
from search_spaces import SearchSpace, get_space


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return get_space("mobilenet_v3_small_images")


class Simulated:
    """A device whose latency is additive in operators at places, a share of it common to a family of devices."""

    def __init__(self, space: SearchSpace, seed: int, noise: float = 0.03) -> None:
        self.space, self.noise = space, noise
        self.rng = np.random.default_rng(seed)
        width = space.encode(space.min).shape[1]
        common = np.random.default_rng(999).gamma(8.0, size=(2, width)) / 4
        self.weights = self.rng.dirichlet([1, 1]) @ common + 0.1 * self.rng.gamma(8.0, size=width) / 4
        self.unit = self.rng.uniform(1, 50)

    def true(self, population: np.ndarray) -> np.ndarray:
        macs = self.space.costs(population).macs / self.space.costs(self.space.max).macs
        return self.unit * (2 + 4 * macs + 0.2 * self.space.encode(population) @ self.weights)

    def measure(self, population: np.ndarray) -> np.ndarray:
        return self.true(population) * (1 + self.noise * self.rng.normal(size=len(population)))


def fleet(space: SearchSpace, n_devices: int = 5) -> list[Measurements]:
    rng = np.random.default_rng(50)
    devices = []
    for i in range(n_devices):
        device, population = Simulated(space, 1000 + i), space.sample(200, rng)
        devices.append(Measurements(f"device{i}", population, device.measure(population)))
    return devices


@pytest.fixture(scope="module")
def over_a_fleet(space: SearchSpace) -> LatencyPredictor:
    return LatencyPredictor(space).fit(fleet(space))


def adapt(predictor: LatencyPredictor, device: Simulated, n: int, *, chosen: bool = True) -> None:
    pool = predictor.space.sample(500, np.random.default_rng(7))
    population = pool[predictor.suggest(pool, n)] if chosen else pool[:n]
    predictor.adapt(population, device.measure(population))


def mape(predictor: LatencyPredictor, device: Simulated) -> float:
    population = predictor.space.sample(500, np.random.default_rng(8))
    return float(np.mean(np.abs(predictor.predict(population) / device.true(population) - 1)))


@pytest.mark.parametrize(("n", "largest_error"), [(20, 0.08), (40, 0.06)])
def test_one_device_alone_is_predicted_with_honest_intervals(space: SearchSpace, n: int, largest_error: float) -> None:
    within, actual, claimed = [], [], []
    for seed in range(6):
        device, predictor = Simulated(space, seed), LatencyPredictor(space).fit()
        adapt(predictor, device, n, chosen=False)
        population = space.sample(500, np.random.default_rng(9))
        measured = device.measure(population)
        mean, std = predictor.predict(population, return_std=True)
        distance = np.abs(mean - measured) / std
        within.append([(distance <= 1).mean(), (distance <= 2).mean()])
        actual.append(np.mean(np.abs(mean / measured - 1)))
        claimed.append(predictor.errors_.mape)
    one, two = np.mean(within, axis=0)
    assert 0.58 <= one <= 0.85
    assert two >= 0.92
    assert np.mean(actual) < largest_error
    assert np.mean(claimed) == pytest.approx(np.mean(actual), rel=0.3)


def test_a_fleet_helps(space: SearchSpace, over_a_fleet: LatencyPredictor) -> None:
    ratios = []
    for seed in range(5):
        alone = LatencyPredictor(space).fit()
        adapt(alone, Simulated(space, seed), 6)
        adapt(over_a_fleet, Simulated(space, seed), 6)
        ratios.append(mape(over_a_fleet, Simulated(space, seed)) / mape(alone, Simulated(space, seed)))
    assert np.mean(ratios) < 0.85


def test_intervals_are_honest_on_the_mean_device_whatever_its_noise(
    space: SearchSpace, over_a_fleet: LatencyPredictor
) -> None:
    population, within = space.sample(300, np.random.default_rng(9)), []
    for noise in (0.003, 0.03, 0.1):
        for seed in range(5):
            device, predictor = Simulated(space, seed, noise), over_a_fleet.for_new_device()
            adapt(predictor, device, 10)
            mean, std = predictor.predict(population, return_std=True)
            distance = np.abs(mean - device.measure(population)) / std
            within.append([(distance <= 1).mean(), (distance <= 2).mean()])
    one, two = np.mean(within, axis=0)
    assert 0.60 <= one <= 0.76
    assert two >= 0.88


def test_one_interrupted_measurement_does_not_decide_how_wide_intervals_are(
    space: SearchSpace, over_a_fleet: LatencyPredictor
) -> None:
    pool = space.sample(500, np.random.default_rng(7))
    chosen, population = pool[over_a_fleet.for_new_device().suggest(pool, 12)], pool[:200]
    wider = []
    for seed in range(3):
        latency = Simulated(space, seed).measure(chosen)
        widths = []
        for interrupted in (latency, np.r_[latency[:6], 1.5 * latency[6], latency[7:]]):
            predictor = over_a_fleet.for_new_device().adapt(chosen, interrupted)
            mean, std = predictor.predict(population, return_std=True)
            widths.append(np.median(std / mean))
        wider.append(widths[1] / widths[0])
    assert np.mean(wider) < 3.4


def test_suggested_networks_teach_more_than_random_ones(space: SearchSpace, over_a_fleet: LatencyPredictor) -> None:
    errors = []
    for seed in range(6):
        pair = []
        for chosen in (True, False):
            adapt(over_a_fleet, Simulated(space, seed), 6, chosen=chosen)
            pair.append(mape(over_a_fleet, Simulated(space, seed)))
        errors.append(pair)
    suggested, random = np.mean(errors, axis=0)
    assert suggested < random


def test_suggestions_are_new_and_different(space: SearchSpace) -> None:
    predictor = LatencyPredictor(space).fit()
    pool = space.sample(60, np.random.default_rng(0))
    pool = np.concatenate([pool, pool])
    first = pool[predictor.suggest(pool, 10)]
    predictor.adapt(first, Simulated(space, 0).measure(first))
    second = pool[predictor.suggest(pool, 10)]
    assert len(np.unique(np.concatenate([first, second]), axis=0)) == 20
    with pytest.raises(ValueError, match="200 networks were asked for"):
        predictor.suggest(pool, 200)


def test_a_saved_profile_predicts_the_same_and_adapts_the_same(
    tmp_path: Path, space: SearchSpace, over_a_fleet: LatencyPredictor
) -> None:
    adapt(over_a_fleet, Simulated(space, 3), 10)
    over_a_fleet.save(tmp_path / "phone.json")
    loaded = LatencyPredictor.load(tmp_path / "phone.json")
    population = space.sample(100, np.random.default_rng(1))
    for ours, theirs in zip(over_a_fleet.predict(population, True), loaded.predict(population, True), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert loaded.errors_ == over_a_fleet.errors_
    np.testing.assert_array_equal(loaded.left_out_ms_, over_a_fleet.left_out_ms_)
    assert loaded.devices_ == over_a_fleet.devices_
    adapt(loaded, Simulated(space, 4), 10)
    adapt(over_a_fleet, Simulated(space, 4), 10)
    np.testing.assert_allclose(loaded.predict(population), over_a_fleet.predict(population), rtol=1e-5)


def test_a_profile_can_do_without_the_measurements(tmp_path: Path, space: SearchSpace) -> None:
    predictor = LatencyPredictor(space).fit()
    adapt(predictor, Simulated(space, 3), 10)
    predictor.save(tmp_path / "phone.json", measurements=False)
    loaded = LatencyPredictor.load(tmp_path / "phone.json")
    population = space.sample(100, np.random.default_rng(1))
    np.testing.assert_array_equal(loaded.predict(population), predictor.predict(population))
    assert loaded.errors_ == predictor.errors_
    assert not hasattr(loaded, "latency_ms_")
    assert len(loaded.suggest(population, 5)) == 5


def test_a_saved_fleet_is_small_and_adapts_and_suggests_the_same(
    tmp_path: Path, space: SearchSpace, over_a_fleet: LatencyPredictor
) -> None:
    over_a_fleet.for_new_device().save(tmp_path / "fleet.json")
    assert (tmp_path / "fleet.safetensors").stat().st_size < 100_000
    loaded = LatencyPredictor.load(tmp_path / "fleet.json")
    with pytest.raises(ValueError, match="knows no device"):
        loaded.predict(space.min)
    pool = space.sample(300, np.random.default_rng(7))
    np.testing.assert_array_equal(loaded.suggest(pool, 10), over_a_fleet.for_new_device().suggest(pool, 10))
    original = over_a_fleet.for_new_device()
    for predictor in (loaded, original):
        adapt(predictor, Simulated(space, 4), 10)
    np.testing.assert_allclose(loaded.predict(pool), original.predict(pool), rtol=1e-5)


def test_a_fleet_without_a_device_is_what_fitting_the_others_gives(space: SearchSpace) -> None:
    devices = fleet(space, 3)
    fewer = LatencyPredictor(space).fit(devices).for_new_device(without=["device1"])
    others = LatencyPredictor(space).fit([devices[0], devices[2]])
    assert fewer.devices_ == others.devices_
    for predictor in (fewer, others):
        adapt(predictor, Simulated(space, 4), 5, chosen=False)
    population = space.sample(50, np.random.default_rng(1))
    np.testing.assert_allclose(fewer.predict(population), others.predict(population), rtol=1e-4)


def test_a_damaged_profile_is_refused(tmp_path: Path, space: SearchSpace) -> None:
    predictor = LatencyPredictor(space).fit()
    adapt(predictor, Simulated(space, 3), 10)
    path = tmp_path / "phone.json"
    predictor.save(path)
    numbers = path.with_suffix(".safetensors")
    numbers.write_bytes(numbers.read_bytes()[:-8])
    with pytest.raises(ValueError, match="does not belong to phone.json"):
        LatencyPredictor.load(path)
    numbers.unlink()
    with pytest.raises(ValueError, match=r"phone\.safetensors cannot be read"):
        LatencyPredictor.load(path)
    path.write_text("{}")
    numbers.write_bytes(b"")
    with pytest.raises(ValueError, match="not a device profile"):
        LatencyPredictor.load(path)


@pytest.mark.parametrize(
    ("n", "latency", "message"),
    [
        (2, [1.0] * 2, "at least 3"),
        (5, [1.0] * 4, "as many"),
        (5, [1.0, 2, 3, 4, -1], "positive"),
        (5, [np.nan] * 5, "positive"),
    ],
)
def test_mistakes_are_one_sentence(space: SearchSpace, n: int, latency: list[float], message: str) -> None:
    population = space.sample(n, np.random.default_rng(0))
    with pytest.raises(ValueError, match=message):
        LatencyPredictor(space).adapt(population, np.array(latency))
    with pytest.raises(ValueError, match=message):
        LatencyPredictor(space).fit([Measurements("phone", population, np.array(latency))])


def test_predicting_before_adapting_says_so(space: SearchSpace, over_a_fleet: LatencyPredictor) -> None:
    with pytest.raises(ValueError, match=r"call adapt"):
        LatencyPredictor(space).predict(space.min)


def test_it_is_fast(space: SearchSpace, over_a_fleet: LatencyPredictor) -> None:
    adapt(over_a_fleet, Simulated(space, 0), 10)
    population = space.sample(100_000, np.random.default_rng(0))
    # Processor time, for other work may run beside; generous, this takes 0.3 s on one core.
    start = time.process_time()
    over_a_fleet.predict(population, return_std=True)
    assert time.process_time() - start < 2
