import numpy as np
import pytest

from predictors.held_out import concordance, rank_correlation


def test_rank_correlations_share_ranks_among_equal_values() -> None:
    a, b = np.array([1.0, 2.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0, 4.0])
    assert rank_correlation(a, b) == pytest.approx(4.5 / np.sqrt(4.5 * 5))
    assert concordance(a, b) == pytest.approx(5 / np.sqrt(5 * 6))
    assert rank_correlation(a, -b) == -rank_correlation(a, b)


def test_equal_values_have_no_rank_correlation() -> None:
    assert np.isnan(rank_correlation(np.ones(5), np.arange(5.0)))
    assert np.isnan(concordance(np.ones(5), np.arange(5.0)))
