import numpy as np
import pytest

from nas.devices import get_device
from nas.devices.learning import (
    device_costs,
    device_predictor,
    fleet_predictor,
    informative_sample,
    learn_device,
)
from search_spaces import get_space

SMALL = get_space("mobilenet_v3_small_images")
IMAGENET = get_space("mobilenet_v3")


@pytest.mark.parametrize("name", ["pixel", "note10", "raspi4", "pixel3", "jetson-tx2"])
def test_a_device_that_is_not_attached_is_known_by_its_operator_costs(name, tmp_path):
    known = learn_device(get_device(name, folder=tmp_path), SMALL)
    population = SMALL.sample(50, np.random.default_rng(0), tilt=1.5)
    latency_ms, std = known.predictor.predict(population, return_std=True)
    assert (latency_ms > 0).all()
    assert (std > 0.1 * latency_ms).all(), "a space it was never measured in is not known to a tenth"
    assert np.corrcoef(latency_ms, SMALL.costs(population).macs)[0, 1] > 0.8
    assert "operator" in known.evidence
    assert known.refit is None


def test_published_networks_are_predicted_about_right(tmp_path):
    device = get_device("pixel1", folder=tmp_path)
    costs = device_costs(device)
    rows = device.table.read().rows
    for row in rows[rows["space"] == "mobilenet_v3"].to_dict("records"):
        space = get_space("mobilenet_v3", resolutions=(row["resolution"],))
        predicted = costs.for_space(space).predict(space.parse(row["architecture"])[None])[0]
        assert predicted == pytest.approx(row["latency_ms"], rel=0.15)


def test_the_shipped_fleet_serves_its_space_alone():
    assert len(fleet_predictor(SMALL).devices_) >= 6
    assert fleet_predictor(IMAGENET).devices_ == ()
    assert fleet_predictor(get_space("mobilenet_v3_small_images", resolutions=(16,))).devices_ == ()


@pytest.mark.parametrize("name", ["fbnet", "nasbench201"])
def test_the_public_fleets_are_shipped_as_what_was_computed(name):
    predictor = fleet_predictor(get_space(name, num_classes=10))
    assert len(predictor.devices_) >= 20
    assert not {"eyeriss", "fpga"} & set(predictor.devices_)
    assert not hasattr(predictor, "errors_")
    pool = predictor.space.sample(50, np.random.default_rng(0))
    assert len(set(predictor.suggest(pool, 10).tolist())) == 10


def test_the_sample_to_measure_has_the_extremes_and_nothing_twice():
    sample = informative_sample(SMALL, 12)
    assert len(np.unique(sample, axis=0)) == 12
    assert (sample[0] == SMALL.min).all()
    assert (sample[1] == SMALL.max).all()


def test_nothing_is_known_of_a_phone_that_was_never_measured(tmp_path):
    device = get_device("phone", folder=tmp_path)
    assert not hasattr(device_predictor(device, SMALL), "errors_")
    assert device_costs(device) is None
