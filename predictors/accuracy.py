"""The accuracy of a subnet before it is evaluated, learnt from a few dozen that were.

A Gaussian process on operators at positions, operator counts and the logarithms of the costs on paper.
Accuracy is a fraction in [0, 1].
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from latency_tables.files import atomic_path, check_regular
from predictors.encoding import ArchitectureEncoding, pieces
from predictors.gaussian_process import GroupedGaussianProcess, Term
from predictors.held_out import concordance, coverage
from predictors.latency.profile import checked_array, fingerprint
from search_spaces import SearchSpace, get_space

Floats = NDArray[np.float64]

# In units of the observed standard deviation. The costs explain most of what differs, single operators little
# each; an evaluation on some thousand images leaves noise of a few tenths of what a space spans.
CONSTANT = Term(1, scale=0.3, spread=0.5)
POSITIONS, COUNTS, COSTS = 0.4, 0.4, 0.6
NOISE = 0.2

MIN_OBSERVATIONS = 5


class AccuracyPredictor:
    """Predicts the accuracy of the subnets of one supernet.

    Parameters
    ----------
    space : the space of the populations.

    Attributes
    ----------
    n_observations_ : subnets it was fitted to.
    rmse_ : root mean squared error of accuracy, each subnet predicted from all the others.
    kendall_tau_ : rank correlation (tau b) of the same predictions.
    coverage_ : share of subnets within one and within two predicted standard deviations, likewise.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    def fit(self, population: NDArray[Any], accuracy: NDArray[Any]) -> "AccuracyPredictor":
        """Learn from evaluated subnets.

        Parameters
        ----------
        population : int array of shape (n, n_genes).
        accuracy : shape (n,), fractions in [0, 1].

        Raises
        ------
        ValueError : fewer than 5 subnets, as many accuracies as subnets not given, or one outside [0, 1].
        """
        rows = self.space.canonical(population)
        observed = np.asarray(accuracy, dtype=np.float64)
        if observed.shape != (len(rows),):
            raise ValueError(f"{len(rows)} subnets need as many accuracies, got an array of shape {observed.shape}")
        if len(rows) < MIN_OBSERVATIONS:
            raise ValueError(f"at least {MIN_OBSERVATIONS} evaluated subnets are needed, got {len(rows)}")
        if not np.isfinite(observed).all() or (observed < 0).any() or (observed > 1).any():
            raise ValueError("accuracies must be fractions between 0 and 1; divide percentages by 100")
        self._encoding = ArchitectureEncoding(self.space, target="accuracy")
        self._centre = float(observed.mean())
        # Equal accuracies (an untrained supernet) still need a unit; a tenth of a percent is below any noise.
        self._unit = max(float(observed.std()), 1e-3)
        widths = self._encoding.widths
        terms = [
            CONSTANT,
            Term(widths["positions"], POSITIONS),
            Term(widths["counts"], COUNTS),
            Term(widths["costs"], COSTS),
        ]
        process = GroupedGaussianProcess(terms, noise_scale=NOISE)
        process.fit(self._features(rows).astype(np.float64), (observed - self._centre) / self._unit)
        posterior = process.posterior_
        self._mean = posterior.mean.astype(np.float32)
        self._factor = np.linalg.cholesky(posterior.covariance + 1e-9 * np.eye(len(posterior.mean))).astype(np.float32)
        self._noise = posterior.noise
        self.n_observations_ = len(rows)
        self._judge(observed, *process.left_out_)
        return self

    def _judge(self, observed: Floats, mean: Floats, std: Floats) -> None:
        predicted = self._centre + self._unit * mean
        self.rmse_ = float(np.sqrt(np.mean((predicted - observed) ** 2)))
        self.kendall_tau_ = concordance(predicted, observed)
        self.coverage_ = coverage(observed, predicted, self._unit * std)

    def _features(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        encoded = self._encoding(rows)
        return np.concatenate([np.ones((len(encoded), 1), dtype=np.float32), encoded], axis=1)

    def draw(self, population: NDArray[Any], n: int, rng: np.random.Generator) -> Floats:
        """`n` functions that the posterior holds possible, at `population`: shape ``(n, len(population))``.

        For Thompson sampling: no noise of an evaluation, and not cut to [0, 1].
        """
        normal = rng.standard_normal((len(self._mean), n))
        weights = self._mean[:, None] + self._factor.astype(np.float64) @ normal
        features = self._features(self.space.as_population(population)).astype(np.float64)
        drawn: Floats = self._centre + self._unit * (features @ weights).T
        return drawn

    def predict(self, population: NDArray[Any], return_std: bool = False) -> Any:
        """Predicted accuracy, shape ``(n,)``; with `return_std` also the standard deviation of an evaluation.

        Raises
        ------
        ValueError : not fitted yet.
        """
        if not hasattr(self, "n_observations_"):
            raise ValueError("the accuracy predictor is not fitted; call fit(population, accuracy) first")
        rows = self.space.as_population(population)
        mean, variance = np.empty(len(rows)), np.empty(len(rows))
        start = 0
        for piece in pieces(rows):
            features = self._features(piece)
            stop = start + len(piece)
            mean[start:stop] = features @ self._mean
            if return_std:
                variance[start:stop] = np.square(features @ self._factor).sum(axis=1)
            start = stop
        accuracy = np.clip(self._centre + self._unit * mean, 0, 1)
        return (accuracy, self._unit * np.sqrt(variance + self._noise**2)) if return_std else accuracy

    def save(self, path: Path) -> None:
        """Write what was learnt as safetensors.

        Raises
        ------
        ValueError : not fitted yet.
        """
        if not hasattr(self, "n_observations_"):
            raise ValueError("the accuracy predictor is not fitted; call fit(population, accuracy) first")
        judged = [self.n_observations_, self.rmse_, self.kendall_tau_, *self.coverage_]
        numbers = np.array([self._centre, self._unit, self._noise, *judged], dtype=np.float64)
        arrays: dict[str, Any] = {
            "mean": self._mean,
            "factor": self._factor,
            "numbers": numbers,
            "encoded": self._encoded(),
        }
        content = save(arrays, {"space": self.space.name})
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)

    def _encoded(self) -> NDArray[np.float32]:
        """Some networks as they are encoded here; another processor rounds otherwise."""
        return np.ascontiguousarray(self._encoding(self._encoding.reference[:64]))

    def _is_encoded_as(self, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, str]) -> bool:
        """Whether networks were encoded as here when a file was written."""
        if "encoded" not in arrays:  # a file of an earlier version
            return about.get("encoding") == fingerprint(self._encoding)
        own, there = self._encoded(), arrays["encoded"]
        return own.shape == there.shape and there.dtype == own.dtype and np.allclose(own, there, rtol=0, atol=1e-3)

    @classmethod
    def load(cls, path: Path, space: SearchSpace) -> "AccuracyPredictor":
        """Read what `save` wrote; it predicts the same.

        Raises
        ------
        ValueError : nothing there, damaged, or of another space or encoding.
        """
        check_regular(path)
        try:
            with safe_open(path, "numpy") as file:
                about, names = file.metadata(), file.keys()
                arrays = {name: file.get_tensor(name) for name in names}
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path} is no accuracy predictor: {error}") from error
        made = cls(space)
        made._encoding = ArchitectureEncoding(space, target="accuracy")
        found = about or {}
        if not made._is_encoded_as(arrays, found) or not _is_name(found.get("space", ""), space):
            raise ValueError(f"{path} was made for another space, or when networks were encoded differently")
        width = 1 + sum(made._encoding.widths.values())
        for name, shape in (("mean", (width,)), ("factor", (width, width)), ("numbers", (8,))):
            checked_array(arrays, name, shape, path)
        made._mean, made._factor = arrays["mean"], arrays["factor"]
        made._centre, made._unit, made._noise, observations, made.rmse_, made.kendall_tau_, *within = map(
            float, arrays["numbers"]
        )
        made.n_observations_, made.coverage_ = int(observations), (within[0], within[1])
        return made


def _is_name(name: str, space: SearchSpace) -> bool:
    """Whether `name` is that of `space`, or was, when fewer of the options stood in names."""
    try:
        return name == space.name or get_space(name, **space.options).name == space.name
    except ValueError:
        return False
