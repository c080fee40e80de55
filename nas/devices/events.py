"""What a device reports while it measures, checked before it is used. Times are milliseconds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from latency_tables.files import check_value, shown

MAX_WORDS = 200
"""Characters of a description (of a processor, of a system)."""


def _words(value: Any) -> str:
    return "" if value is None else shown(value, MAX_WORDS)


def _number(value: Any) -> float | None:
    """A load average is a help, nothing that a measurement fails for."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e6
    return float(value) if known else None


def _latency(value: float) -> float:
    if not (isfinite(value) and value > 0):
        raise ValueError(f"is {value:g} ms; a latency is above zero")
    return value


Words = Annotated[str, BeforeValidator(_words)]
Load = Annotated[float | None, BeforeValidator(_number)]


@dataclass(frozen=True)
class Machine:
    """What is known of a machine that may change a latency; empty where it is unknown."""

    cpu: Words = ""
    gpu: Words = ""
    board: Words = ""
    maker: Words = ""
    model: Words = ""
    architecture: Words = ""
    cores: Annotated[int | None, Field(ge=0)] = None
    governor: Words = ""
    system: Words = ""
    python: Words = ""
    load_average: Load = None


@dataclass(frozen=True)
class Start:
    """The first event: machine, version of the runtime, cores that it runs on."""

    machine: Machine = Machine()
    runtime_version: Words = ""
    cores: list[int] | None = None


@dataclass(frozen=True)
class Round:
    """One round: latency and number of runs of each network, and the share of the time spent waiting."""

    ms: dict[str, Annotated[float, AfterValidator(_latency)]]
    runs: dict[str, Annotated[int, Field(ge=1)]]
    waited: Annotated[float, Field(ge=0, le=1)] = 0.0


@dataclass(frozen=True)
class End:
    """The last event."""

    load_average: Load = None


KINDS: dict[str, type[Any]] = {"start": Start, "round": Round, "end": End}


@dataclass
class Report:
    """The events of one process on the device.

    Attributes
    ----------
    start, rounds, end : what came; None and empty where it did not.
    """

    start: Start | None = None
    rounds: list[Round] = field(default_factory=list)
    end: End | None = None

    def take(self, event: dict[str, Any], models: Sequence[str], most_rounds: int) -> None:
        """Check an event and keep it; kinds that are not known are passed over.

        Parameters
        ----------
        models : the networks that a round must have timed.
        most_rounds : that were asked for.

        Raises
        ------
        ValueError : it says something that cannot be.
        """
        kind = str(event["event"])
        if kind not in KINDS:
            return
        found = check_value({k: v for k, v in event.items() if k != "event"}, KINDS[kind], "what the device reported")
        match found:
            case Start():
                self.start = found
            case Round():
                if set(found.ms) != set(models) or set(found.runs) != set(models):
                    raise ValueError("the device reported other networks than it was given")
                if len(self.rounds) == most_rounds:
                    raise ValueError(f"the device reported more than the {most_rounds} rounds it was asked for")
                self.rounds.append(found)
            case End():
                self.end = found
