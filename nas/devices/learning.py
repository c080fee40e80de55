"""A latency predictor of a device for a space, from what is known, or measured now.

In order: what was measured on it in that space; measuring now, where it can be reached; operator costs, from the
published networks of other spaces or from the fleet's own measurements. Latencies are milliseconds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import latency_tables
from nas.devices.device import Device
from nas.progress import SILENT, Listener
from predictors.latency import MIN_MEASUREMENTS, LatencyPredictor
from predictors.latency.transfer import DeviceCosts, OperatorCosts, Part
from search_spaces import Population, SearchSpace, get_space
from search_spaces.traced import PREFIX as TRACED

SHIPPED = Path(latency_tables.__file__).parent
OPERATOR_COSTS = SHIPPED / "operator_costs.json"
ENOUGH_WITH_FLEET, ENOUGH_ALONE = 12, 40
"""Networks to measure on a device before its predictor is trusted: ten and the extremes, or a few dozen."""
POOL = 1_000  # random networks among which the first ones to measure are chosen

Refit = Callable[[Population, NDArray[np.float64]], None]


@dataclass(frozen=True)
class KnownLatency:
    """A latency predictor of a device for a space, and its evidence.

    Attributes
    ----------
    predictor : ``predict(population, return_std)`` in milliseconds.
    evidence : what it was learnt from and how far it errs, in a few words.
    refit : adapts it to further measurements; None where it cannot be adapted.
    """

    predictor: Any
    evidence: str
    refit: Refit | None = None


def learn_device(
    device: Device, space: SearchSpace, samples: int | None = None, seed: int = 0, listener: Listener = SILENT
) -> KnownLatency:
    """A latency predictor of `device` for `space`, measuring first where too little is known and it can be reached.

    Parameters
    ----------
    device : its table is read, and grows by what is measured.
    space : whose networks.
    samples : networks that should have been measured before the predictor is trusted: the extremes, and those
        that tell most about the others. None stands for a dozen where other devices were measured in this space,
        and for forty where none was.

    Raises
    ------
    ValueError : nothing is known of the device and nothing can be measured on it.
    """
    predictor = device_predictor(device, space)
    if samples is None:
        samples = ENOUGH_WITH_FLEET if predictor.devices_ else ENOUGH_ALONE
    if device.can_measure and len(getattr(predictor, "measured_", ())) < samples:
        listener.say(f"measuring {samples} networks of {space.name} on {device.name}")
        with listener.track("measuring networks") as progress:
            device.measure(space, informative_sample(space, samples, seed), progress=progress)
        predictor = device_predictor(device, space)
    if not hasattr(predictor, "errors_"):
        return _from_operator_costs(device, space)
    measured, latency_ms = predictor.measured_, predictor.latency_ms_

    def refit(population: Population, finalists_ms: NDArray[np.float64]) -> None:
        predictor.adapt(np.concatenate([measured, population]), np.concatenate([latency_ms, finalists_ms]))

    return KnownLatency(predictor, describe_errors(predictor), refit)


def device_predictor(device: Device, space: SearchSpace) -> LatencyPredictor:
    """A latency predictor adapted to what the device's table has of `space`; unadapted where that is too little."""
    predictor = fleet_predictor(space)
    population, latency_ms = device.table.known(space)
    if len(population) >= MIN_MEASUREMENTS:
        predictor.adapt(population, latency_ms)
    return predictor


def fleet_predictor(space: SearchSpace, random_state: int = 0) -> LatencyPredictor:
    """A latency predictor that knows what is shipped of other devices in `space`, and no device yet."""
    shipped = SHIPPED / "fleets" / f"{space.name}.json"
    if shipped.is_file():
        predictor = LatencyPredictor.load(shipped)
        # The number of classes may differ, which costs next to nothing; what can be chosen may not.
        if predictor.space.genes == space.genes:
            return predictor
    return LatencyPredictor(space, random_state).fit()


def describe_errors(predictor: LatencyPredictor) -> str:
    """The held-out errors of a latency predictor in a few words."""
    errors = predictor.errors_
    fleet = f" and {len(predictor.devices_)} other devices" if predictor.devices_ else ""
    return (
        f"error {errors.mape:.1%}, {errors.within_10:.0%} within 10 %, rank correlation (Spearman) "
        f"{errors.spearman:.2f}, each of {errors.n} networks predicted from the others{fleet}"
    )


def device_costs(device: Device) -> DeviceCosts | None:
    """What operators cost a device: from its published networks, else as one of the fleet; None if unknown."""
    fleet = OperatorCosts.load(OPERATOR_COSTS)
    table = device.table.read()
    if table is None:
        return fleet.devices_.get(device.name)
    parts = []
    for row in table.rows.to_dict("records"):
        if row["space"].startswith(TRACED):  # its layers are known to its own weights only
            continue
        # Published networks have resolutions of their own; each is a part with a space just for it.
        space = get_space(row["space"], resolutions=(int(row["resolution"]),))
        parts.append(Part(space, space.parse(row["architecture"])[None], np.array([row["latency_ms"]])))
    return fleet.adapt(parts) if parts else fleet.devices_.get(device.name)


def informative_sample(space: SearchSpace, n: int, seed: int = 0) -> Population:
    """The min and the max net, and those `n` - 2 of a random pool whose latency tells most about the others."""
    extremes = np.stack([space.min, space.max])
    pool = space.sample(POOL, np.random.default_rng(seed), tilt=1.5)
    pool = pool[(pool[:, None] != extremes).any(axis=2).all(axis=1)]
    chosen = fleet_predictor(space, seed).suggest(pool, max(0, n - 2))
    return np.concatenate([extremes, pool[chosen]])


def _from_operator_costs(device: Device, space: SearchSpace) -> KnownLatency:
    if device.batch > 1:
        raise ValueError(
            f"nothing is known of {device.name} at {device.batch} images an inference in space {space.name}; type: "
            f"nas measure {device.flags} --space {space.name}"
        )
    costs = device_costs(device)
    if costs is None:
        raise ValueError(
            f"nothing is known of the latency of {device.name} in space {space.name}; type: "
            f"nas measure {device.flags} --space {space.name}"
        )
    predictor = costs.for_space(space)
    here = "" if space.name in costs.spaces else f", none of them of {space.name}"
    evidence = (
        f"predicted from what operators cost, learnt from {costs.n:,} networks of {' and '.join(costs.spaces)}{here}; "
        f"expected error {predictor.relative_std:.0%}"
    )
    return KnownLatency(predictor, evidence)
