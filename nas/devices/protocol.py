"""How a measurement is made, and what its rounds say.

A latency is the lower quartile over interleaved rounds of the median of a few runs; p10 and p90 are taken over
rounds. Disturbances only ever add time: on a quiet machine quartile and median agree, on a shared one the
quartile repeats to about 1 % where the median repeats to 3 % (load 8 on two cores). A reference network is timed
in every round: what moves it is the machine, not the networks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.devices.events import Machine, Report, Start
from nas.devices.throttling import describe_change, describe_slowdown, find_slowdown

NOISE_LIMIT = 0.15
DRIFT_LIMIT = 0.08
WAIT_LIMIT = 0.05


@dataclass(frozen=True)
class Protocol:
    """The numbers behind a measurement.

    Attributes
    ----------
    rounds : over all networks of a batch, interleaved.
    runs : timed inferences of a network in a round.
    seconds : to spend on one network; slow networks get fewer runs, then fewer rounds (at least 5).
    batch_of_nets : networks interleaved with each other; bounds memory and what a vanished device costs.
    silence_s : a device that reports nothing for so long is given up.
    limit_s : for one batch of networks.
    """

    rounds: int = 25
    runs: int = 8
    seconds: float = 2.0
    batch_of_nets: int = 10
    silence_s: float = 120.0
    limit_s: float = 1800.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise ValueError(f"measuring: {name} must be positive, got {value}")


@dataclass(frozen=True)
class Measurement:
    """Latency of one network.

    Attributes
    ----------
    latency_ms : lower quartile over rounds.
    p10_ms, p90_ms : over rounds.
    runs : timed inferences in all.
    """

    latency_ms: float
    p10_ms: float
    p90_ms: float
    runs: int


@dataclass(frozen=True)
class Rounds:
    """What one process on the device reported.

    Attributes
    ----------
    start : the agent's first event; empty where it did not come.
    ms : ndarray of shape (rounds, networks); the reference is the last column.
    runs : of each network in a round.
    waited : share of the time the process did not compute, by round; with one thread, the load of others.
    load_average : after the last round, None where it was not reached.
    """

    start: Start
    ms: "np.ndarray[tuple[int, int], np.dtype[np.float64]]"
    runs: tuple[int, ...]
    waited: tuple[float, ...]
    load_average: float | None

    @classmethod
    def of(cls, report: Report, models: Sequence[str]) -> "Rounds":
        """The rounds of a report, networks in the order of `models`."""
        rounds = report.rounds
        return cls(
            start=report.start or Start(Machine()),
            ms=np.array([[each.ms[key] for key in models] for each in rounds]).reshape(len(rounds), len(models)),
            runs=tuple(rounds[0].runs[key] for key in models) if rounds else (),
            waited=tuple(each.waited for each in rounds),
            load_average=report.end.load_average if report.end else None,
        )

    def measurements(self) -> list[Measurement]:
        """One for each network, the reference left out."""
        p10, p25, p90 = np.percentile(self.ms, (10, 25, 90), axis=0)
        return [
            Measurement(float(p25[i]), float(p10[i]), float(p90[i]), runs * len(self.ms))
            for i, runs in enumerate(self.runs[:-1])
        ]

    @property
    def reference_ms(self) -> float:
        """Latency of the reference."""
        return float(np.percentile(self.ms[:, -1], 25))


@dataclass(frozen=True)
class Measured:
    """What a measurement of model files found.

    Attributes
    ----------
    measurements : one for each file, in order.
    conditions : machine, versions, load, noise, drift, repeatability.
    warnings : sentences for the user; they have been said.
    """

    measurements: list[Measurement]
    conditions: dict[str, Any]
    warnings: list[str]


def conditions(
    batches: Sequence[Rounds], threads: int, before_ms: float | None = None, *, stored: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """Conditions of a measurement made in several batches, from its reference network; and warnings for the user.

    ``noise`` is (p90 - p10) / median of the reference over all rounds; ``drift`` how much slower it ran in the
    last third of the rounds than in the first; ``repeatability`` the coefficient of variation of its latency
    over fresh processes (None for a single one); ``waited`` the share of time spent waiting for the core. With
    `before_ms`, the latency of the same reference in earlier sessions, a clear difference is one of the warnings.
    Of latencies that are ``stored``, ``slowed`` counts the networks, the last ones, that a slowdown concerns.
    """
    reference = np.concatenate([batch.ms[:, -1] for batch in batches])
    third = max(1, len(reference) // 3)
    p10, p25, median, p90 = np.percentile(reference, (10, 25, 50, 90))
    latencies = np.array([batch.reference_ms for batch in batches])
    first, last = batches[0].start.machine.load_average, batches[-1].load_average
    found: dict[str, Any] = {
        "reference_ms": float(p25),
        "noise": float((p90 - p10) / median),
        "drift": float(np.median(reference[-third:]) / np.median(reference[:third]) - 1),
        "repeatability": float(latencies.std(ddof=1) / latencies.mean()) if len(latencies) > 1 else None,
        "waited": float(np.median(np.concatenate([batch.waited for batch in batches]))),
        "load_average": [load for load in (first, last) if load is not None],
    }
    warnings = []
    if found["noise"] > NOISE_LIMIT:
        warnings.append(f"noisy: the same network varied by {found['noise']:.0%} from round to round")
    slowdown = find_slowdown(reference)
    if slowdown is not None and stored:
        first_round = np.cumsum([0, *(len(batch.ms) for batch in batches)])
        batch = int(np.searchsorted(first_round, slowdown.after, side="right")) - 1
        networks = [len(each.runs) - 1 for each in batches]
        found["slowed"] = sum(networks[batch:])
        sentence = describe_slowdown(slowdown._replace(after=sum(networks[:batch])), sum(networks), "network")
        warnings.append(f"{sentence} (nas measure of this device and space, with --again --samples {found['slowed']})")
    elif slowdown is not None:
        warnings.append(describe_slowdown(slowdown, len(reference), "round"))
    elif found["drift"] > DRIFT_LIMIT:
        warnings.append(f"throttling or a growing load: the reference slowed down by {found['drift']:.0%} on the way")
    if threads == 1 and found["waited"] > WAIT_LIMIT:
        warnings.append(f"the core was shared: {found['waited']:.0%} of the time went to other processes")
    if before_ms is not None and (change := describe_change(before_ms, found["reference_ms"])) is not None:
        warnings.append(change)
    return {key: _rounded(value) for key, value in found.items()}, warnings


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
