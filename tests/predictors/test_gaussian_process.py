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


@pytest.mark.parametrize(("spread", "tolerance"), [(1e-6, 1e-3), (1.0, 0.03)])
def test_leave_one_out_equals_refitting_without_each_row(spread: float, tolerance: float) -> None:
    features, target = make_data(10)
    terms = [Term(2, 0.5, spread), Term(3, 1.0, spread)]

    def fitted(rows: np.ndarray) -> GroupedGaussianProcess:
        return GroupedGaussianProcess(terms, noise_scale=0.2, noise_spread=spread).fit(features[rows], target[rows])

    process = fitted(np.arange(10))
    for i in range(10):
        refitted = fitted(np.delete(np.arange(10), i)).posterior_
        assert process.left_out_.mean[i] == pytest.approx(features[i] @ refitted.mean, abs=tolerance)
        if spread < 1:  # with known scales the interval has a textbook value, too
            variance = features[i] @ refitted.covariance @ features[i] + refitted.noise**2
            assert process.left_out_.std[i] == pytest.approx(np.sqrt(variance), rel=tolerance)


def test_outliers_hardly_move_a_fit_that_expects_them() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(30, 3))
    weights = np.array([1.0, -0.5, 0.3])
    target = features @ weights + 0.02 * rng.normal(size=30)
    target[[4, 11]] += 2
    errors = []
    for degrees in (4.0, np.inf):
        process = GroupedGaussianProcess([Term(3, 0.5)], degrees_of_freedom=degrees).fit(features, target)
        errors.append(np.abs(process.posterior_.mean - weights).max())
    assert errors[0] < 0.3 * errors[1]


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


def test_many_rows_are_learnt_from_with_fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    features, target = make_data(60)
    terms = [Term(2, 0.5), Term(3, 1.0)]
    usual = GroupedGaussianProcess(terms).fit(features, target)
    sizes: list[int] = []
    inverse = np.linalg.inv
    monkeypatch.setattr(np.linalg, "inv", lambda kernels: sizes.append(len(kernels)) or inverse(kernels))
    monkeypatch.setattr("predictors.gaussian_process.NUMBERS_AT_ONCE", 8 * 60**2)
    few = GroupedGaussianProcess(terms).fit(features, target)
    assert sizes == [8]
    np.testing.assert_allclose(few.posterior_.mean, usual.posterior_.mean, atol=0.02)
