import numpy as np
import pytest

from predictors.gaussian_process import GroupedGaussianProcess, Term


def narrow(width: int, scale: float) -> Term:
    """A term whose scale is known, so that there is a textbook answer."""
    return Term(width, scale, spread=1e-6)


def make_data(n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(n, 5))
    return features, features @ rng.normal(size=5) + 0.1 * rng.normal(size=n)


def test_known_scales_give_the_textbook_posterior() -> None:
    features, target = make_data()
    process = GroupedGaussianProcess(
        [narrow(2, 0.5), narrow(3, 2.0)], noise_scale=0.1, noise_spread=1e-6, n_draws=4
    ).fit(features, target)
    prior = np.diag([0.25, 0.25, 4, 4, 4])
    precision = features.T @ features / 0.01 + np.linalg.inv(prior)
    covariance = np.linalg.inv(precision)
    np.testing.assert_allclose(process.posterior_.covariance, covariance, rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(process.posterior_.mean, covariance @ features.T @ target / 0.01, rtol=1e-3)


def test_leave_one_out_equals_refitting_without_each_row() -> None:
    features, target = make_data(8)
    terms = [Term(2, 0.5), Term(3, 1.0)]
    process = GroupedGaussianProcess(terms, noise_scale=0.2).fit(features, target)
    for i in range(len(target)):
        others = np.arange(len(target)) != i
        refitted = GroupedGaussianProcess(terms, noise_scale=0.2).fit(features[others], target[others]).posterior_
        variance = features[i] @ refitted.covariance @ features[i] + refitted.noise**2
        assert process.left_out_.mean[i] == pytest.approx(features[i] @ refitted.mean, rel=0.02, abs=0.02)
        assert process.left_out_.std[i] == pytest.approx(np.sqrt(variance), rel=0.15)


def test_noise_follows_its_scale() -> None:
    rng = np.random.default_rng(1)
    features = np.ones((200, 1))
    loud = np.r_[np.full(100, 5.0), np.full(100, 0.5)]
    target = 1 + loud * rng.normal(size=200) * 0.1
    posterior = GroupedGaussianProcess([Term(1, 1.0)], noise_scale=0.1).fit(features, target, loud).posterior_
    assert posterior.noise == pytest.approx(0.1, rel=0.25)
    # The quiet half decides: weighing all alike would leave a deviation of 0.025.
    assert np.sqrt(posterior.covariance[0, 0]) < 0.008


def test_the_group_that_explains_the_target_is_found() -> None:
    rng = np.random.default_rng(2)
    features = rng.normal(size=(60, 20))
    target = features[:, :10] @ rng.normal(size=10) + 0.1 * rng.normal(size=60)
    process = GroupedGaussianProcess([Term(10, 0.3), Term(10, 0.3)]).fit(features, target)
    assert process.term_scales_[0] > 5 * process.term_scales_[1]
