"""The latency on a device as a key of limits, costs and predictors; milliseconds.

In files, what belongs to one of several devices has its name in its column: ``latency_ms@pixel``. No other module
spells or reads such names.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

COLUMN = "latency_ms"
_MARK = "@"


@dataclass(frozen=True)
class Latency:
    """Latency on a device.

    Attributes
    ----------
    device : its name; empty where there is only one.
    """

    device: str = ""

    def column(self, name: str = COLUMN) -> str:
        """How files call `name` of this latency: ``p10_ms`` or ``p10_ms@pixel``."""
        return f"{name}{_MARK}{self.device}" if self.device else name

    @property
    def on_device(self) -> str:
        """`` on pixel``, to be put behind a word; empty where there is only one device."""
        return f" on {self.device}" if self.device else ""


ONLY_DEVICE = Latency()
"""Latency where there is only one device."""

CostKey = str | Latency
"""What a cost is known by: a field of `search_spaces.Costs`, or a latency."""


def latencies_of(columns: Iterable[str], name: str = COLUMN) -> list[Latency]:
    """Whose `name` is among the columns or keys of a file, in their order."""
    split = [column.partition(_MARK) for column in columns]
    return [Latency(device) for own, _, device in split if own == name]


def own_columns(columns: Iterable[str], latency: Latency) -> dict[str, str]:
    """The columns that do not belong to another latency, and what they are called where this one is the only one."""
    split = {column: column.partition(_MARK) for column in columns}
    return {column: own for column, (own, _, device) in split.items() if device in ("", latency.device)}


def by_latency(given: T | Mapping[str, T] | None) -> dict[Latency, T]:
    """What was given for the one device, or for each of several by name, by latency."""
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return {Latency(name): each for name, each in given.items()}
    return {ONLY_DEVICE: given}
