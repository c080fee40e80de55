"""What is stored of a device: everything measured on it, as a latency table with its conditions. Milliseconds."""

import datetime
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from numpy.typing import NDArray

import latency_tables
from latency_tables.card import Card, read_card
from latency_tables.table import COLUMNS, KEY, LatencyTable, card_path, read_rows, write_table
from latency_tables.writable import RUNS_HINT, check_writable
from nas.devices.conditions import conditions_of, conditions_wanted, contradiction, other_machine
from nas.devices.protocol import Protocol, Rounds
from nas.devices.spec import DeviceSpec
from nas.devices.transport import DeviceUnavailable
from nas.errors import Failure
from nas.progress import SILENT, Listener
from search_spaces import Population, SearchSpace

DEVICES_FOLDER = Path("runs/devices")
SHIPPED_TABLES = Path(latency_tables.__file__).parent
SESSIONS_KEPT = 20
"""Sessions whose conditions the card keeps: the latest ones."""
CONFIRMED = "measured twice"
"""What the column ``source`` says of a surprising latency that was measured again and was the same."""
WAIT_S = 3600
"""How long a process waits for another one that measures on the same device."""
MACHINE_FACTS = ("gpu", "board", "cpu", "cores", "governor", "system", "python")


class DeviceTable:
    """The latency table of one device.

    Parameters
    ----------
    spec : the device's card.
    folder : where its table lies; None stands for ``runs/devices/<name>``.
    batch : images an inference takes, of what is asked for; the table holds any.
    """

    def __init__(self, spec: DeviceSpec, folder: Path | None = None, batch: int = 1) -> None:
        self.spec = spec
        self.batch = batch
        self.folder = DEVICES_FOLDER / spec.name if folder is None else folder

    @property
    def path(self) -> Path:
        """CSV file of everything measured on the device."""
        return self.folder / f"{self.spec.name}.csv"

    def profile_path(self, space: SearchSpace) -> Path:
        """Where `nas fit` keeps the latency predictor of the device for `space`."""
        batch = "" if self.batch == 1 else f".batch{self.batch}"
        return self.folder / f"{self.spec.name}.{space.name}{batch}.profile.json"

    def locked(self, listener: Listener = SILENT) -> AbstractContextManager[None]:
        """Be the only one that writes the table; wait for a process that does.

        The process that is the only one may call this again meanwhile.

        Raises
        ------
        Failure : it still does after `WAIT_S`.
        ValueError : nothing can be written there.
        """
        check_writable(self.folder, RUNS_HINT)
        self.folder.mkdir(parents=True, exist_ok=True)
        return self._hold(self.folder / f".{self.spec.name}.lock", listener)

    def alone(self, listener: Listener = SILENT, address: str = "") -> AbstractContextManager[None]:
        """Be the only one that measures on the device's machine, by whichever of its cards; otherwise as `locked`.

        The devices' folders lie side by side. Without a lock where none can be written there.

        Parameters
        ----------
        address : of the machine, where the card has none.
        """
        lock = self.folder.parent / self._machine_lock(address)
        with suppress(OSError):
            lock.parent.mkdir(parents=True, exist_ok=True)
            if os.access(lock if lock.exists() else lock.parent, os.W_OK):
                return self._hold(lock, listener)
        return nullcontext()

    def _machine_lock(self, address: str) -> str:
        """A file name for each machine: this one, or an address."""
        elsewhere = self.spec.address or address
        where = {"local": "", "none": self.spec.name}.get(self.spec.transport, elsewhere)
        return f".{self.spec.transport}{hashlib.sha256(where.encode()).hexdigest()[:12] if where else ''}.lock"

    @contextmanager
    def _hold(self, path: Path, listener: Listener) -> Iterator[None]:
        # The system gives up the lock of a process that ends, however it ends.
        lock = FileLock(path, is_singleton=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            minutes = f"{WAIT_S / 60:.0f} minutes"
            listener.say(f"another process measures on {self.spec.name}: waiting for it, for {minutes} at most")
            try:
                lock.acquire(timeout=WAIT_S)
            except Timeout:
                raise Failure(f"another process has measured on {self.spec.name} for {minutes}; try later") from None
        try:
            yield
        finally:
            lock.release()

    def programs(self) -> list[str]:
        """What was run when the device was measured last."""
        card = self.own_card()
        return [] if card is None else list(card.conditions.get("programs") or [])

    def measured(self) -> LatencyTable | None:
        """Everything measured on the device so far; None if nothing was."""
        return _read(self.path)

    def read(self) -> LatencyTable | None:
        """Everything measured on the device so far, else the published figures of it, None where there is neither."""
        return self.measured() or _read(SHIPPED_TABLES / f"{self.spec.name}.csv")

    def own_card(self) -> Card | None:
        """Of what was measured on the device, without reading that; None if nothing was."""
        return card_of(self.path) if self.path.exists() else None

    def card(self) -> Card | None:
        """Of what was measured on the device, else of what was published of it; None where there is neither."""
        for csv in (self.path, SHIPPED_TABLES / f"{self.spec.name}.csv"):
            if csv.exists() or card_path(csv).exists():
                return card_of(csv)
        return None

    def known(self, space: SearchSpace) -> tuple[Population, NDArray[np.float64]]:
        """The networks of `space` measured at this batch: genotypes (n, n_genes) and latencies (n,) in milliseconds.

        Networks that `space` with its options cannot hold (another resolution, say) are left out.
        """
        table = self.read()
        rows, latencies = [], []
        if table is not None:
            known = self.select(table, space)
            for name, latency_ms in zip(known["architecture"], known["latency_ms"], strict=True):
                with suppress(ValueError):
                    rows.append(space.parse(name))
                    latencies.append(latency_ms)
        population = np.array(rows, dtype=np.int16).reshape(len(rows), len(space.genes))
        return population, np.array(latencies, dtype=np.float64)

    def confirm(self, space: SearchSpace, architectures: Sequence[str]) -> None:
        """Mark networks of `space` whose latency was measured twice and was the same."""
        if not architectures:
            return
        with self.locked():
            table = self.measured()
            if table is not None:
                about = {"space": space.name, "batch": self.batch, "precision": self.spec.precision}
                rows = table.rows["architecture"].isin(architectures)
                for column, value in about.items():
                    rows &= table.rows[column] == value
                table.rows.loc[rows, "source"] = CONFIRMED
                write_table(self.path, table)

    def confirmed(self, space: SearchSpace, population: NDArray[Any]) -> NDArray[np.bool_]:
        """Which of `population` are so marked, shape ``(n,)``."""
        table = self.read()
        if table is None or not len(population):
            return np.zeros(len(population), dtype=bool)
        rows = self.select(table, space)
        marked = set(rows.loc[rows["source"] == CONFIRMED, "architecture"])
        return np.array([name in marked for name in space.format(population)])

    def select(self, table: LatencyTable, space: SearchSpace) -> pd.DataFrame:
        """The rows of `space` in the device's precision, at this batch."""
        return table.select(space.name, batch=self.batch, precision=self.spec.precision)

    def check_conditions(self) -> None:
        """Refuse a table of another runtime, core, program or number of threads than the device's card now says.

        Raises
        ------
        ValueError : it was measured with others.
        """
        card = self.own_card()
        if card is not None and (found := contradiction(conditions_of(card), conditions_wanted(self.spec))):
            raise ValueError(
                f"{self.path} was measured with {found[0]}; the card of {self.spec.name} now says {found[1]}: move "
                "that folder away, or give the card a name of its own"
            )

    def check_machine(self, machine: Mapping[str, Any]) -> None:
        """Refuse a table of another machine; where one of them is not known, nothing is said.

        Parameters
        ----------
        machine : the fields of `nas.devices.events.Machine`, as far as they are known.

        Raises
        ------
        ValueError : it was measured on another.
        """
        card = self.own_card()
        if card is not None and (found := other_machine(card.conditions, machine)):
            raise ValueError(
                f"{self.path} was measured on {found[0]}, device {self.spec.name} is now {found[1]}; move that folder "
                "away, or give this machine a card of its own name"
            )

    def earlier_reference_ms(self, space: SearchSpace) -> float | None:
        """Median latency of the reference network of `space` over the sessions so far; None where none had the same."""
        card = self.own_card()
        sessions = [] if card is None else card.conditions.get("sessions", [])
        same = self._reference(space)
        found = [float(session["reference_ms"]) for session in sessions if session.get("reference") == same]
        return float(np.median(found)) if found else None

    def _reference(self, space: SearchSpace) -> str:
        return f"{space.format(space.max)} of {space.name}, batch {self.batch}, {self.spec.precision}"

    def add(
        self,
        space: SearchSpace,
        population: NDArray[Any],
        rounds: Rounds,
        session: Mapping[str, Any],
        protocol: Protocol,
        *,
        first: bool,
    ) -> LatencyTable:
        """Write what was measured of `population` into the table; return the table as written.

        Networks measured again replace their old rows, where these stand: sessions under different load would disagree.

        Parameters
        ----------
        population : genotypes of shape (n, n_genes), in the order of `rounds`.
        session : conditions of this session so far; `first` says whether it begins, or continues the latest one.

        Raises
        ------
        ValueError : the table belongs to another machine.
        DeviceUnavailable : these latencies cannot be; nothing is written.
        """
        table = self.measured()
        machine, today = asdict(rounds.start.machine), datetime.date.today().isoformat()
        self.check_machine(machine)
        before = {} if table is None else table.card.conditions
        sessions = list(before.get("sessions", []))
        latest = {"date": today, "reference": self._reference(space), **session}
        sessions = [*(sessions if first else sessions[:-1]), latest][-SESSIONS_KEPT:]
        card = Card(
            name=self.spec.name,
            aliases=self.spec.aliases,
            chip=self.spec.chip or machine["gpu"] or machine["board"] or machine["cpu"],
            transport=self.spec.transport,
            runtime=self.spec.runtime,
            runtime_version=rounds.start.runtime_version,
            threads=self.spec.threads,
            precision=self.spec.precision,
            conditions={
                **{key: machine[key] for key in MACHINE_FACTS if machine[key]},
                "first_core": self.spec.core,
                "pinned_to": rounds.start.cores,
                "address": self.spec.address,
                "programs": list(self.spec.programs),
                "protocol": f"lower quartile of up to {protocol.rounds} interleaved rounds, see column runs",
                "sessions": sessions,
            },
            date=today,
            licence="Apache-2.0",
        )
        rows = self._rows(space, population, rounds)
        if table is not None:
            rows = pd.concat([table.rows, rows], ignore_index=True)
            place = rows.groupby(list(KEY), sort=False).ngroup()
            kept = rows.drop_duplicates(list(KEY), keep="last")
            rows = kept.loc[place[kept.index].sort_values().index].reset_index(drop=True)
        stored = LatencyTable(rows, card)
        try:
            write_table(self.path, stored)
        except ValueError as error:
            raise DeviceUnavailable(f"what {self.spec.name} reported is not stored: {error}") from None
        return stored

    def _rows(self, space: SearchSpace, population: NDArray[Any], rounds: Rounds) -> pd.DataFrame:
        measured = rounds.measurements()
        names: Sequence[str] = space.format(np.atleast_2d(population))
        rows = pd.DataFrame({"space": space.name, "architecture": names})
        rows["resolution"] = space.resolution(population)
        rows["batch"] = self.batch
        rows["precision"] = self.spec.precision
        for column in ("latency_ms", "p10_ms", "p90_ms", "runs"):
            rows[column] = [getattr(m, column) for m in measured]
        rows["source"] = "measured"
        rows["reference_ms"] = rounds.reference_ms
        return rows[[*COLUMNS, "reference_ms"]]


def card_of(csv: Path) -> Card:
    """The card of a device's table; one that says nothing where it is missing, as older versions wrote it last."""
    path = card_path(csv)
    return read_card(path) if path.exists() else Card(csv.stem, provenance="unknown, its card is missing")


def _read(csv: Path) -> LatencyTable | None:
    if not csv.exists():
        return None
    # Without looking at the architectures: they may be of a space with other options than it has by default.
    card = card_of(csv)
    return LatencyTable(read_rows(csv, card=card), card)
