"""The devices of a fleet as functions: each one's latency for any network of the space.

Devices of a fleet are measured on different networks and with noise. Each is smoothed by a Bayesian linear
regression on the encoding and on products of pairs of it (Nystroem features of a quadratic kernel), whose
scale and noise are chosen by marginal likelihood. Latencies are relative: divided by the device's mean over
its own networks, as if those were a fair sample of the space.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.encoding import ArchitectureEncoding

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]

N_LANDMARKS = 300  # of the quadratic kernel; more changes no prediction visibly
LINEAR_SCALE = 0.5  # relative latency explained by the encoding: wide, hundreds of networks decide
QUADRATIC_SCALES = (1e-4, 0.03, 0.1, 0.3)
ROBUST_ROUNDS = 2
LARGEST_DEPARTURE = 2.5  # of a measurement from the smooth, in robust standard deviations
NOISE_LEVELS = np.geomspace(1e-3, 0.5, 24)


@dataclass(frozen=True)
class Measurements:
    """Networks measured on one device.

    Attributes
    ----------
    device : its name.
    population : genotypes, int array of shape (n, n_genes).
    latency_ms : shape (n,).
    """

    device: str
    population: NDArray[Any]
    latency_ms: Floats


class SourceDevices:
    """The smoothed devices of a fleet.

    Parameters
    ----------
    encoding : of the fleet's space.
    landmarks : genotypes ``(m, n_genes)`` that the quadratic features compare with.
    weights : of each device, shape ``(1 + width + m, n_devices)``.
    """

    def __init__(self, encoding: ArchitectureEncoding, landmarks: NDArray[Any], weights: Rows) -> None:
        self.landmarks = landmarks
        self.weights = weights
        self._encoding = encoding
        self._compared = encoding(landmarks)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """What a profile stores: the arguments of the constructor."""
        return {"landmarks": self.landmarks, "weights": self.weights}

    def of(self, devices: Sequence[int]) -> "SourceDevices":
        """Some of the devices, by number. Each was smoothed by itself, so this is what fitting them alone gives."""
        if len(devices) == self.weights.shape[1]:
            return self
        return SourceDevices(self._encoding, self.landmarks, np.ascontiguousarray(self.weights[:, devices]))

    @classmethod
    def fit(cls, encoding: ArchitectureEncoding, fleet: Sequence[Measurements]) -> "SourceDevices":
        """Smooth every device of `fleet`."""
        rng = np.random.default_rng(0)
        reference = encoding.reference
        landmarks = reference[rng.permutation(len(reference))[:N_LANDMARKS]]
        compared = encoding(landmarks)
        kernel = _quadratic(compared, compared).astype(np.float64)
        values, vectors = np.linalg.eigh(kernel)
        keep = values > 1e-6 * values[-1]
        whiten = vectors[:, keep] / np.sqrt(values[keep])
        weights = np.empty((1 + compared.shape[1] + len(compared), len(fleet)))
        for members in _measured_alike(fleet):
            population = encoding.space.canonical(fleet[members[0]].population)
            encoded = encoding(population)
            quadratic = _quadratic(encoded, compared) @ whiten
            features = np.concatenate([np.ones((len(encoded), 1)), encoded, quadratic], axis=1)
            linear = 1 + encoded.shape[1]
            relative = np.stack([fleet[i].latency_ms / fleet[i].latency_ms.mean() for i in members], axis=1)
            smoothed = _smooth(features, linear, relative)
            for _ in range(ROBUST_ROUNDS):
                smoothed = _smooth(features, linear, _without_outliers(relative, features @ smoothed))
            weights[:, members] = np.concatenate([smoothed[:linear], whiten @ smoothed[linear:]])
        return cls(encoding, landmarks, weights.astype(np.float32))

    @classmethod
    def priced(cls, encoding: ArchitectureEncoding, prices: Floats) -> "SourceDevices":
        """Devices that were measured in other spaces only, by what operators cost them.

        Parameters
        ----------
        encoding : of the space to predict.
        prices : shape (WIDTH + 1, n_devices), in the order of `predictors.operators`, for one launch, MAC, element or
            weight, and for an inference.
        """
        nothing = np.empty((0, len(encoding.space.genes)), dtype=np.int16)
        return cls(encoding, nothing, encoding.weights_of_prices(prices).astype(np.float32))

    @property
    def n_devices(self) -> int:
        """How many there are."""
        return int(self.weights.shape[1])

    def __call__(self, encoded: Rows) -> Rows:
        """Relative latency of encoded networks on every device, shape ``(n, n_devices)``."""
        width = encoded.shape[1]
        linear = self.weights[0] + encoded @ self.weights[1 : 1 + width]
        return np.asarray(linear + _quadratic(encoded, self._compared) @ self.weights[1 + width :])


def _quadratic(a: Rows, b: Rows) -> Rows:
    product: Rows = a @ b.T
    return product * product


def _measured_alike(fleet: Sequence[Measurements]) -> list[list[int]]:
    """Numbers of devices that were measured on the same networks, so that work is shared."""
    groups: dict[bytes, list[int]] = {}
    for i, device in enumerate(fleet):
        groups.setdefault(np.ascontiguousarray(device.population, dtype=np.int16).tobytes(), []).append(i)
    return list(groups.values())


def _without_outliers(targets: Floats, fitted: Floats) -> Floats:
    """Targets pulled to the fit where they are far from it (Huber's pseudo-observations).

    Phones and batch-1 GPUs are now and then interrupted: a few of a thousand measurements are off by half.
    """
    residual = targets - fitted
    bound = LARGEST_DEPARTURE * 1.4826 * np.median(np.abs(residual), axis=0)
    return fitted + np.clip(residual, -bound, bound)


def _smooth(features: Floats, linear: int, targets: Floats) -> Floats:
    """Weights ``(width, n_devices)`` with the highest evidence over the quadratic features' scale and the noise."""
    n, n_devices = targets.shape
    best = np.full(n_devices, -np.inf)
    weights = np.zeros((features.shape[1], n_devices))
    for scale in QUADRATIC_SCALES:
        prior = np.r_[1.0, np.full(linear - 1, LINEAR_SCALE), np.full(features.shape[1] - linear, scale)]
        scaled = features * prior
        values, vectors = np.linalg.eigh(scaled.T @ scaled)
        values = np.maximum(values, 0)[:, None]
        projected = vectors.T @ (scaled.T @ targets)
        for noise in NOISE_LEVELS**2:
            fitted = projected / (values + noise)
            misfit = (np.square(targets).sum(axis=0) - (projected * fitted).sum(axis=0)) / noise
            evidence = -0.5 * (misfit + np.log1p(values / noise).sum() + n * np.log(noise))
            better = evidence > best
            best[better] = evidence[better]
            weights[:, better] = prior[:, None] * (vectors @ fitted[:, better])
    return weights
