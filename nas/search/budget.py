"""Budgets: what a network may cost, as typed (``20ms``, ``512KB``, ``10M``, ``60%``), and how far one is off.

Units: latency in milliseconds, memory in bytes, counts as plain numbers. ``KB`` and ``MB`` are decimal
(1,000 and 1,000,000 bytes), ``KiB`` and ``MiB`` are binary (1,024 and 1,048,576). A percentage is of what
the space's max net costs. Where several devices share a network, each has a latency limit of its own.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.search.latency import COLUMN, CostKey, Latency

_TIME = {"us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1e3}  # both the micro sign and the Greek letter
_BYTES = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 1024.0, "mib": 1024.0**2, "gib": 1024.0**3}
_COUNT = {"k": 1e3, "m": 1e6, "g": 1e9}
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*(\D*)", re.IGNORECASE)


@dataclass(frozen=True)
class Metric:
    """Something a budget may limit.

    Attributes
    ----------
    flag : the word on the command line, e.g. ``memory``.
    key : its column among costs, e.g. ``peak_activation_bytes``; the unit is in the name.
    title : how reports call it.
    units : accepted units (lower case) and what one is worth in `key`'s unit.
    suggestion : the unit that a bare number most likely meant.
    steps : units to show amounts in: unit, what one is worth, least amount to show in it; largest first.
    """

    flag: str
    key: str
    title: str
    units: Mapping[str, float]
    suggestion: str
    steps: tuple[tuple[str, float, float], ...]

    def format(self, value: float, *, round_up: bool = False) -> str:
        """`value` with a unit, to three significant digits; rounded up where it shall do as a limit."""
        unit, worth, _ = next(step for step in self.steps if value >= step[2])
        whole: Callable[[float], int] = _round_up if round_up else round
        return f"{_digits(value / worth, whole)} {unit}"


_SHOW_TIME = (("ms", 1.0, 0.1), ("us", 1e-3, 0.0))
_SHOW_BYTES = (("GB", 1e9, 1e9), ("MB", 1e6, 1e6), ("KB", 1e3, 1e3), ("B", 1.0, 0.0))
_SHOW_COUNT = (("G", 1e9, 1e9), ("M", 1e6, 1e6), ("K", 1e3, 0.0))

METRICS = (
    Metric("latency", COLUMN, "latency", _TIME, "ms", _SHOW_TIME),
    Metric("memory", "peak_activation_bytes", "peak activation memory", _BYTES, "KB", _SHOW_BYTES),
    Metric("size", "weight_bytes", "weight size", _BYTES, "KB", _SHOW_BYTES),
    Metric("macs", "macs", "MACs", _COUNT, "M", _SHOW_COUNT),
    Metric("params", "params", "parameters", _COUNT, "M", _SHOW_COUNT),
)
_BY_FLAG = {metric.flag: metric for metric in METRICS}
METRIC_OF = {metric.key: metric for metric in METRICS}


@dataclass(frozen=True)
class Throughput:
    """A limit on latency that was typed in images a second.

    Attributes
    ----------
    typed : ``500img/s``, or ``150%`` of the max net's.
    batch : images an inference takes.
    """

    typed: str
    batch: int

    def format(self, latency_ms: float, *, round_down: bool = False) -> str:
        """Images a second at a latency, to three significant digits; rounded down where they shall do as a limit."""
        whole: Callable[[float], int] = _round_down if round_down else round
        return f"{_digits(1e3 * self.batch / latency_ms, whole)} img/s"


@dataclass(frozen=True)
class Limit:
    """One constraint: `metric` at most `value`; `value` is a fraction of the max net's until resolved.

    Attributes
    ----------
    metric : what is limited.
    value : the limit in the unit of ``metric.key``, or a fraction of the max net's when `relative`.
    typed : as the user wrote it.
    relative : `value` is a fraction.
    device : whose limit it is, where there are several.
    throughput : what the user wrote in place of a latency, which `typed` then means.
    """

    metric: Metric
    value: float
    typed: str
    relative: bool = False
    device: str = ""
    throughput: Throughput | None = None

    @property
    def key(self) -> CostKey:
        """What its cost is known by."""
        return Latency(self.device) if self.metric.flag == "latency" else self.metric.key

    @property
    def latency(self) -> Latency | None:
        """The latency that is limited; None where something else is."""
        return Latency(self.device) if self.metric.flag == "latency" else None

    @property
    def column(self) -> str:
        """How files call what is limited."""
        return self.metric.key if self.latency is None else self.latency.column()

    @property
    def title(self) -> str:
        """How reports call what is limited."""
        return self.metric.title if self.latency is None else self.metric.title + self.latency.on_device

    @classmethod
    def parse(cls, flag: str, typed: str | float, device: str = "") -> "Limit":
        """Read what was typed behind ``--<flag>``.

        Raises
        ------
        ValueError : unknown flag, no unit, an unknown unit, or a number that is not positive and finite.
        """
        if flag not in _BY_FLAG:
            raise ValueError(f"unknown budget {flag!r}; known: {', '.join(_BY_FLAG)}")
        metric, text = _BY_FLAG[flag], str(typed).strip()
        units = ", ".join(unit for unit in _SHOWN[metric.suggestion])
        match = _NUMBER.fullmatch(text)
        if match is None:
            raise ValueError(
                f"--{flag} {text!r} is not a budget; type a number and a unit ({units} or %), "
                f"like 20{metric.suggestion} or 60%"
            )
        number, unit = float(match[1]), match[2].strip().lower()
        if not unit:
            raise ValueError(
                f"--{flag} {text!r} has no unit; type {text}{metric.suggestion} (units: {units}, or % of the max net)"
            )
        if unit != "%" and unit not in metric.units:
            raise ValueError(f"--{flag} {text!r} has an unknown unit; known: {units}, or % of the max net")
        value = number * (0.01 if unit == "%" else metric.units[unit])
        if not LEAST <= value <= MOST:
            raise ValueError(
                f"--{flag} {text!r} must be positive and of a usual size; type one like 20{metric.suggestion}"
            )
        if unit == "%" and number > 100:
            raise ValueError(f"--{flag} {text!r} is more than the max net needs; type a percentage up to 100%")
        return cls(metric, value, text, unit == "%", device)

    @property
    def asked(self) -> str:
        """As it is typed with its flag."""
        if self.throughput is None:
            return f"--{self.metric.flag} {self.typed}"
        return f"--throughput {self.throughput.typed} at batch {self.throughput.batch}"

    def shown(self, value: float, *, round_up: bool = False) -> str:
        """`value` with its unit, and as a throughput where one was typed: ``64 ms (500 img/s)``."""
        amount = self.metric.format(value, round_up=round_up)
        return amount if self.throughput is None else f"{amount} ({self.throughput.format(value, round_down=round_up)})"

    def as_limit(self, value: float) -> str:
        """What to type so that `value` is just allowed, in the unit that was typed."""
        if self.throughput is None:
            return self.metric.format(value, round_up=True)
        return self.throughput.format(value, round_down=True)

    def over(self, cost: Any) -> Any:
        """How far a cost, or an array of them, is over the limit, in units of the limit: > 0 means violated."""
        over = (np.asarray(cost) - self.value) / self.value
        return np.where(np.abs(over) <= ROUNDING, 0.0, over)

    def __str__(self) -> str:
        if self.throughput is not None:
            title = self.title.replace("latency", "throughput", 1)
            return f"{title} at least " + (
                f"{self.throughput.typed} of the max net's" if self.relative else self.throughput.format(self.value)
            )
        if self.relative:
            return f"{self.title} at most {self.typed} of the max net"
        return f"{self.title} at most {self.metric.format(self.value)}"


ROUNDING = 1e-12
"""Of a limit, in units of it: it may be a network's own cost, gone through a division and back."""
LEAST, MOST = 1e-12, 1e18
"""Of an amount in its unit (ms, bytes, pieces); what is beyond is a slip, and its ratios overflow."""
_SHOWN = {"ms": ("us", "ms", "s"), "KB": ("B", "KB", "MB", "KiB", "MiB"), "M": ("K", "M", "G")}


@dataclass(frozen=True)
class Budget:
    """Limits that hold together; an empty budget limits nothing."""

    limits: tuple[Limit, ...] = ()

    @classmethod
    def parse(cls, **typed: str | float | Mapping[str, str | None] | None) -> "Budget":
        """Read several limits by flag, e.g. ``Budget.parse(latency="20ms", memory="512KB")``; None is no limit.

        A limit for each of several devices is a mapping: ``latency={"pixel": "20ms", "note10": "15ms"}``.

        Raises
        ------
        ValueError : see `Limit.parse`.
        """
        limits = []
        for flag, text in typed.items():
            if isinstance(text, Mapping):
                limits += [Limit.parse(flag, each, device) for device, each in text.items() if each is not None]
            elif text is not None:
                limits.append(Limit.parse(flag, text))
        return cls(tuple(limits))

    def __str__(self) -> str:
        return " and ".join(map(str, self.limits)) or "no limit"

    def __getitem__(self, key: CostKey) -> Limit:
        return next(limit for limit in self.limits if limit.key == key)

    def __contains__(self, key: object) -> bool:
        return any(limit.key == key for limit in self.limits)

    def without(self, *keys: CostKey) -> "Budget":
        """The budget less its limits on `keys`, if it has them."""
        return Budget(tuple(limit for limit in self.limits if limit.key not in keys))

    @property
    def on_paper(self) -> "Budget":
        """The limits that need no device: all but those on latency."""
        return Budget(tuple(limit for limit in self.limits if limit.latency is None))

    @property
    def latencies(self) -> list[Latency]:
        """The latencies that are limited."""
        return [limit.latency for limit in self.limits if limit.latency is not None]

    def replaced(self, other: "Budget") -> "Budget":
        """The budget with its limits replaced by those that `other` has on the same costs."""
        theirs = {limit.key: limit for limit in other.limits}
        return Budget(tuple(theirs.get(limit.key, limit) for limit in self.limits))

    def moved(self, values: Mapping[Latency, float]) -> "Budget":
        """The budget with its limits on the latencies of `values` moved there."""
        return Budget(
            tuple(
                replace(limit, value=limit.value if limit.latency is None else values.get(limit.latency, limit.value))
                for limit in self.limits
            )
        )

    @property
    def is_relative(self) -> bool:
        """Some limit is still a percentage of the max net."""
        return any(limit.relative for limit in self.limits)

    def resolve(self, max_net: Mapping[CostKey, float]) -> "Budget":
        """The budget with percentages turned into amounts.

        Parameters
        ----------
        max_net : what the max net costs, by the limits' keys.
        """
        return Budget(
            tuple(
                replace(limit, value=limit.value * float(max_net[limit.key]), relative=False)
                if limit.relative
                else limit
                for limit in self.limits
            )
        )

    def violations(self, costs: Mapping[CostKey, NDArray[np.float64]]) -> NDArray[np.float64]:
        """How far each network is over each limit, in units of the limit: > 0 means violated.

        Parameters
        ----------
        costs : array of shape (n,) for each limit's key.

        Returns
        -------
        ndarray of shape (n, n_limits) : ``(cost - limit) / limit``.

        Raises
        ------
        ValueError : a limit is still a percentage.
        """
        if self.is_relative:
            raise ValueError(f"{self} must be resolved against the max net before it can be judged")
        n = len(next(iter(costs.values()))) if costs else 0
        out = np.empty((n, len(self.limits)))
        for column, limit in enumerate(self.limits):
            out[:, column] = limit.over(costs[limit.key])
        return out

    def judged(
        self,
        predicted: Mapping[str, float | None],
        measured: Mapping[str, float | None],
        costs: Mapping[str, int],
        *,
        missed: bool = False,
    ) -> list[dict[str, Any]]:
        """A record for each limit of what one network costs: measured where it was, else predicted or on paper.

        Parameters
        ----------
        predicted, measured : latencies by their columns in files, None where unknown.
        costs : on paper, by metric key.
        missed : no network kept the limits for sure, whatever this one took.
        """
        records = []
        for limit in self.limits:
            value, source = float(costs.get(limit.metric.key, 0)), "paper"
            if limit.latency is not None:
                known = measured[limit.column]
                value, source = known or predicted[limit.column] or 0.0, "predicted" if known is None else "measured"
            records.append(
                {
                    "flag": limit.metric.flag,
                    "device": limit.device,
                    "key": limit.metric.key,
                    "typed": limit.typed,
                    "limit": limit.value,
                    "value": value,
                    "source": source,
                    "met": bool(limit.over(value) <= 0) and not (source == "measured" and missed),
                }
                | ({} if limit.throughput is None else {"throughput": limit.throughput.typed})
            )
        return records


def _round_up(number: float) -> int:
    """The next integer; 162.00000000000003 is 162, and differs in its last binary digit."""
    return math.ceil(number * (1 - 1e-12))


def _round_down(number: float) -> int:
    """The integer before, with room for a throughput that becomes a latency of six digits."""
    return math.floor(number * (1 - 1e-5))


def _digits(value: float, whole: Callable[[float], int]) -> str:
    """Three significant digits without an exponent; `whole` makes an integer of them."""
    if value <= 0:
        return "0"
    exponent = math.floor(math.log10(value)) - 2
    text = f"{whole(value / 10.0**exponent) * 10.0**exponent:.{max(0, -exponent)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
