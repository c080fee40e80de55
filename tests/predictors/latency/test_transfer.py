import numpy as np
import pytest

from predictors.latency.published import LeftOut
from predictors.latency.transfer import OperatorCosts, Part, _features
from predictors.latency.width import UPPER, calibrated, relative_errors
from predictors.operators import WIDTH
from search_spaces import get_space

FIRST = get_space("mobilenet_v3_small_images")
SECOND = get_space("proxylessnas", resolutions=(32, 64))


def true_part(space, prices, n, seed, noise=0.0):
    rng = np.random.default_rng(seed)
    population = space.sample(n, rng, tilt=1.0)
    latency = _features(Part(space, population, np.ones(n))) @ prices
    return Part(space, population, latency * np.exp(noise * rng.standard_normal(n)))


@pytest.fixture(scope="module")
def truth():
    rng = np.random.default_rng(0)
    return {f"device{i}": rng.gamma(1.0, 0.05, size=WIDTH) for i in range(5)}


@pytest.fixture(scope="module")
def fitted(truth):
    fleet = {
        name: [true_part(FIRST, prices, 150, 1, 0.02), true_part(SECOND, prices, 150, 2, 0.02)]
        for name, prices in truth.items()
    }
    return OperatorCosts().fit(fleet)


def test_a_device_of_the_fleet_is_predicted_in_both_spaces(truth, fitted):
    for name, prices in truth.items():
        for space in (FIRST, SECOND):
            part = true_part(space, prices, 200, 7)
            predicted, std = fitted.devices_[name].for_space(space).predict(part.population, return_std=True)
            assert np.abs(predicted / part.latency_ms - 1).mean() < 0.02
            np.testing.assert_allclose(std / predicted, fitted.devices_[name].error)


def test_a_new_device_measured_in_one_space_is_predicted_in_the_other(truth, fitted):
    prices = 3.0 * (0.7 * truth["device1"] + 0.3 * truth["device4"])
    costs = fitted.adapt([true_part(FIRST, prices, 10, 3, 0.02)])
    part = true_part(SECOND, prices, 200, 4)
    predicted, std = costs.for_space(SECOND).predict(part.population, return_std=True)
    error = np.abs(predicted / part.latency_ms - 1)
    scaled_macs = SECOND.costs(part.population).macs
    by_macs = scaled_macs * np.median(part.latency_ms / scaled_macs)
    assert error.mean() < 0.5 * np.abs(by_macs / part.latency_ms - 1).mean()
    assert (error < 2 * std / predicted).mean() > 0.9


def test_crossing_spaces_is_less_certain(fitted, truth):
    costs = fitted.adapt([true_part(FIRST, truth["device0"], 5, 5, 0.02)])
    population = SECOND.sample(3, np.random.default_rng(0))
    assert costs.for_space(SECOND).relative_std > costs.for_space(FIRST).relative_std
    assert (costs.for_space(SECOND).predict(population) > 0).all()


@pytest.mark.parametrize("spread", [0.1, 0.5, 1.0])
def test_a_width_holds_what_is_read_from_it(spread):
    """Devices err by factors: twice as slow is farther from its prediction than twice as fast."""
    rng = np.random.default_rng(0)
    factors = [np.exp(spread * rng.standard_normal() + 0.05 * rng.standard_normal(50)) for _ in range(400)]
    width = calibrated([relative_errors(np.full(50, 2.0), 2.0 * factor) for factor in factors])
    all_factors = np.concatenate(factors)
    assert (np.abs(all_factors - 1) <= width).mean() >= 0.68
    assert (all_factors <= 1 + UPPER * width).mean() >= 0.95
    smallest = np.arange(len(factors) // 3)
    ones, measured = np.ones(len(factors)), np.array([factor[0] for factor in factors])
    width = LeftOut(ones, smallest, ones[smallest]).std(measured)
    assert (measured <= 1 + UPPER * width).mean() >= 0.95


def test_measured_networks_lie_within_the_width_of_a_new_device(fitted):
    """Five of twenty took half as long again as the others speak for."""
    rng = np.random.default_rng(1)
    measured = true_part(FIRST, rng.gamma(1.0, 0.05, size=WIDTH), 20, 3)
    latency = np.where(np.arange(20) % 4 == 0, 1.5, 1.0) * measured.latency_ms
    predicted, std = (
        fitted.adapt([measured._replace(latency_ms=latency)])
        .for_space(FIRST)
        .predict(measured.population, return_std=True)
    )
    assert (latency <= predicted + UPPER * std).mean() >= 0.95


def test_two_networks_of_a_space_do_not_tell_its_width(fitted, truth, tmp_path):
    prices = truth["device0"]
    few = fitted.adapt([true_part(FIRST, prices, 40, 5, 0.02), true_part(SECOND, prices, 2, 6, 0.02)])
    assert few.for_space(FIRST).relative_std == few.error < few.error_elsewhere
    assert few.for_space(SECOND).relative_std == few.error_elsewhere
    assert few.for_space(SECOND).expected_error == few.expected_error_elsewhere
    kept = OperatorCosts()
    kept.devices_, kept.across_ = {"few": few}, few.error_elsewhere
    kept.save(tmp_path / "costs.json")
    again = OperatorCosts.load(tmp_path / "costs.json").of("few")
    assert (again.spaces, again.few) == ((FIRST.name, SECOND.name), (SECOND.name,))
    enough = fitted.adapt([true_part(FIRST, prices, 40, 5, 0.02), true_part(SECOND, prices, 3, 6, 0.02)])
    assert enough.for_space(SECOND).relative_std == enough.error


def test_simulators_have_a_width_of_their_own(truth):
    fleet = {
        name: [true_part(FIRST, prices, 60, 1, 0.02), true_part(SECOND, prices, 60, 2, 0.02)]
        for name, prices in truth.items()
    }
    other_table = fleet["device2"][1]
    fleet["device2"][1] = other_table._replace(latency_ms=5 * other_table.latency_ms)
    together, apart = OperatorCosts().fit(fleet), OperatorCosts().fit(fleet, simulated=["device2"])
    assert apart.across_ < together.across_ < apart.devices_["device2"].error_elsewhere
    assert apart.devices_["device0"].error_elsewhere == apart.across_


def test_saving_keeps_predictions(fitted, tmp_path):
    fitted.save(tmp_path / "costs.json")
    again = OperatorCosts.load(tmp_path / "costs.json")
    population = FIRST.sample(5, np.random.default_rng(0))
    for name, costs in fitted.devices_.items():
        np.testing.assert_allclose(
            again.devices_[name].for_space(FIRST).predict(population),
            costs.for_space(FIRST).predict(population),
            rtol=1e-4,
        )


@pytest.mark.parametrize("content", ["", "{}", '{"quantities": []}', "[1]"])
def test_a_damaged_file_is_one_sentence(content, tmp_path):
    (tmp_path / "costs.json").write_text(content)
    with pytest.raises(ValueError, match=r"costs\.json") as error:
        OperatorCosts.load(tmp_path / "costs.json")
    assert "\n" not in str(error.value)


def test_nothing_measured_is_refused(fitted):
    with pytest.raises(ValueError, match="at least one"):
        OperatorCosts().fit({})
    with pytest.raises(ValueError, match="at least one"):
        fitted.adapt([])
