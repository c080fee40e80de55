"""Bayesian linear regression over groups of features: a Gaussian process in closed form.

The kernel is a sum of terms, one for each group of features ``F_g``: ``sum_g s_g^2 F_g F_g'``. How much each
group matters (``s_g``) and the noise are not optimised, which overfits with ten observations, but averaged: draws
weighed by prior and marginal likelihood (adaptive importance sampling, https://arxiv.org/abs/1511.03095).
What comes out is a mean and a covariance of the weights, so predicting 100,000 rows is two matrix products.

Gaussian Processes for Machine Learning (Rasmussen and Williams, 2006), https://gaussianprocess.org/gpml/,
chapters 2 and 5. Unitless: the caller scales targets to about 1.

Notation
--------
n         rows: observations
width     columns of all features together
terms     groups of columns; ``g`` is one of them
F_g       features of group g, shape (n, width of g)
s_g       scale of group g: standard deviation of its weights
draw      one setting of all hyper-parameters: the variances ``s_g^2`` of every term, and of the noise
grams     ``F_g F_g'`` of every group and, last, the noise's diagonal: shape (terms + 1, n, n)
K         kernel of a draw, noise included: ``sum_g s_g^2 grams_g``, shape (n, n)
target    y, shape (n,)
weights   of draws: their posterior probability; of features: what multiplies a column (`WeightPosterior`)
left out  row i predicted from all rows but i, from ``K^-1`` alone (chapter 5.4.2)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Rows that the hyper-parameters are judged on: the cost of a draw is cubic in them, and 150 settle them.
MAX_ROWS_FOR_HYPERPARAMETERS = 150
NUMBERS_AT_ONCE = 30_000_000
"""In the kernels of all draws, a quarter of a gigabyte: of more than 680 rows fewer draws are kept, of any `FEWEST`."""
FEWEST = 4
N_ROUNDS = 3
LEAST_NOISE = 1e-4  # of the largest term, so that kernels can be inverted
OUTLIER_ROUNDS = 2


@dataclass(frozen=True)
class Term:
    """One group of features and the prior of how much of the target it explains.

    Attributes
    ----------
    width : its columns; groups stand side by side in the order of the terms.
    scale : median of the prior of ``s_g``, the standard deviation that the group adds to the target where its
        features have unit length.
    spread : standard deviation of ``log s_g``; 1 is a factor of 2.7 either way.
    """

    width: int
    scale: float
    spread: float = 1.0


class WeightPosterior(NamedTuple):
    """What is known of the weights: mean ``(width,)``, covariance ``(width, width)``, and the noise.

    The noise is its standard deviation where the noise scale is 1.
    """

    mean: Floats
    covariance: Floats
    noise: float


class LeftOut(NamedTuple):
    """Each row's target as predicted from all the others: mean and standard deviation, shapes ``(n,)``."""

    mean: Floats
    std: Floats


class GroupedGaussianProcess:
    """Regression on grouped features with averaged hyper-parameters.

    Parameters
    ----------
    terms : the groups of feature columns.
    noise_scale, noise_spread : the log-normal prior of the noise's standard deviation, as in `Term`.
    n_draws : hyper-parameter settings drawn in each of three rounds.
    degrees_of_freedom : of Student's t that the noise follows; few mean that outliers are expected. Infinity is a
        normal distribution.

    Attributes
    ----------
    posterior_ : mean and covariance of the weights, noise.
    left_out_ : leave-one-out predictions, exact and in closed form (chapter 5.4.2), hyper-parameters included.
    term_scales_ : averaged ``s_g`` of each term, shape ``(n_terms,)``.
    log_evidence_ : log marginal likelihood of the targets, averaged over the prior.
    """

    def __init__(
        self,
        terms: Sequence[Term],
        *,
        noise_scale: float = 0.03,
        noise_spread: float = 1.0,
        n_draws: int = 256,
        degrees_of_freedom: float = np.inf,
    ) -> None:
        self.terms = tuple(terms)
        self.noise_scale = noise_scale
        self.noise_spread = noise_spread
        self.n_draws = n_draws
        self.degrees_of_freedom = degrees_of_freedom

    @property
    def _heavy_tailed(self) -> bool:
        return bool(np.isfinite(self.degrees_of_freedom))

    @property
    def groups(self) -> list[slice]:
        """The columns of each term."""
        ends = np.cumsum([term.width for term in self.terms])
        return [slice(int(end) - term.width, int(end)) for end, term in zip(ends, self.terms, strict=True)]

    def _variances(self, normal: Floats) -> Floats:
        """Standard normal draws ``(n, n_terms + 1)`` as variances; the last column is the noise's."""
        medians = np.array([*(t.scale for t in self.terms), self.noise_scale])
        spreads = np.array([*(t.spread for t in self.terms), self.noise_spread])
        variances: Floats = (medians * np.exp(spreads * normal)) ** 2
        variances[:, -1] = np.maximum(variances[:, -1], LEAST_NOISE**2 * variances[:, :-1].max(axis=1))
        return variances

    def _weigh_draws(self, grams: Floats, target: Floats) -> tuple[Floats, Floats]:
        """Draws of variances that stand for the posterior, ``(draws, n_terms + 1)``, and their weights.

        Adaptive importance sampling with the balance heuristic: the prior is sampled first, then twice a normal
        distribution around what was likely so far. With ten observations the first draws would do; with a hundred
        hardly one of them is likely.
        """
        # Takes longer to import than a predictor to load; only fitting needs it.
        from scipy.special import logsumexp, ndtri

        width = len(self.terms) + 1
        proposals = [(np.zeros(width), np.eye(width))]
        draws, log_likelihood = np.empty((0, width)), np.empty(0)
        for round_number in range(N_ROUNDS):
            centre, factor = proposals[-1]
            # Low-discrepancy points cover seven dimensions evenly with few draws, and the same ones every time.
            fresh = centre + ndtri(_evenly_spread(self.n_draws, width, round_number)) @ factor.T
            draws = np.concatenate([draws, fresh])
            found = _log_likelihood(self._variances(fresh), grams, target)
            log_likelihood = np.concatenate([log_likelihood, found])
            log_proposal = logsumexp([_log_normal(draws, *p) for p in proposals], axis=0) - np.log(len(proposals))
            log_weights = log_likelihood + _log_normal(draws, *proposals[0]) - log_proposal
            self.log_evidence_ = float(logsumexp(log_weights) - np.log(len(draws)))
            weights = np.exp(log_weights - log_weights.max())
            weights /= weights.sum()
            centre = weights @ draws
            spread = (weights[:, None] * (draws - centre)).T @ (draws - centre)
            # Never narrower than a fifth of the prior: one lucky draw must not end the search.
            proposals.append((centre, np.linalg.cholesky(spread + 0.04 * np.eye(width))))
        # Likely draws only, and fewer of them the more rows there are: each costs an inverse.
        most = np.sort(weights)[::-1][: max(64, 10_000 // target.size)]
        keep = weights >= max(most[-1], 1e-4 * most[0])
        return self._variances(draws[keep]), weights[keep] / weights[keep].sum()

    def fit(self, features: Floats, target: Floats, noise_scale: Floats | None = None) -> "GroupedGaussianProcess":
        """Learn the weights.

        Parameters
        ----------
        features : shape (n, width).
        target : shape (n,), with the prior mean taken off.
        noise_scale : shape (n,), what the noise's standard deviation is proportional to; 1 by default.
        """
        features = np.asarray(features, dtype=np.float64)
        relative = np.ones(len(target)) if noise_scale is None else np.asarray(noise_scale, dtype=np.float64)
        grams = np.stack([features[:, g] @ features[:, g].T for g in self.groups] + [np.diag(relative**2)])
        state = self._learn(grams, target, relative, relative)
        if self._heavy_tailed:
            # Student's t as a scale mixture of normals, by expectation maximisation. The distance is that of a
            # row from what the others say: with few rows an outlier drags the fit to itself.
            for _ in range(OUTLIER_ROUNDS):
                distance = (target - self.left_out_.mean) / self.left_out_.std
                weights = (self.degrees_of_freedom + 1) / (self.degrees_of_freedom + distance**2)
                grams[-1] = np.diag(relative**2 / weights)
                state = self._learn(grams, target, relative, relative / np.sqrt(weights))
        self._set_posterior(features, target, *state)
        return self

    def _learn(
        self, grams: Floats, target: Floats, nominal: Floats, noise_scale: Floats
    ) -> tuple[Floats, Floats, Floats, float]:
        """Draws ``(draws, terms + 1)``, their weights, inverse kernels ``(draws, n, n)`` and the noise."""
        from scipy.special import ndtr, stdtrit

        rows = np.linspace(0, len(target) - 1, min(len(target), MAX_ROWS_FOR_HYPERPARAMETERS)).astype(int)
        draws, weights = self._weigh_draws(grams[:, rows[:, None], rows], target[rows])
        if len(draws) > (most := max(FEWEST, NUMBERS_AT_ONCE // len(target) ** 2)):
            likely = np.argsort(weights)[-most:]
            draws, weights = draws[likely], weights[likely] / weights[likely].sum()
        self.term_scales_ = np.sqrt(weights @ draws[:, :-1])
        inverses = np.asarray(np.linalg.inv(np.tensordot(draws, grams, axes=1)), dtype=np.float64)
        # The normal distribution that has 68 % within one deviation where Student's t has them.
        widening = float(stdtrit(self.degrees_of_freedom, ndtr(1))) if self._heavy_tailed else 1.0
        # The median of the noise, not its mean square: the typical row should be within one deviation.
        noise = widening * float(np.exp(weights @ np.log(draws[:, -1]) / 2))
        left_out = _leave_one_out(inverses, target, weights)
        # A row that counts less is still expected to have the noise of its kind.
        variance = left_out.std**2 - noise**2 * (np.square(noise_scale / widening) - nominal**2)
        self.left_out_ = LeftOut(left_out.mean, np.sqrt(np.maximum(variance, (noise * nominal) ** 2)))
        return draws, weights, inverses, noise

    def _set_posterior(
        self, features: Floats, target: Floats, draws: Floats, weights: Floats, inverses: Floats, noise: float
    ) -> None:
        """Mean and covariance of a mixture: mean of the covariances plus covariance of the means."""
        spread_out = np.repeat(np.eye(len(self.terms)), [t.width for t in self.terms], axis=1)  # (terms, width)
        means = (draws[:, :-1] @ spread_out) * (inverses @ target @ features)  # (draws, width)
        mean = weights @ means
        covariance = np.diag(weights @ draws[:, :-1] @ spread_out)
        for a, columns_a in enumerate(self.groups):
            for b, columns_b in enumerate(self.groups):
                joint = np.tensordot(weights * draws[:, a] * draws[:, b], inverses, axes=1)
                covariance[columns_a, columns_b] -= features[:, columns_a].T @ joint @ features[:, columns_b]
        centred = means - mean
        covariance += (weights[:, None] * centred).T @ centred
        self.posterior_ = WeightPosterior(mean, covariance, noise)


def _leave_one_out(inverses: Floats, target: Floats, weights: Floats) -> LeftOut:
    precision = np.diagonal(inverses, axis1=1, axis2=2)  # (draws, n)
    error = inverses @ target / precision
    # The evidence without row i is the evidence over the predictive density of row i.
    log_density = 0.5 * np.log(precision) - 0.5 * precision * error**2
    log_weight = np.log(weights)[:, None] - log_density
    weight = np.exp(log_weight - log_weight.max(axis=0))
    weight /= weight.sum(axis=0)
    mean_error = (weight * error).sum(axis=0)
    variance = (weight * (1 / precision + error**2)).sum(axis=0) - mean_error**2
    return LeftOut(target - mean_error, np.sqrt(variance))


def _evenly_spread(n: int, width: int, seed: int) -> Floats:
    """Points of the open unit cube, shape ``(n, width)``: a Kronecker sequence, shifted at random.

    Steps are powers of the root of ``x^(width + 1) = x + 1``, the generalised golden ratio: Roberts (2018),
    https://extremelearning.com.au/unreasonable-effectiveness-of-quasirandom-sequences/.
    """
    root = 2.0
    for _ in range(50):
        root = (1 + root) ** (1 / (width + 1))
    steps = root ** -np.arange(1.0, width + 1)
    shift = np.random.default_rng(seed).random(width)
    points = (shift + np.outer(np.arange(n), steps)) % 1
    return np.asarray(np.clip(points, 1e-6, 1 - 1e-6))


def _log_normal(points: Floats, centre: Floats, factor: Floats) -> Floats:
    """Log density of a normal distribution with covariance ``factor factor'``, without the constant."""
    whitened = np.linalg.solve(factor, (points - centre).T)
    density: Floats = -0.5 * np.square(whitened).sum(axis=0) - np.log(np.diagonal(factor)).sum()
    return density


def _log_likelihood(draws: Floats, grams: Floats, target: Floats) -> Floats:
    """Log marginal likelihood of `target` under each draw, shape ``(n_draws,)``, without the constant."""
    out = np.empty(len(draws))
    n = target.size
    # A last row behind the kernel comes out of the factorisation as the whitened target; its corner only has to
    # be large. In pieces, so that 256 kernels of 150 rows never stand in memory at once.
    step = max(1, 2_000_000 // (n + 1) ** 2)
    bordered = np.zeros((min(step, len(draws)), n + 1, n + 1))
    bordered[:, n, :n] = target
    bordered[:, n, n] = 1e30
    for start in range(0, len(draws), step):
        piece = draws[start : start + step]
        kernels = bordered[: len(piece)]
        kernels[:, :n, :n] = np.tensordot(piece, grams, axes=1)
        factors = np.linalg.cholesky(kernels)
        log_determinant = 2 * np.log(np.diagonal(factors, axis1=1, axis2=2)[:, :n]).sum(axis=1)
        out[start : start + step] = -0.5 * (np.square(factors[:, n, :n]).sum(axis=1) + log_determinant)
    return out
