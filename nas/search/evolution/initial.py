"""Networks to start from: random ones over the whole range of costs, or of those the ones near the limits."""

import numpy as np

from nas.search.evolution.evaluation import Score
from search_spaces import Population, SearchSpace

_BAND = 0.3  # of the limit: networks that leave more of it unused tell little about those that use it up


def over_all_costs(space: SearchSpace, n: int, rng: np.random.Generator) -> Population:
    """The min net, the max net, `n` random networks and `n` that mix these with the two; (2 n + 2, n_genes)."""
    sample = space.sample(n, rng)
    # Random networks all cost about the same; mixing them with the extremes covers the range.
    ends = np.stack([space.min, space.max])
    mixed = space.crossover(sample, ends[rng.integers(0, 2, n)], rng)
    return np.concatenate([ends, sample, mixed])


def near_limits(space: SearchSpace, score: Score, n: int, rng: np.random.Generator) -> Population:
    """Of four times as many networks over all costs the `n` that are nearest to the limits of `score`."""
    networks = over_all_costs(space, 2 * n, rng)
    over = score.violations(networks).max(axis=1, initial=-np.inf)
    near = np.argsort(np.where(over > 0, over, np.maximum(-_BAND - over, 0)), kind="stable")
    return networks[near[:n]]
