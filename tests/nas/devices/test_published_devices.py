"""Devices known by published latencies of hand-made networks."""

import numpy as np
import pytest

from nas.devices import get_device, list_devices
from nas.devices.learning import PUBLISHED_COSTS, learn_device
from predictors.latency.transfer import OperatorCosts
from search_spaces import get_space

KNOWN = OperatorCosts.load(PUBLISHED_COSTS).devices_
SPACE = get_space("efficientnet_lite0")


def test_every_one_says_its_source_and_errs_little_enough_to_be_of_use(tmp_path):
    cards = {known.spec.name: known for known in list_devices(folder=tmp_path)}
    assert {"galaxy-s25-npu", "core-i7-12700h", "rtx-4090"} <= KNOWN.keys()
    for name, costs in KNOWN.items():
        card = cards[name].card
        assert card is not None
        assert "https://github.com/" in card.citation
        assert card.licence in ("BSD-3-Clause", "Apache-2.0")
        assert card.conditions["batch"] == costs.batch
        assert (card.precision == "int8") == name.endswith("int8")
        assert 0.05 < costs.expected_error_elsewhere <= 0.4
        assert costs.expected_error <= costs.expected_error_elsewhere + 0.01


@pytest.mark.parametrize("name", ["galaxy-s25-npu", "galaxy-s25-npu-int8", "core-i9-10940x", "rtx-5090"])
def test_networks_are_predicted_with_the_evidence(name, tmp_path):
    known = learn_device(get_device(name, folder=tmp_path), SPACE)
    population = SPACE.sample(50, np.random.default_rng(0), tilt=1.5)
    latency_ms, std = known.predictor.predict(population, return_std=True)
    assert (latency_ms > KNOWN[name].overhead_ms).all()
    np.testing.assert_allclose(std, KNOWN[name].error_elsewhere * latency_ms)
    assert np.corrcoef(latency_ms, SPACE.costs(population).macs)[0, 1] > 0.7
    assert f"{KNOWN[name].n} hand-made networks published" in known.evidence
    assert f"expected error {KNOWN[name].expected_error_elsewhere:.0%}" in known.evidence
    assert ("batches of 1024 images" in known.evidence) == (name == "rtx-5090")


def test_networks_unlike_the_published_ones_in_size_are_said(tmp_path):
    device = get_device("galaxy-s25-npu", folder=tmp_path)
    assert "and more where networks have fewer" in learn_device(device, get_space("mobilenet_v3_small_images")).evidence
    inside = get_space("mobilenet_v3", resolutions=(224,))
    assert "fewer" not in learn_device(device, inside).evidence


def test_another_batch_than_the_published_one_is_not_known(tmp_path):
    with pytest.raises(
        ValueError, match="nothing is known of the latency of rtx-4090 at 32 images .* --batch 32 --import FILE"
    ):
        learn_device(get_device("rtx-4090", folder=tmp_path, batch=32), SPACE)
    assert learn_device(get_device("rtx-4090", folder=tmp_path, batch=1024), SPACE).refit is None
