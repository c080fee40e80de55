"""What may be assumed of a device before it is measured, and the average over these assumptions.

Each model is a regression on some groups of features, with a prior of how much each group matters
(`predictors.gaussian_process`). Which model is right for a device only its measurements can tell: the models are
mixed in the shares that predict the measured networks best when these are left out. So a fleet that resembles the
device helps, and one that does not does little harm: no model's share falls to nothing.

Stacking: Yao, Vehtari, Simpson and Gelman (2018), Using stacking to average Bayesian predictive distributions,
https://doi.org/10.1214/17-BA1091. Latencies are milliseconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from predictors.gaussian_process import GroupedGaussianProcess, LeftOut, Term
from predictors.latency.mixture import mixture

Floats = NDArray[np.float64]

WIDE = 1.5  # a factor of 4.5 either way: the measurements, not the prior, say how quiet or odd a device is
ENCODED = ("positions", "counts", "launches", "work", "dead", "unfed")
UNFED = (0.02, 0.5)  # most devices work on zeros as on anything else; more freedom cost half a point of error
NOISE = (0.04, WIDE)
DEGREES_OF_FREEDOM = 4.0  # phones are interrupted: measurements that are off by half are not rare
LEAST_RELATIVE = 0.05  # no network is taken to be faster than a twentieth of the average: noise is relative to it
EVEN_ODDS = 10.0  # measurements with which a model that knows of no device is as likely as one that does; fewer: less
PRIOR_WEIGHT = 2.0  # measurements that these odds count for against what was left out
STEPS = 200  # of finding the shares; more change none of them by a thousandth


@dataclass(frozen=True)
class Model:
    """One assumption of what a device's latency is made of.

    Attributes
    ----------
    start : the feature that latency is proportional to before anything is measured; of ``mixture``, the known devices
        in the shares that explain the measurements best.
    priors : median and spread of each group's scale, as fractions of the average network's latency.
    informed : knows of other devices, or of this one in other spaces.
    measured_here : of use also where the known devices were measured in the space itself.
    """

    start: str
    priors: Mapping[str, tuple[float, float]]
    informed: bool = True
    measured_here: bool = True


# Priors were chosen by leaving devices out of training fleets. On NAS-Bench-201 none of these is a test device of
# HELP's set; on FBNet most test devices are among them, by other networks, as one set learns from what another tests.
_LITTLE = dict(zip(ENCODED, ((0.025, WIDE), (0.03, WIDE), (0.2, WIDE), (0.2, WIDE), (0.2, WIDE), UNFED), strict=True))
_LESS = {name: (scale / 2, spread) for name, (scale, spread) in _LITTLE.items()}
_MUCH = dict(zip(ENCODED, ((0.1, WIDE), (0.1, WIDE), (0.3, WIDE), (0.3, WIDE), (0.3, WIDE), UNFED), strict=True))
_LEVEL = {"level": (0.3, 0.5)}
MODELS = {
    "fleet": Model("fleet", _LEVEL | {"fleet": (0.15, 0.5), "departures": (1.0, WIDE)} | _LITTLE),
    "own": Model("own", _LEVEL | {"own": (0.075, 0.5), "departures": (0.5, WIDE)} | _LESS),
    "mixture": Model("mixture", _LEVEL | {"departures": (0.5, WIDE)} | _LESS, measured_here=False),
    "alone": Model("level", _LEVEL | _MUCH, informed=False),
}
"""``fleet`` departs from the average of the known devices in the manner of one of them, or in what operators cost.
``own`` departs likewise from what operators cost this very device in other spaces.
``mixture`` departs from the mixture of the known devices that explains the measurements best.
``alone`` knows of no device: all that operators cost is to be learnt."""


class Average(NamedTuple):
    """The average over models of what a device's latency is, as a linear function of features.

    Attributes
    ----------
    unit_ms : latency of the average network; all else is relative to it.
    weights, covariance : of the features, shapes ``(width,)`` and ``(width, width)``.
    noise : standard deviation of a measurement, relative to its latency.
    left_out : every network predicted from the others.
    shares : how much each model counts.
    """

    unit_ms: float
    weights: Floats
    covariance: Floats
    noise: float
    left_out: LeftOut
    shares: dict[str, float]

    def predict(self, row: NDArray[Any]) -> float:
        """Milliseconds of one network with the features `row`."""
        return self.unit_ms * max(float(row @ self.weights), LEAST_RELATIVE)

    def std(self, row: NDArray[Any]) -> float:
        """Standard deviation of a measurement of it, milliseconds."""
        variance = (self.unit_ms**2) * float(row @ self.covariance @ row)
        return float(np.sqrt(variance + (self.noise * self.predict(row)) ** 2))


class _Fitted(NamedTuple):
    """One model, in the units of latency over `unit_ms` of all models."""

    unit_ms: float
    weights: Floats
    covariance: Floats
    noise: float
    left_out: LeftOut


def model_terms(model: Model, groups: Mapping[str, slice]) -> list[Term]:
    """The terms of `model` for features whose groups stand at `groups`; none for a group without columns."""
    widths = {name: groups[name].stop - groups[name].start for name in model.priors}
    return [Term(widths[name], *prior) for name, prior in model.priors.items() if widths[name]]


def model_columns(model: Model, groups: Mapping[str, slice]) -> NDArray[np.intp]:
    """The columns that `model` reads, in the order of its terms."""
    return np.concatenate([np.arange(groups[name].start, groups[name].stop) for name in model.priors])


def prior_weights(
    model: Model, features: NDArray[Any], groups: Mapping[str, slice], latency_ms: Floats | None = None
) -> Floats:
    """Of the features in the relative latency from which the model departs, shape ``(width,)``.

    Parameters
    ----------
    features : of the measured networks, shape (n, width); their latencies are `latency_ms`.
    """
    weights = np.zeros(features.shape[1])
    weights[groups["level"]] = 1
    if model.start == "mixture":
        assert latency_ms is not None
        root = np.sqrt(groups["departures"].stop - groups["departures"].start)
        devices = 1 + features[:, groups["fleet"]] + root * features[:, groups["departures"]]
        shares = mixture(np.maximum(devices, LEAST_RELATIVE), latency_ms)
        weights[groups["fleet"]] = 1
        weights[groups["departures"]] = root * shares / shares.sum()
    elif model.start != "level":
        weights[groups[model.start]] = 1
    return weights


def average_models(
    names: Sequence[str], features: NDArray[Any], latency_ms: Floats, groups: Mapping[str, slice]
) -> Average:
    """Fit the models `names` of `MODELS` to measured networks and average over them.

    Parameters
    ----------
    names : models whose groups are all in `groups`.
    features : shape (n, width).
    latency_ms : shape (n,).
    groups : columns of each group. ``level`` is one column of ones, a start is relative to the average network's
        latency, less one.
    """
    features = np.asarray(features, dtype=np.float64)
    fitted = [_fit(MODELS[name], features, latency_ms, groups) for name in names]
    odds = [(EVEN_ODDS / len(latency_ms)) ** 2 if MODELS[name].informed else 1.0 for name in names]
    shares = stacked_shares(np.array(odds) / sum(odds), np.stack([_log_density(one, latency_ms) for one in fitted]))
    unit_ms = float(shares @ [one.unit_ms for one in fitted])
    scale = [one.unit_ms / unit_ms for one in fitted]
    weights = np.stack([s * one.weights for s, one in zip(scale, fitted, strict=True)])
    mean = shares @ weights
    covariance = np.zeros((len(mean), len(mean)))
    for share, s, one, own in zip(shares, scale, fitted, weights, strict=True):
        if share > 1e-6:
            covariance += share * (s**2 * one.covariance + np.outer(own - mean, own - mean))
    left_out = np.stack([one.left_out.mean for one in fitted])
    left_out_mean = shares @ left_out
    variance = shares @ (np.square([one.left_out.std for one in fitted]) + np.square(left_out - left_out_mean))
    noise = float(np.exp(shares @ np.log([one.noise for one in fitted])))
    return Average(
        unit_ms,
        mean,
        covariance,
        noise,
        LeftOut(left_out_mean, np.sqrt(variance)),
        dict(zip(names, shares.tolist(), strict=True)),
    )


def _fit(model: Model, features: Floats, latency_ms: Floats, groups: Mapping[str, slice]) -> _Fitted:
    start = prior_weights(model, features, groups, latency_ms)
    mean = features @ start
    least = np.maximum(mean, LEAST_RELATIVE)
    unit_ms = float(latency_ms.mean() / least.mean())
    columns = model_columns(model, groups)
    process = GroupedGaussianProcess(
        model_terms(model, groups),
        noise_scale=NOISE[0],
        noise_spread=NOISE[1],
        degrees_of_freedom=DEGREES_OF_FREEDOM,
    )
    # Noise grows with latency: by what is expected of it, or by what was measured where all are expected alike.
    relative = least if model.start != "level" else np.maximum(latency_ms / unit_ms, LEAST_RELATIVE)
    process.fit(features[:, columns], latency_ms / unit_ms - mean, relative)
    weights = np.zeros(features.shape[1])
    weights[columns] = process.posterior_.mean
    weights += start
    covariance = np.zeros((features.shape[1], features.shape[1]))
    covariance[np.ix_(columns, columns)] = process.posterior_.covariance
    left_out = LeftOut(unit_ms * (mean + process.left_out_.mean), unit_ms * process.left_out_.std)
    return _Fitted(unit_ms, weights, covariance, process.posterior_.noise, left_out)


def _log_density(fitted: _Fitted, latency_ms: Floats) -> Floats:
    """Of what was left out: logarithm of Student's t without the constant, shape ``(n,)``."""
    distance = (latency_ms - fitted.left_out.mean) / fitted.left_out.std
    heavy = (DEGREES_OF_FREEDOM + 1) / 2 * np.log1p(distance**2 / DEGREES_OF_FREEDOM)
    return np.asarray(-(heavy + np.log(fitted.left_out.std)))


def stacked_shares(prior: Floats, log_density: Floats) -> Floats:
    """The shares of models whose mixture gives what was left out the highest density, by expectation maximisation.

    Parameters
    ----------
    prior : shares beforehand, shape (n_models,); they count for `PRIOR_WEIGHT` measurements.
    log_density : shape (n_models, n).
    """
    density = np.exp(log_density - log_density.max(axis=0))
    shares = prior
    for _ in range(STEPS):
        explained = shares[:, None] * density
        explained /= explained.sum(axis=0)
        shares = (explained.sum(axis=1) + PRIOR_WEIGHT * prior) / (density.shape[1] + PRIOR_WEIGHT)
    return shares
