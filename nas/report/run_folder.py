"""What a report shows: the files that a search left in its run folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nas.search.latency import Latency, latencies_of, own_columns
from nas.search.result import SearchResult


@dataclass(frozen=True)
class SearchRun:
    """A search's record and tables, as `nas.search.result` wrote them.

    Attributes
    ----------
    record : ``result.json``.
    front, cloud, finalists, convergence : the tables.
    """

    record: dict[str, Any]
    front: pd.DataFrame
    cloud: pd.DataFrame
    finalists: pd.DataFrame
    convergence: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> "SearchRun":
        """Read a run folder.

        Raises
        ------
        ValueError : it is not the folder of a finished search.
        """
        try:
            record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
            tables = {name: pd.read_csv(folder / file) for name, file in SearchResult.FILES.items()}
        except (OSError, ValueError) as error:
            raise ValueError(f"{folder} is not the folder of a finished search: {error}") from error
        return cls(record, **tables)

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

        record = dict(self.record) | {"device": device}
        for kind in ("predicted", "measured"):
            names = own_columns(self.record[kind], Latency(device))
            record[kind] = {own: self.record[kind][name] for name, own in names.items()}
        record["budgets"] = [budget for budget in self.record["budgets"] if budget["device"] in ("", device)]
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
        return str(self.cloud.columns[1])

    @property
    def has_latency(self) -> bool:
        """A device was involved."""
        return self.cost != "macs"

    def limit(self, key: str) -> float | None:
        """The budget's limit on a metric."""
        return next((float(b["limit"]) for b in self.record["budgets"] if b["key"] == key), None)
