"""What is stored of a device: everything measured on it, as a latency table with its conditions. Milliseconds."""

import datetime
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import latency_tables
from latency_tables.card import Card
from latency_tables.table import COLUMNS, KEY, LatencyTable, read_table, write_table
from nas.devices.protocol import Protocol, Rounds
from nas.devices.spec import DeviceSpec
from search_spaces import Population, SearchSpace

DEVICES_FOLDER = Path("runs/devices")
SHIPPED_TABLES = Path(latency_tables.__file__).parent
SESSIONS_KEPT = 20
"""Sessions whose conditions the card keeps: the latest ones."""
CONFIRMED = "measured twice"
"""What the column ``source`` says of a surprising latency that was measured again and was the same."""
MACHINE_FACTS = ("gpu", "cpu", "cores", "governor", "system", "python")


class DeviceTable:
    """The latency table of one device.

    Parameters
    ----------
    spec : the device's card.
    folder : where its table lies; None stands for ``runs/devices/<name>``.
    """

    def __init__(self, spec: DeviceSpec, folder: Path | None = None) -> None:
        self.spec = spec
        self.folder = DEVICES_FOLDER / spec.name if folder is None else folder

    @property
    def path(self) -> Path:
        """CSV file of everything measured on the device."""
        return self.folder / f"{self.spec.name}.csv"

    def profile_path(self, space: SearchSpace) -> Path:
        """Where `nas fit` keeps the latency predictor of the device for `space`."""
        return self.folder / f"{self.spec.name}.{space.name}.profile.json"

    def measured(self) -> LatencyTable | None:
        """Everything measured on the device so far; None if nothing was."""
        return _read(self.path)

    def read(self) -> LatencyTable | None:
        """Everything measured on the device so far, else the published figures of it, None where there is neither."""
        return self.measured() or _read(SHIPPED_TABLES / f"{self.spec.name}.csv")

    def known(self, space: SearchSpace, *, batch: int = 1) -> tuple[Population, NDArray[np.float64]]:
        """The networks of `space` in the table: genotypes (n, n_genes) and latencies (n,) in milliseconds.

        Networks that `space` with its options cannot hold (another resolution, say) are left out.
        """
        table = self.read()
        rows, latencies = [], []
        if table is not None:
            known = table.select(space.name, batch=batch, precision=self.spec.precision)
            for name, latency_ms in zip(known["architecture"], known["latency_ms"], strict=True):
                with suppress(ValueError):
                    rows.append(space.parse(name))
                    latencies.append(latency_ms)
        population = np.array(rows, dtype=np.int16).reshape(len(rows), len(space.genes))
        return population, np.array(latencies, dtype=np.float64)

    def confirm(self, space: SearchSpace, architectures: Sequence[str]) -> None:
        """Mark networks of `space` whose latency was measured twice and was the same."""
        table = self.measured()
        if table is None or not architectures:
            return
        rows = (table.rows["space"] == space.name) & table.rows["architecture"].isin(architectures)
        table.rows.loc[rows, "source"] = CONFIRMED
        write_table(self.path, table)

    def confirmed(self, space: SearchSpace, population: NDArray[Any]) -> NDArray[np.bool_]:
        """Which of `population` are so marked, shape ``(n,)``."""
        table = self.read()
        if table is None or not len(population):
            return np.zeros(len(population), dtype=bool)
        rows = table.select(space.name, batch=1, precision=self.spec.precision)
        marked = set(rows.loc[rows["source"] == CONFIRMED, "architecture"])
        return np.array([name in marked for name in space.format(population)])

    def check_conditions(self) -> None:
        """Refuse to mix runtimes or numbers of threads in one table.

        Raises
        ------
        ValueError : the table was measured with others than the device's card now says.
        """
        table = self.measured()
        if table is None or not table.card.runtime:
            return
        before, now = (table.card.runtime, table.card.threads), (self.spec.runtime, self.spec.threads)
        if before != now:
            raise ValueError(
                f"{self.path} was measured with {before[0]} on {before[1]} threads, the card of {self.spec.name} now "
                f"says {now[0]} on {now[1]}; move that folder away, or give the card a name of its own"
            )

    def add(
        self,
        space: SearchSpace,
        population: NDArray[Any],
        rounds: Rounds,
        session: Mapping[str, Any],
        protocol: Protocol,
        *,
        batch: int,
        first: bool,
    ) -> LatencyTable:
        """Write what was measured of `population` into the table; return the table as written.

        Networks measured again replace their old rows: two sessions under different load would disagree.

        Parameters
        ----------
        population : genotypes of shape (n, n_genes), in the order of `rounds`.
        session : conditions of this session so far; `first` says whether it begins, or continues the latest one.

        Raises
        ------
        ValueError : the table belongs to another machine.
        """
        table = self.measured()
        machine, today = rounds.start["machine"], datetime.date.today().isoformat()
        processor = machine.get("gpu") or machine["cpu"]
        before = {} if table is None else table.card.conditions
        if (owner := before.get("gpu") or before.get("cpu") or processor) != processor:
            raise ValueError(
                f"{self.path} was measured on {owner}, device {self.spec.name} is now {processor}; "
                "move that folder away, or give this machine a card of its own name"
            )
        sessions = list(before.get("sessions", []))
        sessions = [*(sessions if first else sessions[:-1]), {"date": today, **session}][-SESSIONS_KEPT:]
        card = Card(
            name=self.spec.name,
            aliases=self.spec.aliases,
            chip=self.spec.chip or processor,
            transport=self.spec.transport,
            runtime=self.spec.runtime,
            runtime_version=rounds.start["runtime_version"],
            threads=self.spec.threads,
            precision=self.spec.precision,
            conditions={
                **{key: machine[key] for key in MACHINE_FACTS if machine.get(key)},
                "pinned_to": rounds.start["cores"],
                "protocol": f"lower quartile of {protocol.rounds} interleaved rounds x {protocol.runs} runs",
                "sessions": sessions,
            },
            date=today,
            licence="Apache-2.0",
        )
        rows = self._rows(space, population, rounds, batch)
        if table is not None:
            rows = pd.concat([table.rows, rows], ignore_index=True)
            rows = rows.drop_duplicates(list(KEY), keep="last", ignore_index=True)
        stored = LatencyTable(rows, card)
        write_table(self.path, stored)
        return stored

    def _rows(self, space: SearchSpace, population: NDArray[Any], rounds: Rounds, batch: int) -> pd.DataFrame:
        measured = rounds.measurements()
        names: Sequence[str] = space.format(np.atleast_2d(population))
        rows = pd.DataFrame({"space": space.name, "architecture": names})
        rows["resolution"] = space.resolution(population)
        rows["batch"] = batch
        rows["precision"] = self.spec.precision
        for column in ("latency_ms", "p10_ms", "p90_ms", "runs"):
            rows[column] = [getattr(m, column) for m in measured]
        rows["source"] = "measured"
        rows["reference_ms"] = rounds.reference_ms
        return rows[[*COLUMNS, "reference_ms"]]


def _read(path: Path) -> LatencyTable | None:
    # Without looking at the architectures: they may be of a space with other options than it has by default.
    return read_table(path) if path.exists() else None
