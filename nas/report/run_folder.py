"""What a report shows: the files that a search left in its run folder, each checked as it is read."""

from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd

from latency_tables.files import read_text
from nas.report.words import accuracy_name
from nas.search.finalists.measurements import EVALUATED, LOSS
from nas.search.latency import Latency, latencies_of, own_columns
from nas.search.record import SearchRecord, read_record
from nas.search.result import SearchResult

_ACCURACY = ("predicted_accuracy", "predicted_accuracy_std")
_PREDICTED = ("predicted_latency_ms", "predicted_latency_std_ms")
_MEASURED = ("measured_latency_ms", "measured_p10_ms", "measured_p90_ms")


@dataclass(frozen=True)
class SearchRun:
    """A search's record and tables, as `nas.search.result` wrote them.

    Attributes
    ----------
    record : ``result.json``.
    front, cloud, finalists, convergence : the tables.
    """

    record: SearchRecord
    front: pd.DataFrame
    cloud: pd.DataFrame
    finalists: pd.DataFrame
    convergence: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> "SearchRun":
        """Read a run folder.

        Raises
        ------
        ValueError : it is not the folder of a finished search, or a file in it is damaged.
        """
        record = read_record(folder)
        files = SearchResult.FILES
        predicted: list[str] = [*_ACCURACY]
        measured: list[str] = [EVALUATED]
        costs = []
        for latency in latencies_of(record["predicted"]):
            if record["predicted"][latency.column()] is not None:
                predicted += map(latency.column, _PREDICTED)
                costs.append(latency.column("predicted_latency_ms"))
            elif latency.device:
                raise ValueError(f"{folder}: no latency is predicted{latency.on_device}")
            measured += map(latency.column, _MEASURED)
        cloud = _table(folder / files["cloud"], ["predicted_accuracy", *(costs or ["macs"])])
        front = _table(folder / files["front"], [*predicted, "macs"])
        finalists = _table(
            folder / files["finalists"],
            ["round", "sessions", *predicted],
            text=["architecture"],
            numbers_or_nothing=measured,
            optional=[LOSS],
        )
        convergence = _table(
            folder / files["convergence"],
            ["candidates"],
            numbers_or_nothing=["predicted_accuracy"],
            earlier={"evaluations": "candidates"},
        )
        return cls(record, front, cloud, finalists, convergence)

    @property
    def objective(self) -> str:
        """What networks were judged by: ``accuracy`` or ``balanced_accuracy``."""
        return self.record.get("objective", "accuracy")

    @property
    def accuracy_name(self) -> str:
        """The same in words."""
        return accuracy_name(self.record)

    @property
    def devices(self) -> list[str]:
        """Names of the devices that share the network; one empty name where it is for one device, or for none."""
        return [latency.device for latency in latencies_of(self.record["predicted"])]

    def on(self, device: str) -> "SearchRun":
        """The same run as `device` sees it, as if the network were for it alone."""
        if not device:
            return self

        def view(table: pd.DataFrame) -> pd.DataFrame:
            names = own_columns(map(str, table), Latency(device))
            return table[list(names)].rename(columns=names)

        def own(figures: dict[str, float | None]) -> dict[str, float | None]:
            return {name: figures[column] for column, name in own_columns(figures, Latency(device)).items()}

        record = self.record.copy()
        record["device"] = device
        record["predicted"], record["measured"] = own(record["predicted"]), own(record["measured"])
        record["budgets"] = [budget for budget in record["budgets"] if budget["device"] in ("", device)]
        front = view(self.front).sort_values("predicted_latency_ms", kind="stable")
        # What is best on all devices together need not be on this one.
        front = front[front["predicted_accuracy"] > front["predicted_accuracy"].cummax().shift(fill_value=-1.0)]
        return SearchRun(record, front, view(self.cloud), view(self.finalists), self.convergence)

    @property
    def views(self) -> "list[SearchRun]":
        """The run as each device sees it."""
        return [self.on(device) for device in self.devices]

    @property
    def cost(self) -> str:
        """The column that accuracy is traded against: ``predicted_latency_ms``, or ``macs`` without a device."""
        return "predicted_latency_ms" if self.has_latency else "macs"

    @property
    def has_latency(self) -> bool:
        """A device was involved."""
        return self.record["predicted"].get("latency_ms") is not None

    def limit(self, key: str) -> float | None:
        """The budget's limit on a metric."""
        return next((float(b["limit"]) for b in self.record["budgets"] if b["key"] == key), None)


def _table(
    path: Path,
    numbers: list[str],
    *,
    text: list[str] | None = None,
    numbers_or_nothing: list[str] | None = None,
    optional: list[str] | None = None,
    earlier: dict[str, str] | None = None,
) -> pd.DataFrame:
    """A CSV file with at least these columns; `numbers` are finite, `numbers_or_nothing` may be empty.

    `optional` ones may be empty too, and where one is missing it is empty: earlier searches did not write it. What
    those named otherwise gets today's name, by `earlier`.

    Raises
    ------
    ValueError : it is not there, no table, lacks a column, or a value is of another kind.
    """
    content = read_text(path)
    try:
        table = pd.read_csv(StringIO(content))
    except ValueError as error:  # pandas' parser errors are ValueErrors
        raise ValueError(f"{path} is not a table: {' '.join(str(error).split())}") from error
    table = table.rename(columns={old: new for old, new in (earlier or {}).items() if new not in table})
    for name in optional or []:
        if name not in table:
            table[name] = np.nan
    gaps = [*(numbers_or_nothing or []), *(optional or [])]
    needed = [*numbers, *gaps, *(text or [])]
    if missing := [name for name in needed if name not in table]:
        raise ValueError(f"{path} has no column {missing[0]}")
    for name in numbers + gaps:
        try:
            values = table[name].to_numpy(dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} has a value that is no number in column {name}") from error
        if not np.isfinite(values[~np.isnan(values)]).all() or (name in numbers and np.isnan(values).any()):
            raise ValueError(f"{path} has a value that is no finite number in column {name}")
        table[name] = values
    for name in text or []:
        if table[name].isna().any():
            raise ValueError(f"{path} has an empty cell in column {name}")
        table[name] = table[name].astype(str)
    return table
