"""The latency of any network of a space on one device, from a handful of measured ones.

Meta-fitted over a fleet: the prior mean is the fleet's average device; how the new device departs from it is a
mixture of how the fleet's devices depart, and of what operators cost by kind, by place and by amount of work.
All is linear in the features, so everything is in closed form (`predictors.gaussian_process`), and with an
empty fleet the same model is fitted to a few dozen measurements of the device alone.

The problem: HELP, hardware-adaptive efficient latency prediction (NeurIPS 2021),
https://arxiv.org/abs/2106.08630. Latencies are milliseconds.
"""

from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.encoding import ArchitectureEncoding, Rows, pieces
from predictors.gaussian_process import GroupedGaussianProcess, Term
from predictors.held_out import LatencyErrors, latency_errors
from predictors.latency.profile import fingerprint, read_profile, write_profile
from predictors.latency.sources import Measurements, SourceDevices
from predictors.latency.suggestion import a_optimal
from search_spaces import SearchSpace, get_space

Floats = NDArray[np.float64]

# Priors (median and spread), as fractions of the average network's latency: how far a device departs from the
# fleet's average. Chosen by leaving devices out of training fleets, never by looking at a test device.
WIDE = 1.5  # a factor of 4.5 either way: the measurements, not the prior, say how quiet or odd a device is
WITH_FLEET = {"level": (0.3, 0.5), "slope": (0.15, 0.5), "sources": (1.0, WIDE)}
WITH_FLEET_ENCODING = {
    "positions": (0.025, WIDE),
    "counts": (0.03, WIDE),
    "launches": (0.2, WIDE),
    "work": (0.2, WIDE),
    "dead": (0.2, WIDE),
}
# Without a fleet all that operators cost is still to be learnt.
ALONE = {"level": (0.3, 0.5)}
ALONE_ENCODING = {
    "positions": (0.1, WIDE),
    "counts": (0.1, WIDE),
    "launches": (0.3, WIDE),
    "work": (0.3, WIDE),
    "dead": (0.3, WIDE),
}
NOISE = (0.04, WIDE)
DEGREES_OF_FREEDOM = 4.0  # phones are interrupted: measurements that are off by half are not rare
CALIBRATION_WEIGHT = 10.0  # measurements that the model's own intervals count for against what was left out
MEAN_DISTANCE = float(np.sqrt(2 / np.pi))  # of a normal distribution, in standard deviations

LEAST_RELATIVE = 0.05  # no network is taken to be faster than a twentieth of the average: noise is relative to it
MIN_MEASUREMENTS = 3
MEASUREMENTS = {"measured", "latency_ms", "left_out_ms", "left_out_std_ms"}  # arrays of a profile
LARGEST_POOL = 1000  # candidates considered at once; a pool of more is sampled


class LatencyPredictor:
    """Predicts latency on one device of the networks of `space`.

    Parameters
    ----------
    space : the space of all populations.
    random_state : seeds the sampling of pools with more than a thousand candidates.

    Attributes
    ----------
    devices_ : names of the fleet's devices.
    measured_, latency_ms_ : what it was adapted to.
    left_out_ms_, left_out_std_ms_ : every measured network predicted from all the others.
    errors_ : the errors of these held-out predictions.
    """

    def __init__(self, space: SearchSpace, random_state: int = 0) -> None:
        self.space = space
        self.random_state = random_state

    def fit(self, fleet: Sequence[Measurements] = ()) -> "LatencyPredictor":
        """Learn from many devices; an empty fleet leaves what operators cost to the device's own measurements.

        Raises
        ------
        ValueError : a device of the fleet with too few networks, or a latency that is not a positive number.
        """
        for device in fleet:
            _check(self.space, device.population, device.latency_ms, device.device)
        self.devices_ = tuple(device.device for device in fleet)
        self._sources = SourceDevices.fit(self._encoding, fleet) if fleet else None
        return self

    def for_new_device(self, without: Collection[str] = ()) -> "LatencyPredictor":
        """The same fleet, or all of it but the devices named in `without`, adapted to no device yet."""
        fresh = LatencyPredictor(self.space, self.random_state)
        fresh.__dict__["_encoding"] = self._encoding
        keep = [i for i, device in enumerate(self.devices_) if device not in without]
        fresh.devices_ = tuple(self.devices_[i] for i in keep)
        fresh._sources = self._sources.of(keep) if self._sources is not None and keep else None
        return fresh

    @cached_property
    def _encoding(self) -> ArchitectureEncoding:
        return ArchitectureEncoding(self.space, target="latency")

    def _terms(self) -> list[Term]:
        widths = self._encoding.widths
        if self._sources is None:
            priors, encoding, fleet_widths = ALONE, ALONE_ENCODING, [1]
        else:
            priors, encoding, fleet_widths = WITH_FLEET, WITH_FLEET_ENCODING, [1, 1, len(self.devices_)]
        terms = [Term(width, *prior) for width, prior in zip(fleet_widths, priors.values(), strict=True)]
        return terms + [Term(width, *encoding[name]) for name, width in widths.items()]

    def _features(self, rows: NDArray[Any]) -> tuple[Rows, Rows]:
        """Prior mean, shape ``(n,)`` and relative to the average network, and features ``(n, width)``."""
        encoded = self._encoding(rows)
        level = np.ones((len(rows), 1), dtype=np.float32)
        if self._sources is None:
            return level[:, 0], np.concatenate([level, encoded], axis=1)
        sources = self._sources(encoded)
        mean = sources.mean(axis=1, keepdims=True)
        departures = (sources - mean) / np.float32(np.sqrt(sources.shape[1]))
        return mean[:, 0], np.concatenate([level, mean - 1, departures, encoded], axis=1)

    def adapt(self, population: NDArray[Any], latency_ms: NDArray[Any]) -> "LatencyPredictor":
        """Learn a device from all that was measured on it so far; replaces what it was adapted to before.

        Parameters
        ----------
        population : int array of shape (n, n_genes), at least 3 networks.
        latency_ms : shape (n,).

        Raises
        ------
        ValueError : too few networks, or a latency that is not a positive number.
        """
        if not hasattr(self, "devices_"):
            self.fit()
        rows, latency = _check(self.space, population, latency_ms, "the device")
        mean, features = self._features(rows)
        prior = np.maximum(mean.astype(np.float64), LEAST_RELATIVE)
        self._unit_ms = float(latency.mean() / prior.mean())
        process = GroupedGaussianProcess(
            self._terms(), noise_scale=NOISE[0], noise_spread=NOISE[1], degrees_of_freedom=DEGREES_OF_FREEDOM
        )
        # Noise grows with latency: by the fleet's average where there is one, else by what was measured.
        relative = prior if self._sources is not None else np.maximum(latency / self._unit_ms, LEAST_RELATIVE)
        process.fit(features.astype(np.float64), latency / self._unit_ms - mean, relative)
        self.left_out_ms_ = self._unit_ms * (mean + process.left_out_.mean)
        stretch = _stretch((latency - self.left_out_ms_) / (self._unit_ms * process.left_out_.std))
        jitter = 1e-9 * np.eye(features.shape[1])
        self._weights = process.posterior_.mean.astype(np.float32)
        self._factor = (stretch * np.linalg.cholesky(process.posterior_.covariance + jitter)).astype(np.float32)
        self._noise = float(stretch * process.posterior_.noise)
        self.measured_, self.latency_ms_ = rows, latency
        self.left_out_std_ms_ = stretch * self._unit_ms * process.left_out_.std
        self.errors_: LatencyErrors = latency_errors(latency, self.left_out_ms_, self.left_out_std_ms_)
        return self

    def predict(self, population: NDArray[Any], return_std: bool = False) -> Any:
        """Predicted latency in milliseconds, shape ``(n,)``; with `return_std` also of a measurement's deviation.

        Raises
        ------
        ValueError : not adapted to a device yet.
        """
        if not hasattr(self, "_weights"):
            raise ValueError("the latency predictor knows no device; call adapt(population, latency_ms) first")
        rows = self.space.as_population(population)
        relative, variance = np.empty(len(rows)), np.zeros(len(rows))
        start = 0
        for piece in pieces(rows):
            mean, features = self._features(piece)
            stop = start + len(piece)
            relative[start:stop] = mean + features @ self._weights
            if return_std:
                variance[start:stop] = np.square(features @ self._factor).sum(axis=1)
            start = stop
        relative = np.maximum(relative, LEAST_RELATIVE)
        latency = self._unit_ms * relative
        if not return_std:
            return latency
        return latency, self._unit_ms * np.sqrt(variance + np.square(self._noise * relative))

    @property
    def noise_(self) -> float:
        """Standard deviation of a measurement's noise, relative to the latency; no prediction is surer than that."""
        return float(self._noise)

    def suggest(self, pool: NDArray[Any], n: int) -> NDArray[np.intp]:
        """Which networks of `pool` to measure next, most telling first; never one that was measured already.

        Parameters
        ----------
        pool : int array of shape (m, n_genes) of candidates.
        n : how many.

        Returns
        -------
        int array of shape (n,), rows of `pool`.

        Raises
        ------
        ValueError : fewer candidates than `n` that were not measured yet.
        """
        if not hasattr(self, "devices_"):
            self.fit()
        rows = self.space.canonical(pool)
        known = {row.tobytes() for row in getattr(self, "measured_", np.empty((0, 0)))}
        seen: set[bytes] = set()
        fresh = []
        for i, row in enumerate(rows):
            key = row.tobytes()
            if key not in known and key not in seen:
                fresh.append(i)
            seen.add(key)
        if len(fresh) < n:
            raise ValueError(f"{n} networks were asked for, the pool has {len(fresh)} that were not measured yet")
        candidates = np.array(fresh, dtype=np.intp)
        if len(candidates) > LARGEST_POOL:
            rng = np.random.default_rng(self.random_state)
            candidates = np.sort(rng.choice(candidates, LARGEST_POOL, replace=False))
        mean, features = self._features(rows[candidates])
        if hasattr(self, "_weights"):
            spread = features @ self._factor
            noise, level = self._noise, mean + features @ self._weights
        else:
            spread = features * np.sqrt(
                np.repeat([t.scale**2 for t in self._terms()], [t.width for t in self._terms()])
            )
            noise, level = NOISE[0], mean
        spread = spread.astype(np.float64)
        noise_variance = np.square(noise * np.maximum(level, LEAST_RELATIVE))
        chosen = a_optimal(spread @ spread.T, noise_variance, n, np.zeros(len(candidates), dtype=bool))
        return candidates[chosen]

    def save(self, path: Path, *, measurements: bool = True) -> None:
        """Write the profile, or the fleet when adapted to no device: `path` (JSON) and, beside it, safetensors.

        Parameters
        ----------
        path : of the JSON file.
        measurements : whether to keep what was measured on the device, and the left-out predictions of it. Without,
            the loaded predictor predicts the same and knows its errors, but has no `measured_` and the like.
        """
        path = Path(path)
        description: dict[str, Any] = {
            "space": self.space.name,
            "options": self.space.options,
            "random_state": self.random_state,
            "devices": list(self.devices_),
            "encoding": fingerprint(self._encoding),
        }
        arrays = {} if self._sources is None else {f"sources.{k}": v for k, v in self._sources.arrays.items()}
        adapted = hasattr(self, "_weights")
        if adapted:
            description |= {"unit_ms": self._unit_ms, "noise": self._noise}
            arrays |= {"weights": self._weights, "factor": self._factor}
        if adapted and measurements:
            arrays |= {name: getattr(self, f"{name}_") for name in MEASUREMENTS}
        write_profile(path, description, arrays, self.errors_ if adapted else None)

    @classmethod
    def load(cls, path: Path) -> "LatencyPredictor":
        """Read a profile written by `save`; it predicts the same, and can be adapted again.

        Raises
        ------
        ValueError : no profile there, a damaged one, or one whose space or encoding has changed since.
        """
        path = Path(path)
        description, arrays, errors = read_profile(path)
        predictor = cls(get_space(description["space"], **description["options"]), description["random_state"])
        if fingerprint(predictor._encoding) != description["encoding"]:
            raise ValueError(f"{path} was made when networks were encoded differently; fit the device again")
        predictor.devices_ = tuple(description["devices"])
        predictor._sources = None
        if predictor.devices_:
            numbers = {name: arrays[f"sources.{name}"] for name in ("landmarks", "weights")}
            predictor._sources = SourceDevices(predictor._encoding, **numbers)
        if errors is not None:
            predictor._unit_ms, predictor._noise = description["unit_ms"], description["noise"]
            predictor._weights, predictor._factor = arrays["weights"], arrays["factor"]
            predictor.errors_ = errors
            for name in arrays.keys() & MEASUREMENTS:
                setattr(predictor, f"{name}_", arrays[name])
        return predictor


def _stretch(distances: Floats) -> float:
    """How much wider intervals have to be, from what was left out, in standard deviations of its prediction.

    By the mean distance: squares would let one interrupted measurement decide.
    """
    expected = CALIBRATION_WEIGHT * MEAN_DISTANCE
    return float((expected + np.abs(distances).sum()) / (expected + len(distances) * MEAN_DISTANCE))


def _check(
    space: SearchSpace, population: NDArray[Any], latency_ms: NDArray[Any], device: str
) -> tuple[NDArray[np.int16], Floats]:
    rows = space.canonical(population)
    latency = np.asarray(latency_ms, dtype=np.float64)
    if latency.shape != (len(rows),):
        raise ValueError(f"{device}: {len(rows)} networks need as many latencies, got an array of {latency.shape}")
    if len(rows) < MIN_MEASUREMENTS:
        raise ValueError(f"{device}: at least {MIN_MEASUREMENTS} measured networks are needed, got {len(rows)}")
    if not np.isfinite(latency).all() or (latency <= 0).any():
        raise ValueError(f"{device}: latencies must be positive numbers of milliseconds")
    return rows, latency
