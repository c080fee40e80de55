"""Latency in a space in which a device was never measured, from what operators cost it.

A network's latency is taken as a sum over its operators: launches, MACs, elements moved and weights of each class
of layers (`predictors.operators`), each with a price that is not negative, and an overhead for the inference where
one is known. A fleet measured on several spaces prices them for each of its devices; a new device is a mixture of the
fleet's, found from the few networks that were measured on it in whatever space; published networks price a device by
themselves (`predictors.latency.published`). Non-negative least squares throughout, on relative errors. Latencies are
milliseconds; standard deviations are honest about crossing spaces, which costs far more than noise.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NotRequired

import numpy as np
from annotated_types import Ge, Len
from numpy.typing import NDArray
from typing_extensions import TypedDict

from latency_tables.files import read_json, shown, write_text
from predictors.latency.mixture import mixture, not_negative
from predictors.latency.width import calibrated, relative_errors
from predictors.operators import CLASSES, QUANTITIES, WIDTH, OperatorTotals
from search_spaces import SearchSpace

Floats = NDArray[np.float64]
NotNegative = Annotated[float, Ge(0)]

UNITS = {"launches": 1.0, "macs": 1e6, "elements": 1e6, "weights": 1e6}
"""A price is milliseconds for so many: one launch, a million MACs, elements or weights."""
LEAST_ERROR = 0.03  # no prediction from operators alone is more certain than this
MIN_FOR_ERROR = 3  # networks whose error can be told from leaving them out
MEAN_DISTANCE = float(np.sqrt(2 / np.pi))  # of a normal distribution, in standard deviations

TYPICAL_DISTANCE = 0.6
"""Mean error across spaces that three of five devices stay below, in standard deviations: these are wide for the sake
of a few."""


class Part(NamedTuple):
    """Networks of one space measured on a device: genotypes (n, n_genes) and milliseconds (n,)."""

    space: SearchSpace
    population: NDArray[Any]
    latency_ms: Floats

    @property
    def name(self) -> str:
        """Of the space."""
        return self.space.name

    @property
    def totals(self) -> NDArray[Any]:
        """Of working layers, shape (n, WIDTH)."""
        return OperatorTotals(self.space)(self.population)[:, 2 * WIDTH :]


class Networks(NamedTuple):
    """Networks of no space: totals (n, WIDTH) in the order of `predictors.operators`, and milliseconds (n,)."""

    name: str
    totals: NDArray[Any]
    latency_ms: Floats


@dataclass(frozen=True)
class DeviceCosts:
    """What operators cost one device.

    Attributes
    ----------
    prices : milliseconds a unit, shape ``(WIDTH,)``, in the order of `predictors.operators`.
    error : standard deviation of a measurement from its prediction, as a fraction of that, in the spaces of `spaces`.
    error_elsewhere : in any other space, and in those of `few`.
    spaces : names of the spaces it was learnt from.
    n : networks it was learnt from.
    batch : images of an inference in these measurements; a price is per image's MACs and elements, for the whole batch.
    overhead_ms : of an inference, whatever the network.
    macs : of the smallest and the largest network it was learnt from; None where that is not kept.
    mean_error_elsewhere : mean relative error of networks that were left out as if of another space; None where it is
        not known of this device.
    few : those of `spaces` with too few networks for `error` to be of them.
    """

    prices: Floats
    error: float
    error_elsewhere: float
    spaces: tuple[str, ...]
    n: int
    batch: int = 1
    overhead_ms: float = 0.0
    macs: tuple[int, int] | None = None
    mean_error_elsewhere: float | None = None
    few: tuple[str, ...] = ()

    def knows(self, space: SearchSpace) -> bool:
        """Whether `error` is of networks of `space`."""
        return space.name in self.spaces and space.name not in self.few

    @property
    def expected_error(self) -> float:
        """Mean error to expect of a network of `spaces`, as a fraction of its latency."""
        return MEAN_DISTANCE * self.error

    @property
    def expected_error_elsewhere(self) -> float:
        """The same in any other space."""
        known = self.mean_error_elsewhere
        return TYPICAL_DISTANCE * self.error_elsewhere if known is None else known

    @property
    def single_prices(self) -> Floats:
        """Milliseconds for one launch, MAC, element or weight, and for an inference, shape ``(WIDTH + 1,)``."""
        return np.append(self.prices / _units(), self.overhead_ms)

    def for_space(self, space: SearchSpace) -> "SpaceLatency":
        """A latency predictor for `space`."""
        return SpaceLatency(self, space)


class SpaceLatency:
    """Predicts latencies of one space on one device from operator costs.

    Parameters
    ----------
    costs : of the device.
    space : of the populations.
    """

    def __init__(self, costs: DeviceCosts, space: SearchSpace) -> None:
        self.costs = costs
        self.space = space
        known = costs.knows(space)
        self.relative_std = costs.error if known else costs.error_elsewhere
        self.expected_error = costs.expected_error if known else costs.expected_error_elsewhere
        self._totals = OperatorTotals(space)

    @property
    def batch(self) -> int:
        """Images of the inferences whose latency it predicts."""
        return self.costs.batch

    def predict(self, population: NDArray[Any], return_std: bool = False) -> Any:
        """Milliseconds, shape ``(n,)``; with `return_std` also the standard deviation."""
        totals = self._totals(population)[:, 2 * WIDTH :]
        latency = scaled(totals) @ self.costs.prices + self.costs.overhead_ms
        return (latency, self.relative_std * latency) if return_std else latency


class _DevicePrices(TypedDict):
    prices_ms: Annotated[list[NotNegative], Len(WIDTH, WIDTH)]
    error: NotNegative
    spaces: list[str]
    networks: Annotated[int, Ge(0)]
    batch: NotRequired[Annotated[int, Ge(1)]]
    overhead_ms: NotRequired[NotNegative]
    error_elsewhere: NotRequired[NotNegative]
    mean_error_elsewhere: NotRequired[NotNegative]
    macs: NotRequired[Annotated[list[Annotated[int, Ge(0)]], Len(2, 2)] | None]
    few: NotRequired[list[str]]


class _Prices(TypedDict):
    """What `OperatorCosts.save` writes."""

    quantities: list[str]
    classes: list[str]
    units: dict[str, float]
    across: NotNegative
    devices: dict[str, _DevicePrices]


class OperatorCosts:
    """Operator prices of a fleet, and of devices that resemble it.

    Attributes
    ----------
    devices_ : the fleet: costs of each device by name.
    across_ : relative standard deviation of a device that was left out, in a space it was not measured in; see
        `calibrated`.
    """

    devices_: dict[str, DeviceCosts]
    across_: float

    def fit(
        self, fleet: Mapping[str, Sequence[Part | Networks]], n_across: int = 10, simulated: Collection[str] = ()
    ) -> "OperatorCosts":
        """Learn the prices of every device of `fleet`.

        Parameters
        ----------
        fleet : what was measured on each device; devices measured on two spaces or more also tell `across_`.
        n_across : networks of one space that a left-out device is adapted to, to be judged in the others.
        simulated : devices that are simulators. They err several times as much as devices do, so they have a width of
            their own and none in `across_`.

        Raises
        ------
        ValueError : no devices, or a device without measurements.
        """
        if not fleet or not all(sum(len(part.latency_ms) for part in parts) for parts in fleet.values()):
            raise ValueError("operator costs are learnt from at least one device with at least one measured network")
        features = {name: [_features(part) for part in parts] for name, parts in fleet.items()}
        prices = {}
        for name, parts in fleet.items():
            latency = np.concatenate([part.latency_ms for part in parts])
            prices[name] = not_negative(np.concatenate(features[name]) / latency[:, None], np.ones(len(latency)))
        errors: dict[bool, list[Floats]] = {False: [], True: []}  # of devices and of simulators
        for name, parts in fleet.items():
            others = np.stack([prices[other] for other in fleet if other != name] or [prices[name]], axis=1)
            for here, part in enumerate(parts):
                rows = slice(0, n_across)
                mixed = others @ mixture(features[name][here][rows] @ others, part.latency_ms[rows])
                elsewhere = [i for i in range(len(parts)) if i != here]
                errors[name in simulated] += [
                    relative_errors(features[name][i] @ mixed, parts[i].latency_ms) for i in elsewhere
                ]
        self.across_ = calibrated(errors[False]) if errors[False] else 0.25
        of_simulators = calibrated(errors[True]) if errors[True] else self.across_
        self.devices_ = {}
        for name, parts in fleet.items():
            fitted = [
                relative_errors(f @ prices[name], p.latency_ms) for f, p in zip(features[name], parts, strict=True)
            ]
            self.devices_[name] = DeviceCosts(
                prices[name],
                max(LEAST_ERROR, calibrated(fitted)),
                max(LEAST_ERROR, of_simulators if name in simulated else self.across_),
                tuple(part.name for part in parts),
                sum(len(part.latency_ms) for part in parts),
            )
        return self

    def adapt(self, measured: Iterable[Part | Networks]) -> DeviceCosts:
        """The costs of a device on which a few networks were measured, in one space or several, or in none.

        Raises
        ------
        ValueError : nothing was measured.
        """
        parts = list(measured)
        latency = np.concatenate([part.latency_ms for part in parts]) if parts else np.empty(0)
        if not len(latency):
            raise ValueError("a device is learnt from at least one measured network")
        fleet = np.stack([costs.prices for costs in self.devices_.values()], axis=1)
        overheads = np.array([costs.overhead_ms for costs in self.devices_.values()])
        predicted = np.concatenate([_features(part) for part in parts]) @ fleet + overheads  # (n, devices)
        shares = mixture(predicted, latency)
        error = self.across_
        if len(latency) >= MIN_FOR_ERROR:
            left_out = [
                predicted[i] @ mixture(np.delete(predicted, i, axis=0), np.delete(latency, i))
                for i in range(len(latency))
            ]
            error = max(LEAST_ERROR, calibrated([relative_errors(np.array(left_out), latency)]))
        counts: Counter[str] = Counter()
        for part in parts:
            counts[part.name] += len(part.latency_ms)
        return DeviceCosts(
            fleet @ shares,
            error,
            max(error, self.across_),
            tuple(counts),
            len(latency),
            overhead_ms=float(overheads @ shares),
            few=tuple(name for name, n in counts.items() if n < MIN_FOR_ERROR),
        )

    def save(self, path: Path) -> None:
        """Write the fleet's prices as JSON."""
        record = {
            "quantities": list(QUANTITIES),
            "classes": list(CLASSES),
            "units": UNITS,
            "across": round(self.across_, 4),
            "devices": {
                name: {
                    "prices_ms": [float(f"{price:.6g}") for price in costs.prices],
                    "error": round(costs.error, 4),
                    "spaces": list(costs.spaces),
                    "networks": costs.n,
                }
                | self._own_record(costs)
                for name, costs in self.devices_.items()
            },
        }
        write_text(path, json.dumps(record, indent=1) + "\n")

    def _own_record(self, costs: DeviceCosts) -> dict[str, Any]:
        """What differs from the other devices of the fleet."""
        found: dict[str, Any] = {}
        if costs.batch != 1:
            found["batch"] = costs.batch
        if costs.overhead_ms:
            found["overhead_ms"] = float(f"{costs.overhead_ms:.6g}")
        if costs.error_elsewhere != max(LEAST_ERROR, self.across_):
            found["error_elsewhere"] = round(costs.error_elsewhere, 4)
        if costs.mean_error_elsewhere is not None:
            found["mean_error_elsewhere"] = round(costs.mean_error_elsewhere, 4)
        if costs.macs is not None:
            found["macs"] = list(costs.macs)
        if costs.few:
            found["few"] = list(costs.few)
        return found

    @classmethod
    def load(cls, path: Path) -> "OperatorCosts":
        """Read what `save` wrote.

        Raises
        ------
        ValueError : no such file, a damaged one, or one with other operator classes than now.
        """
        record = read_json(Path(path), _Prices)
        if (record["quantities"], record["classes"]) != (list(QUANTITIES), list(CLASSES)):
            raise ValueError(f"{path} was made with other operator classes; fit it again")
        made = cls()
        made.across_ = record["across"]
        made.devices_ = {
            name: DeviceCosts(
                np.array(device["prices_ms"], dtype=np.float64),
                device["error"],
                device.get("error_elsewhere", max(LEAST_ERROR, made.across_)),
                tuple(device["spaces"]),
                device["networks"],
                device.get("batch", 1),
                device.get("overhead_ms", 0.0),
                (macs[0], macs[1]) if (macs := device.get("macs")) else None,
                device.get("mean_error_elsewhere"),
                tuple(device.get("few", ())),
            )
            for name, device in record["devices"].items()
        }
        return made

    def of(self, name: str) -> DeviceCosts:
        """The costs of one device of the fleet.

        Raises
        ------
        ValueError : it has no such device.
        """
        if name not in self.devices_:
            raise ValueError(f"there are no operator costs of {shown(name)}; known: {shown(', '.join(self.devices_))}")
        return self.devices_[name]


def _features(part: Part | Networks) -> Floats:
    return scaled(part.totals)


def scaled(totals: NDArray[Any]) -> Floats:
    """Totals ``(n, WIDTH)`` in the units of the prices."""
    result: Floats = np.asarray(totals, dtype=np.float64) / _units()
    return result


def _units() -> Floats:
    return np.repeat([UNITS[quantity] for quantity in QUANTITIES], len(CLASSES))
