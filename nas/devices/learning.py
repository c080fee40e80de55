"""A latency predictor of a device for a space, from what is known, or measured now.

In order: what was measured on it in that space; measuring now, where it can be reached; operator costs, from the
published networks of other spaces or from the fleet's own measurements. Latencies are milliseconds.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import latency_tables
from latency_tables.table import LatencyTable
from nas.devices.device import Device
from nas.devices.suspicious import measure_suspicious_again
from nas.progress import SILENT, Listener, Progress, counted
from predictors.latency import MIN_MEASUREMENTS, LatencyPredictor
from predictors.latency.published import HAND_MADE
from predictors.latency.suggestion import next_count
from predictors.latency.transfer import DeviceCosts, OperatorCosts, Part
from search_spaces import Population, SearchSpace, get_space
from search_spaces.traced import PREFIX as TRACED

SHIPPED = Path(latency_tables.__file__).parent
OPERATOR_COSTS = SHIPPED / "operator_costs.json"
PUBLISHED_COSTS = SHIPPED / "published_costs.json"
"""Of devices known by hand-made networks alone. They are no part of the fleet: with them, devices of the fleet that
were left out were predicted worse."""
ENOUGH_WITH_FLEET, ENOUGH_ALONE = 12, 40
"""Networks to measure on a device before its predictor is trusted: ten and the extremes, or a few dozen."""
POOL = 1_000  # random networks among which the first ones to measure are chosen
MOST_LEARNT_FROM = 400
"""Networks that a device is learnt from; memory grows with their square, to a quarter of a gigabyte here."""

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
    ValueError : nothing is known of the device and nothing can be measured on it, or its table is of another machine or
        of other conditions than its card.
    """
    device.check_table()
    predictor = device_predictor(device, space)
    if samples is None:
        samples = min(ENOUGH_WITH_FLEET if predictor.devices_ else ENOUGH_ALONE, int(space.size))
    if device.can_measure and len(device.table.known(space)[0]) < samples:
        listener.say(f"measuring {counted(samples, 'network')} of {space.name} on {device.name}")
        with listener.track("measuring networks") as progress:
            measure_informative(device, space, samples, seed, extremes=True, progress=progress)
        predictor, sentences = check_again(device, space)
        for sentence in sentences:
            listener.say(sentence)
    if not hasattr(predictor, "errors_"):
        return _from_operator_costs(device, space)
    for remark in remarks_on(predictor, device, space, partial(_more_in_search, device, space)):
        listener.say(remark)
    kept = np.setdiff1d(np.arange(len(predictor.measured_)), predictor.suspicious_)
    measured, latency_ms = predictor.measured_[kept], predictor.latency_ms_[kept]
    confirmed = device.table.confirmed(space, measured)

    def refit(population: Population, finalists_ms: NDArray[np.float64]) -> None:
        predictor.adapt(
            np.concatenate([measured, population]),
            np.concatenate([latency_ms, finalists_ms]),
            np.concatenate([confirmed, np.zeros(len(population), dtype=bool)]),
        )

    return KnownLatency(predictor, describe_errors(predictor), refit)


def device_predictor(device: Device, space: SearchSpace) -> LatencyPredictor:
    """A latency predictor adapted to what the device's table has of `space`; unadapted where that is too little."""
    predictor = fleet_predictor(space)
    elsewhere = device_costs(device, without=space)
    if elsewhere is not None and elsewhere.batch == device.batch:
        predictor.know_costs(own=elsewhere.single_prices)
    _adapt(predictor, device, space)
    return predictor


def _adapt(predictor: LatencyPredictor, device: Device, space: SearchSpace) -> Population:
    """Adapt to what the device's table has of `space`, where that is enough; the networks that it has."""
    population, latency_ms = device.table.known(space)
    if len(population) >= MIN_MEASUREMENTS:
        rows = spread_evenly(latency_ms, MOST_LEARNT_FROM)
        predictor.adapt(population[rows], latency_ms[rows], device.table.confirmed(space, population[rows]))
    return population


def spread_evenly(latency_ms: NDArray[np.float64], most: int) -> NDArray[np.intp]:
    """Numbers of at most `most` measurements, evenly from the fastest to the slowest network, ascending."""
    order = np.argsort(latency_ms, kind="stable")
    chosen = np.linspace(0, len(order) - 1, min(most, len(order))).astype(np.intp)
    rows: NDArray[np.intp] = np.sort(order[chosen])
    return rows


def remarks_on(
    predictor: LatencyPredictor, device: Device, space: SearchSpace, to_type: Callable[[int], str]
) -> list[str]:
    """What is to be said of a predictor that has been adapted: networks that were left out, and `describe_need`."""
    remarks = []
    learnt = len(predictor.measured_)
    if learnt >= MOST_LEARNT_FROM and (known := len(device.table.known(space)[0])) > learnt:
        remarks.append(
            f"{known:,} networks of {space.name} are known on {device.name}; {learnt} of them, evenly from the fastest "
            "to the slowest, are learnt from"
        )
    need = describe_need(predictor, device, to_type)
    return remarks if need is None else [*remarks, need]


def check_again(
    device: Device, space: SearchSpace, progress: Progress | None = None
) -> tuple[LatencyPredictor, list[str]]:
    """A device's predictor after its suspicious networks were measured again, and a sentence on each of them."""
    predictor = device_predictor(device, space)
    sentences = measure_suspicious_again(device, space, predictor, progress)
    return (device_predictor(device, space) if sentences else predictor), sentences


def describe_need(predictor: LatencyPredictor, device: Device, to_type: Callable[[int], str]) -> str | None:
    """What to type where too few networks were measured; None where they are enough, or more would not help.

    Parameters
    ----------
    to_type : the words by which so many more networks are measured.
    """
    more = predictor.further_measurements_
    if not more:
        return None
    errors = predictor.errors_
    return (
        f"{errors.n} networks are too few for {device.name}: an error of {errors.mape:.0%} is to be "
        f"expected; measure {more} more: {to_type(more)}"
    )


def _more_in_search(device: Device, space: SearchSpace, more: int) -> str:
    if not device.can_measure:
        return f"nas measure {device.flags} --import FILE"
    return f"type samples={len(device.table.known(space)[0]) + more}"


def fleet_predictor(space: SearchSpace, random_state: int = 0) -> LatencyPredictor:
    """A latency predictor that knows the shipped devices, and this one not yet.

    Where none was measured in `space`, what operators cost them in other spaces plays the part of measurements.
    """
    shipped = SHIPPED / "fleets" / f"{space.name}.json"
    if shipped.is_file():
        predictor = LatencyPredictor.load(shipped)
        # The number of classes may differ, which costs next to nothing; what can be chosen may not.
        if predictor.space.genes == space.genes:
            return predictor
    known = OperatorCosts.load(OPERATOR_COSTS).devices_.values()
    prices = np.stack([costs.single_prices for costs in known], axis=1)
    return LatencyPredictor(space, random_state).know_costs(others=prices)


def describe_errors(predictor: LatencyPredictor) -> str:
    """The errors to expect of a latency predictor in a few words."""
    errors = predictor.errors_
    fleet = f" and {len(predictor.devices_)} other devices" if predictor.devices_ else ""
    left_out = len(predictor.suspicious_) if hasattr(predictor, "suspicious_") else 0
    doubted = f"; {left_out} left out, not fitting the others" if left_out else ""
    return (
        f"expected error {errors.mape:.1%}, {errors.within_10:.0%} within 10 %, rank correlation (Spearman) "
        f"{errors.spearman:.2f}, learnt from {errors.n} networks{fleet}{doubted}"
    )


def device_costs(device: Device, without: SearchSpace | None = None) -> DeviceCosts | None:
    """What operators cost a device, from the networks in its table, else as one of the fleet; None if unknown.

    A device at another batch is another device: where nothing was measured at the batch asked for, the costs are those
    of the batch that most was measured at, and say so.

    Parameters
    ----------
    device : whose table is read.
    without : networks of this space are left out: a latency predictor is adapted to them by itself.
    """
    fleet = OperatorCosts.load(OPERATOR_COSTS)
    table = device.table.read()
    rows = pd.DataFrame() if table is None else table.select(precision=device.spec.precision)
    if len(rows):  # the layers of a traced network are known to its own weights only
        rows = rows[~rows["space"].str.startswith(TRACED)]
    if without is not None and len(rows):
        rows = rows[[not _holds(without, *row) for row in zip(rows["space"], rows["architecture"], strict=True)]]
    if not len(rows):
        return _shipped_costs(fleet, device.name)
    counts = rows["batch"].value_counts()
    batch = device.batch if device.batch in counts else int(counts.index[0])
    spaces = [each for _, each in rows[rows["batch"] == batch].groupby("space", sort=False)]
    most = MOST_LEARNT_FROM // len(spaces)  # the networks of one space do not take the place of another's
    rows, parts = pd.concat([each.iloc[spread_evenly(each["latency_ms"].to_numpy(), most)] for each in spaces]), []
    for row in rows.to_dict("records"):
        # Published networks have resolutions of their own; each is a part with a space just for it.
        own = {"resolutions": (int(row["resolution"]),)} if row["resolution"] else {}  # 0: nothing is said of it
        with suppress(ValueError):  # of a space with other options than usual
            space = get_space(row["space"], **own)
            parts.append(Part(space, space.parse(row["architecture"])[None], np.array([row["latency_ms"]])))
    if not parts:
        return _shipped_costs(fleet, device.name)
    return replace(fleet.adapt(parts), batch=batch)


def _shipped_costs(fleet: OperatorCosts, name: str) -> DeviceCosts | None:
    return fleet.devices_.get(name) or OperatorCosts.load(PUBLISHED_COSTS).devices_.get(name)


def _holds(space: SearchSpace, name: str, architecture: str) -> bool:
    if name != space.name:
        return False
    try:
        space.parse(architecture)
    except ValueError:
        return False
    return True


def measure_informative(
    device: Device,
    space: SearchSpace,
    samples: int,
    seed: int = 0,
    *,
    extremes: bool = False,
    besides: int = 0,
    predictor: LatencyPredictor | None = None,
    progress: Progress | None = None,
) -> LatencyTable:
    """Measure those networks whose latency tells most about the others, until `samples` of `space` are known.

    They are chosen in turn, from a random pool: each choice knows what those before it took.

    Parameters
    ----------
    extremes : begin with the min and the max net.
    besides : of `samples`, those that the user's own number does not count.
    predictor : chooses, and is adapted on the way; None stands for `device_predictor`.

    Returns
    -------
    What was measured now.

    Raises
    ------
    DeviceUnavailable : as of `Device.measure`.
    ValueError : likewise, or the pool has too few networks.
    """
    chooser = predictor or device_predictor(device, space)
    known, _ = device.table.known(space)
    pool = np.unique(space.sample(POOL, np.random.default_rng(seed), tilt=1.5), axis=0)
    first = np.stack([space.min, space.max]) if extremes else pool[:0]
    more, at_hand = samples - len(known), len(_without(pool, known))
    if more > at_hand:
        raise ValueError(
            f"{more:,} more networks of {space.name} cannot be chosen at once, {at_hand:,} at most; type samples="
            f"{len(known) + at_hand - besides}"
        )

    def choose() -> Population:
        population = _adapt(chooser, device, space)
        n = next_count(len(population), samples)
        if n <= 0:
            return pool[:0]
        begin = _without(first, population)[:n]
        rest = _without(pool, np.concatenate([population, begin]))
        return np.concatenate([begin, rest[chooser.suggest(rest, n - len(begin))]])

    return device.measure_in_turn(space, choose, more, progress=progress)


def _without(population: Population, others: Population) -> Population:
    """The rows of `population` that are not among `others`."""
    known = {row.tobytes() for row in others}
    rows: Population = population[np.array([row.tobytes() not in known for row in population], dtype=bool)]
    return rows


def _from_operator_costs(device: Device, space: SearchSpace) -> KnownLatency:
    costs = device_costs(device)
    if costs is None or (device.batch > 1 and costs.batch != device.batch):
        at_batch = f" at {device.batch} images an inference" if device.batch > 1 else ""
        known = len(device.table.known(space)[0])
        raise ValueError(
            f"nothing is known of the latency of {device.name}{at_batch} in space {space.name}; "
            f"measure networks: {_more_in_search(device, space, max(1, MIN_MEASUREMENTS - known))}"
        )
    predictor = costs.for_space(space)
    networks = f"networks of {' and '.join(costs.spaces)}"
    if costs.spaces == (HAND_MADE,):
        card = device.table.card()
        networks = HAND_MADE if card is None else f"{HAND_MADE} {card.provenance}"
    of_space = "too few" if space.name in costs.spaces else "none"
    here = "" if costs.knows(space) else f", {of_space} of them of {space.name}"
    images = "" if costs.batch == 1 else f", in batches of {costs.batch} images, which is what these latencies are of"
    evidence = (
        f"predicted from what operators cost, learnt from {costs.n:,} {networks}{here}{images}; expected error "
        f"{predictor.expected_error:.0%}{_outside(costs, space)}"
    )
    return KnownLatency(predictor, evidence)


def _outside(costs: DeviceCosts, space: SearchSpace) -> str:
    """A warning where networks of `space` are smaller or larger than all that the costs were learnt from."""
    if costs.macs is None:
        return ""
    low, high = (int(macs) for macs in space.costs(np.stack([space.min, space.max])).macs)
    first, last = costs.macs
    if low >= first and high <= last:
        return ""
    return (
        f", and more where networks have fewer or more MACs than those: they have {_mega(first)} to {_mega(last)}, "
        f"{space.name} {_mega(low)} to {_mega(high)} M"
    )


def _mega(macs: int) -> str:
    return f"{macs / 1e6:,.0f}" if macs >= 1e7 else f"{macs / 1e6:.1f}"
