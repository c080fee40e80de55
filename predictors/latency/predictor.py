"""The latency of any network of a space on one device, from a handful of measured ones.

Meta-fitted over a fleet: a device departs from the fleet's average device as the fleet's devices depart, and in what
operators cost by kind, by place and by amount of work. Where no device was measured in the space, what operators
cost the known devices plays the part of a fleet; the mixture of them that explains the measurements best, and what
operators cost this device in other spaces, are further starts. All are averaged with the model that knows of no other
device (`predictors.latency.models`). All is linear in the features, so everything is in closed form.

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
from predictors.held_out import LatencyErrors, coverage
from predictors.latency.expectation import MEAN_DISTANCE, expected_errors, further_measurements
from predictors.latency.models import (
    LEAST_RELATIVE,
    MODELS,
    NOISE,
    Average,
    average_models,
    model_columns,
    model_terms,
    prior_weights,
)
from predictors.latency.profile import Arrays, checked_array, fingerprint, read_profile, write_profile
from predictors.latency.sources import Measurements, SourceDevices
from predictors.latency.suggestion import a_optimal
from predictors.latency.suspicious import DOUBTFUL, fit_without_suspicious, left_out_of_all
from search_spaces import SearchSpace
from search_spaces.recorded import recorded_space

Floats = NDArray[np.float64]

CALIBRATION_WEIGHT = 10.0  # measurements that the model's own intervals count for against what was left out
INTERVAL_FACTORS = ((3, 5, 10, 20), (0.48, 0.64, 0.92, 1.0)), ((3, 5, 10, 20), (0.9, 1.0, 1.1, 1.0))
"""Measurements, and by what the widths of the model's intervals are multiplied, as left-out training devices need it.
In a fleet that was measured in the space a device departs less than the priors allow, and few measurements cannot tell;
in one that is known by what operators cost, the mixture was found from the measurements themselves."""
REFERENCE_ROWS = 400  # networks that stand for the space
MIN_MEASUREMENTS = 3
MEASUREMENTS = {"measured", "latency_ms", "left_out_ms", "left_out_std_ms", "suspicious"}  # arrays of a profile
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
    suspicious_ : numbers of the measurements that were left out, because they do not fit the others.
    shares_ : how much each model of `predictors.latency.models` counts.
    left_out_ms_, left_out_std_ms_ : every measured network predicted from all the others.
    errors_ : the errors to expect of other networks of the space (`predictors.latency.expectation`).
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
        self._sources: SourceDevices | None = SourceDevices.fit(self._encoding, fleet) if fleet else None
        self._own: SourceDevices | None = None
        return self

    def for_new_device(self, without: Collection[str] = ()) -> "LatencyPredictor":
        """The same fleet, or all of it but the devices named in `without`, adapted to no device yet.

        What operators cost other devices stays known, what they cost the device itself does not.
        """
        fresh = LatencyPredictor(self.space, self.random_state)
        fresh.__dict__["_encoding"] = self._encoding
        keep = [i for i, device in enumerate(self.devices_) if device not in without]
        fresh.devices_ = tuple(self.devices_[i] for i in keep)
        of_fleet = self._sources.of(keep) if self._sources is not None and keep else None
        fresh._sources = of_fleet if self.devices_ else self._sources
        fresh._own = None
        return fresh

    @cached_property
    def _encoding(self) -> ArchitectureEncoding:
        return ArchitectureEncoding(self.space, target="latency")

    def know_costs(self, others: Floats | None = None, own: Floats | None = None) -> "LatencyPredictor":
        """Take in what operators cost, as learnt in other spaces; to be called before `adapt`.

        Parameters
        ----------
        others : milliseconds for one unit of each total of `predictors.operators`, and for an inference, on known
            devices, shape (WIDTH + 1, n_devices); used where the fleet is empty.
        own : the same of the device itself, shape (WIDTH + 1,).
        """
        if not hasattr(self, "devices_"):
            self.fit()
        if others is not None and not self.devices_:
            self._sources = SourceDevices.priced(self._encoding, others)
        if own is not None:
            self._own = SourceDevices.priced(self._encoding, own[:, None])
        return self

    @property
    def _groups(self) -> dict[str, slice]:
        """Where each group of features stands."""
        widths = {"level": 1}
        if self._sources is not None:
            widths |= {"fleet": 1, "departures": self._sources.n_devices}
        if self._own is not None:
            widths["own"] = 1
        widths |= self._encoding.widths
        ends = np.cumsum(list(widths.values())).tolist()
        return {name: slice(end - width, end) for (name, width), end in zip(widths.items(), ends, strict=True)}

    @property
    def _models(self) -> list[str]:
        """Names of the models that can be told from what is known."""
        groups = self._groups
        return [
            name
            for name, model in MODELS.items()
            if all(group in groups for group in model.priors) and (model.measured_here or not self.devices_)
        ]

    def _features(self, rows: NDArray[Any]) -> Rows:
        """Feature rows, shape ``(n, width)``, in the order of `_groups`."""
        encoded = self._encoding(rows)
        features = [np.ones((len(rows), 1), dtype=np.float32)]
        if self._sources is not None:
            sources = self._sources(encoded)
            mean = sources.mean(axis=1, keepdims=True)
            features += [mean - 1, (sources - mean) / np.float32(np.sqrt(sources.shape[1]))]
        if self._own is not None:
            features.append(self._own(encoded) - 1)
        return np.concatenate([*features, encoded], axis=1)

    def adapt(
        self, population: NDArray[Any], latency_ms: NDArray[Any], trusted: NDArray[np.bool_] | None = None
    ) -> "LatencyPredictor":
        """Learn a device from all that was measured on it so far; replaces what it was adapted to before.

        A measurement that lies far from what all the others say is left out (`predictors.latency.suspicious`).

        Parameters
        ----------
        population : int array of shape (n, n_genes), at least 3 networks.
        latency_ms : shape (n,).
        trusted : shape (n,); measurements that are never left out. None by default.

        Raises
        ------
        ValueError : too few networks, or a latency that is not a positive number.
        """
        if not hasattr(self, "devices_"):
            self.fit()
        rows, latency = _check(self.space, population, latency_ms, "the device")
        features = self._features(rows)
        models, groups = self._models, self._groups

        def fit(kept: NDArray[np.intp]) -> Average:
            return average_models(models, features[kept], latency[kept], groups)

        never = np.zeros(len(rows), dtype=bool) if trusted is None else np.asarray(trusted, dtype=bool)
        average, self.suspicious_ = fit_without_suspicious(fit, features, latency, never)
        kept = np.setdiff1d(np.arange(len(rows)), self.suspicious_)
        left_out, left_out_std = left_out_of_all(average, features, self.suspicious_)
        # What was left out shows that measurements of this device go wrong, by how much it does not.
        distances = (latency - left_out) / left_out_std
        stretch = _stretch(np.clip(distances, -DOUBTFUL, DOUBTFUL) if len(self.suspicious_) else distances)
        if self._sources is not None:
            measured_here, priced = INTERVAL_FACTORS
            stretch *= float(np.interp(len(kept), *(measured_here if self.devices_ else priced)))
        jitter = 1e-9 * np.eye(features.shape[1])
        self._unit_ms = average.unit_ms
        self._weights = average.weights.astype(np.float32)
        self._factor = (stretch * np.linalg.cholesky(average.covariance + jitter)).astype(np.float32)
        self._noise = stretch * average.noise
        self.shares_ = average.shares
        self.measured_, self.latency_ms_ = rows, latency
        self.left_out_ms_, self.left_out_std_ms_ = left_out, stretch * left_out_std
        within = coverage(latency[kept], left_out[kept], self.left_out_std_ms_[kept])
        self.errors_: LatencyErrors = expected_errors(*self._reference(), self._noise, len(kept), within)
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
            features = self._features(piece)
            stop = start + len(piece)
            relative[start:stop] = features @ self._weights
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

    def _reference(self) -> tuple[Floats, Floats]:
        """Relative latency of a fair sample of the space, and a root of its covariance ``(n, width)``."""
        features = self._features(self._encoding.reference[:REFERENCE_ROWS]).astype(np.float64)
        return np.maximum(features @ self._weights, LEAST_RELATIVE), features @ self._factor

    @property
    def further_measurements_(self) -> int:
        """How many more networks should be measured; 0 where those measured are enough, or more would not help."""
        return further_measurements(*self._reference(), self._noise)

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
        features = self._features(rows[candidates])
        if hasattr(self, "_weights"):
            spread = features @ self._factor
            noise, level = self._noise, features @ self._weights
        else:
            # Before anything is measured: by the model that knows most.
            model, groups = MODELS[self._models[0]], self._groups
            terms = model_terms(model, groups)
            scales = np.repeat([term.scale for term in terms], [term.width for term in terms])
            spread = features[:, model_columns(model, groups)] * scales
            noise, level = NOISE[0], features @ prior_weights(model, features, groups)
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
        arrays = {
            f"{name}.{key}": array
            for name, devices in (("sources", self._sources), ("own", self._own))
            if devices is not None
            for key, array in devices.arrays.items()
        }
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
        space = recorded_space(description["space"], description["options"], path)
        predictor = cls(space, description["random_state"])
        if fingerprint(predictor._encoding) != description["encoding"]:
            raise ValueError(f"{path} was made when networks were encoded differently; fit the device again")
        predictor.devices_ = tuple(description["devices"])
        predictor._sources, predictor._own = (
            predictor._read_sources(arrays, name, path) if f"{name}.weights" in arrays else None
            for name in ("sources", "own")
        )
        if errors is not None:
            predictor._unit_ms, predictor._noise = description["unit_ms"], description["noise"]
            width = max(group.stop for group in predictor._groups.values())
            predictor._weights = checked_array(arrays, "weights", (width,), path)
            predictor._factor = checked_array(arrays, "factor", (width, width), path)
            predictor.errors_ = errors
            if arrays.keys() & MEASUREMENTS:
                predictor._read_measurements(arrays, path)
        return predictor

    def _read_sources(self, arrays: Arrays, name: str, path: Path) -> SourceDevices:
        landmarks = checked_array(arrays, f"{name}.landmarks", (None, len(self.space.genes)), path)
        rows = 1 + sum(self._encoding.widths.values()) + len(landmarks)
        weights = checked_array(arrays, f"{name}.weights", (rows, None), path)
        if not weights.shape[1]:
            raise ValueError(f"{path}: it knows no device")
        return SourceDevices(self._encoding, self.space.as_population(landmarks), weights)

    def _read_measurements(self, arrays: Arrays, path: Path) -> None:
        self.measured_ = self.space.canonical(checked_array(arrays, "measured", (None, len(self.space.genes)), path))
        n = len(self.measured_)
        for name in ("latency_ms", "left_out_ms", "left_out_std_ms"):
            setattr(self, f"{name}_", checked_array(arrays, name, (n,), path))
        self.suspicious_ = checked_array(arrays, "suspicious", (None,), path)
        if not np.isin(self.suspicious_, np.arange(n)).all():
            raise ValueError(f"{path}: a suspicious measurement is none of those that are kept")


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
