"""What a report shows: the files that a search left in its run folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

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
