import numpy as np
import pytest

from predictors.latency.published import HAND_MADE, fit_prices, leave_out, published_costs
from predictors.latency.transfer import OperatorCosts, scaled
from predictors.operators import CLASSES, QUANTITIES, WIDTH

OVERHEAD_MS = 0.2


@pytest.fixture(scope="module")
def networks():
    """Totals of forty networks of five families, and latencies: depthwise MACs are four times dearer."""
    rng = np.random.default_rng(0)
    size = np.exp(rng.normal(0, 0.8, (40, 1)))
    totals = np.repeat([40.0, 5e8, 1e7, 5e6], len(CLASSES)) * size * rng.uniform(0.3, 1, (40, WIDTH)) / len(CLASSES)
    prices = np.repeat([1e-3, 1e-3, 5e-3, 2e-2], len(CLASSES))
    prices[CLASSES.index("depthwise") + QUANTITIES.index("macs") * len(CLASSES)] *= 4
    latency_ms = (scaled(totals) @ prices + OVERHEAD_MS) * rng.normal(1, 0.02, 40)
    return totals, latency_ms, np.array(list("abcde"))[np.arange(40) % 5]


def test_networks_that_were_left_out_are_predicted(networks):
    totals, latency_ms, families = networks
    found = leave_out(totals, latency_ms, families)
    by_family, smallest = found.errors(latency_ms)
    assert by_family < 0.1
    assert smallest < 0.15
    macs = totals[:, len(CLASSES) : 2 * len(CLASSES)].sum(axis=1)
    assert macs[found.smallest].max() <= np.delete(macs, found.smallest).min()
    assert fit_prices(totals, latency_ms).overhead_ms == pytest.approx(OVERHEAD_MS, rel=0.5)


def test_a_family_is_told_without_its_own_latencies(networks):
    totals, latency_ms, families = networks
    changed = np.where(families == "b", 7 * latency_ms, latency_ms)
    before, after = (leave_out(totals, each, families).families_ms for each in (latency_ms, changed))
    np.testing.assert_allclose(after[families == "b"], before[families == "b"])
    assert not np.allclose(after[families != "b"], before[families != "b"])


def test_three_networks_are_enough_for_a_guess(networks):
    totals, latency_ms, _ = networks
    predicted = fit_prices(totals[:3], latency_ms[:3]).predict(totals)
    assert np.isfinite(predicted).all()
    assert np.abs(predicted / latency_ms - 1).mean() < 0.3


def test_what_is_known_of_the_device_is_kept_in_a_file(networks, tmp_path):
    found, left_out = published_costs(*networks, batch=64)
    assert found.expected_error_elsewhere == max(left_out.errors(networks[1]))
    fleet = OperatorCosts()
    fleet.devices_, fleet.across_ = {"gpu": found}, 0.4
    fleet.save(tmp_path / "costs.json")
    again = OperatorCosts.load(tmp_path / "costs.json").of("gpu")
    assert (again.batch, again.macs, again.spaces, again.n) == (64, found.macs, (HAND_MADE,), 40)
    for name in ("overhead_ms", "error", "error_elsewhere", "expected_error_elsewhere"):
        assert getattr(again, name) == pytest.approx(getattr(found, name), abs=1e-4)
