import numpy as np
import pytest

from predictors.latency.expectation import MOST_FURTHER, expected_errors, further_measurements


def sample(scale: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.uniform(0.8, 1.2, 200), scale * rng.standard_normal((200, 6)) / np.sqrt(6)


@pytest.mark.parametrize(("scale", "noise"), [(0.02, 0.01), (0.1, 0.05), (0.0, 0.1)])
def test_the_expected_error_is_that_of_drawn_devices(scale: float, noise: float) -> None:
    mean, spread = sample(scale)
    errors = expected_errors(mean, spread, noise, 10, (0.7, 0.9))
    rng = np.random.default_rng(1)
    drawn = mean + rng.standard_normal((2000, 6)) @ spread.T
    drawn += noise * mean * rng.standard_normal(drawn.shape)
    relative = np.abs(drawn / mean - 1)
    assert errors.mape == pytest.approx(relative.mean(), rel=0.1)
    assert errors.within_10 == pytest.approx((relative < 0.1).mean(), abs=0.03)
    assert (errors.n, errors.within_one_sigma, errors.within_two_sigma) == (10, 0.7, 0.9)
    assert 0 < errors.spearman < 1


def test_more_is_asked_for_where_it_helps() -> None:
    mean, _ = sample(0)
    assert further_measurements(*sample(0.02), 0.01) == 0
    wide = further_measurements(*sample(0.3), 0.02)
    assert 3 <= wide <= 12, "six directions are open"
    assert further_measurements(*sample(0.3), 0.05) >= wide
    assert further_measurements(mean, np.zeros((200, 1)), 0.2) == 0, "no number of networks lowers the noise"
    assert further_measurements(*sample(0.3), 0.3) <= MOST_FURTHER
