import numpy as np
import pytest

from predictors.latency.transfer import OperatorCosts, Part, _features
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
