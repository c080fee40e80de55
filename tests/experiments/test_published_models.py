import numpy as np
import pandas as pd
import pytest

from experiments.latency_transfer.data import data_folder
from experiments.published_models.devices import CONDITIONS
from experiments.published_models.judge import read_published
from experiments.published_models.networks import RESULTS, TOTALS, family, read_networks, totals
from nas.devices.learning import PUBLISHED_COSTS
from predictors.latency.published import published_costs
from predictors.latency.transfer import OperatorCosts


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("timm:tf_efficientnet_lite0", "efficientnet"),
        ("torchvision:mobilenet_v2", "mobilenet"),
        ("timm:mobilenetv3_small_050", "mobilenet"),
        ("timm:semnasnet_100", "found by search"),
        ("timm:regnetx_004", "regnet"),
        ("timm:seresnet18", "resnet"),
        ("torchvision:squeezenet1_1", "squeezenet"),
    ],
)
def test_variants_are_one_family(network, expected):
    assert family(network) == expected


def test_the_kept_totals_are_those_of_the_traced_network():
    rows = read_networks().set_index(["network", "resolution"])
    found = totals("torchvision:squeezenet1_1", 224)
    np.testing.assert_array_equal(found, rows.loc[("torchvision:squeezenet1_1", 224), TOTALS].to_numpy(float))


def test_what_is_shipped_was_computed_from_the_published_latencies():
    try:
        data_folder()
    except ValueError as reason:
        pytest.skip(str(reason))
    known = OperatorCosts.load(PUBLISHED_COSTS)
    condition = next(c for c in CONDITIONS if c.name == "galaxy-s25-npu")
    device = read_published(condition)
    found, _ = published_costs(device.totals, device.latency_ms, device.families, condition.batch)
    shipped = known.of("galaxy-s25-npu")
    np.testing.assert_allclose(shipped.prices, found.prices, rtol=1e-4, atol=1e-9)
    assert shipped.expected_error_elsewhere == pytest.approx(found.expected_error_elsewhere, abs=1e-4)


def test_devices_that_err_too_much_are_not_shipped():
    known = OperatorCosts.load(PUBLISHED_COSTS).devices_
    for row in pd.read_csv(RESULTS / "devices.csv").to_dict("records"):
        error = max(row["families_left_out"], row["smallest_left_out"])
        assert (row["device"] in known) == (error <= 0.4), row["device"]
