import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from predictors.held_out import concordance, rank_correlation


@pytest.mark.parametrize("levels", [5, 1000])
def test_rank_correlations_with_ties_are_those_of_scipy(levels: int) -> None:
    rng = np.random.default_rng(levels)
    a = rng.integers(levels, size=200).astype(float)
    b = a + rng.integers(levels, size=200)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert concordance(a, b) == pytest.approx(kendalltau(a, b).statistic, abs=1e-12)


def test_equal_values_have_no_rank_correlation() -> None:
    assert np.isnan(rank_correlation(np.ones(5), np.arange(5.0)))
    assert np.isnan(concordance(np.ones(5), np.arange(5.0)))
