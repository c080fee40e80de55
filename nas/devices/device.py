"""A device: networks in, measured latencies out, nothing measured ever lost."""

import datetime
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import latency_tables
from latency_tables.card import Card
from latency_tables.files import atomic_path
from latency_tables.table import COLUMNS, LatencyTable, read_table, write_table
from nas.devices.adb import FOLDER, Adb
from nas.devices.local import Local
from nas.devices.protocol import Measurement, Protocol, Rounds, conditions
from nas.devices.runtimes import RUNTIMES
from nas.devices.spec import DeviceSpec
from nas.devices.ssh import Ssh
from nas.devices.transport import DeviceUnavailable, Transport
from nas.progress import Progress
from search_spaces import Population, SearchSpace

DEVICES_FOLDER = Path("runs/devices")
SHIPPED_TABLES = Path(latency_tables.__file__).parent
ENOUGH_ROUNDS = 10
"""What a vanished device must have done of a batch for its networks to count."""
SESSIONS_KEPT = 20
"""In a card: of the last ones the conditions are kept."""


@dataclass(frozen=True)
class Measured:
    """What a measurement of model files found.

    Attributes
    ----------
    measurements : one for each file, in order.
    conditions : machine, versions, load, noise, drift, repeatability.
    warnings : sentences the user must hear.
    """

    measurements: list[Measurement]
    conditions: dict[str, Any]
    warnings: list[str]


class Device:
    """A device to measure on.

    Parameters
    ----------
    spec : its card.
    folder : where its latency table is kept; None stands for ``runs/devices/<name>``.
    protocol : how it is measured.
    transport : the way to it; None makes the one its card describes.
    """

    def __init__(
        self,
        spec: DeviceSpec,
        *,
        folder: Path | None = None,
        protocol: Protocol | None = None,
        transport: Transport | None = None,
    ) -> None:
        self.spec = spec
        self.transport = transport
        self.folder = DEVICES_FOLDER / spec.name if folder is None else folder
        self.protocol = protocol or Protocol()

    @property
    def name(self) -> str:
        """As typed behind ``--device``."""
        return self.spec.name

    @property
    def can_measure(self) -> bool:
        """There is a way to it; a device known by published figures alone has none."""
        return self.spec.transport != "none"

    @property
    def table_path(self) -> Path:
        """CSV file of everything measured on it."""
        return self.folder / f"{self.name}.csv"

    def read_table(self) -> LatencyTable | None:
        """Everything measured on it so far, else the published figures of it, None where there is neither."""
        return self._own_table() or self._read(SHIPPED_TABLES / f"{self.name}.csv")

    def known(self, space: SearchSpace, *, batch: int = 1) -> tuple[Population, NDArray[np.float64]]:
        """The networks of `space` in its table: genotypes (n, n_genes) and latencies (n,) in milliseconds.

        Networks that `space` with its options cannot hold (another resolution, say) are left out.
        """
        table = self.read_table()
        rows, latencies = [], []
        if table is not None:
            known = table.select(space.name, batch=batch, precision=self.spec.precision)
            for name, latency_ms in zip(known["architecture"], known["latency_ms"], strict=True):
                with suppress(ValueError):
                    rows.append(space.parse(name))
                    latencies.append(latency_ms)
        population = np.array(rows, dtype=np.int16).reshape(len(rows), len(space.genes))
        return population, np.array(latencies, dtype=np.float64)

    def _own_table(self) -> LatencyTable | None:
        return self._read(self.table_path)

    def _read(self, path: Path) -> LatencyTable | None:
        # Without looking at the architectures: they may be of a space with other options than it has by default.
        return read_table(path) if path.exists() else None

    def probe(self) -> dict[str, Any]:
        """Reach the device and ask for its machine and versions.

        Raises
        ------
        DeviceUnavailable : it cannot be reached, or lacks the runtime.
        """
        rounds, failure = self._run({}, replace(self.protocol, silence_s=30, limit_s=30))
        if failure is not None:
            raise failure
        return rounds.start

    def measure(
        self,
        space: SearchSpace,
        population: NDArray[Any],
        *,
        batch: int = 1,
        fresh: bool = False,
        progress: Progress | None = None,
    ) -> LatencyTable:
        """Measure architectures, with random weights, and keep the latencies in the device's table.

        What the table already holds is not measured again; new rows are written after every few networks, so
        that an interrupted call loses none and the next one continues.

        Parameters
        ----------
        space, population : genotypes of shape (n, n_genes).
        batch : images an inference takes.
        fresh : measure all again, replacing what the table holds of them.
        progress : called after every few networks.

        Returns
        -------
        Table whose row i is genotype i; its card's conditions hold ``warnings`` of this call.

        Raises
        ------
        DeviceUnavailable : it cannot be reached, lacks the runtime, or vanished; what was measured is kept.
        ValueError : the device has no transport, or its table belongs to another machine.
        """
        label, table = space.name, self._own_table()
        self._check_conditions(table)
        wanted = space.format(np.atleast_2d(population))
        rows_by_name = dict(zip(wanted, space.canonical(population), strict=True))
        known = (
            set()
            if table is None
            else set(table.select(label, batch=batch, precision=self.spec.precision)["architecture"])
        )
        missing = [name for name in rows_by_name if fresh or name not in known]
        report = progress or (lambda done, total: None)
        if missing:
            self._transport()  # what keeps us from it is said before any network is built
        report(0, len(missing))
        done: list[Rounds] = []
        warnings: list[str] = []
        with tempfile.TemporaryDirectory(prefix="nas-") as scratch:
            folder = Path(scratch)
            reference = self._write(space, space.max, batch, folder, "reference") if missing else folder
            for start in range(0, len(missing), self.protocol.batch_of_nets):
                names = missing[start : start + self.protocol.batch_of_nets]
                models = {
                    f"net{start + i}": self._write(space, rows_by_name[name], batch, folder, f"net{i}")
                    for i, name in enumerate(names)
                }
                rounds, failure = self._run({**models, "reference": reference}, self.protocol)
                if len(rounds.ms):
                    done.append(rounds)
                    found, warnings = conditions(done, self.spec.threads)
                    rows = self._rows(label, names, space, rows_by_name, batch, rounds)
                    table = self._store(
                        table, rows, rounds.start, {**found, "networks": start + len(names)}, first=start == 0
                    )
                if failure is not None:
                    raise failure
                report(start + len(names), len(missing))
        if table is None:
            raise ValueError("no architectures to measure")
        selected = table.select(label, batch=batch, precision=self.spec.precision).set_index("architecture", drop=False)
        card = replace(table.card, conditions={**table.card.conditions, "warnings": warnings})
        return LatencyTable(selected.loc[wanted].reset_index(drop=True), card)

    def measure_models(self, models: Sequence[Path], *, progress: Progress | None = None) -> Measured:
        """Measure model files of this device's runtime (finalists' exports); nothing is stored.

        The first file is also the reference.

        Raises
        ------
        DeviceUnavailable : it cannot be reached, lacks the runtime, or vanished.
        ValueError : no files, or files of another format.
        """
        suffix = RUNTIMES[self.spec.runtime].suffix if self.can_measure else ""
        wrong = [path.name for path in models if path.suffix != suffix]
        if not models or (wrong and self.can_measure):
            raise ValueError(f"device {self.name} measures {suffix} files, got {', '.join(wrong) or 'none'}")
        report = progress or (lambda done, total: None)
        report(0, len(models))
        done: list[Rounds] = []
        for start in range(0, len(models), self.protocol.batch_of_nets):
            batch = models[start : start + self.protocol.batch_of_nets]
            keyed = {f"net{i}": path for i, path in enumerate(batch)}
            rounds, failure = self._run({**keyed, "reference": models[0]}, self.protocol)
            if failure is not None:
                raise failure
            done.append(rounds)
            report(start + len(batch), len(models))
        found, warnings = conditions(done, self.spec.threads)
        said = done[-1].start
        about = {"machine": said["machine"], "runtime_version": said["runtime_version"], "cores": said["cores"]}
        return Measured([m for rounds in done for m in rounds.measurements()], {**about, **found}, warnings)

    # One batch of networks -----------------------------------------------------------------------------

    def _transport(self) -> Transport:
        spec = self.spec
        if self.transport is not None:
            return self.transport
        if spec.transport == "local":
            if not spec.python:
                RUNTIMES[spec.runtime].require()
            return Local(spec.python or sys.executable)
        if spec.transport == "ssh":
            return Ssh(spec.host, spec.python or "python3", spec.folder, spec.ssh_config)
        if spec.transport == "adb":
            return Adb(spec.serial, spec.command, spec.python or "python3", spec.folder or FOLDER)
        raise ValueError(f"device {self.name} is known by published figures alone; nothing can be measured on it")

    def _write(self, space: SearchSpace, genotype: NDArray[Any], batch: int, folder: Path, name: str) -> Path:
        runtime = RUNTIMES[self.spec.runtime]
        path = folder / f"{name}{runtime.suffix}"
        content = runtime.precisions[self.spec.precision](space, genotype, batch)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
        return path

    def _run(self, models: Mapping[str, Path], protocol: Protocol) -> tuple[Rounds, DeviceUnavailable | None]:
        """Rounds over `models`, whose last one is the reference; with the failure that cut them short.

        Fewer than `ENOUGH_ROUNDS` before a failure count as none.
        """
        job = {
            "runtime": self.spec.runtime,
            "threads": self.spec.threads,
            "core": self.spec.core,
            "rounds": protocol.rounds,
            "runs": protocol.runs,
            "seconds": protocol.seconds,
            "limit_s": protocol.limit_s,
        }
        events: dict[str, list[dict[str, Any]]] = {"start": [], "loaded": [], "round": [], "end": []}
        failure = None
        try:
            stream = self._transport().run(job, models, silence_s=protocol.silence_s, limit_s=2 * protocol.limit_s)
            with closing(stream):
                for event in stream:
                    events.setdefault(event["event"], []).append(event)
        except DeviceUnavailable as error:
            failure = error
        # A lost connection may look like a good end: only the agent's last word says that it was one.
        if failure is None and models and not events["end"]:
            failure = DeviceUnavailable(f"device {self.name} stopped before it was done")
        rounds = events["round"]
        if failure is not None and len(rounds) < ENOUGH_ROUNDS:
            rounds = []
        result = Rounds(
            start=events["start"][0] if events["start"] else {},
            ms=np.array([[event["ms"][key] for key in models] for event in rounds]).reshape(len(rounds), len(models)),
            runs=tuple(rounds[0]["runs"][key] for key in models) if rounds else (),
            waited=tuple(event["waited"] for event in rounds),
            load_average=events["end"][0]["load_average"] if events["end"] else None,
        )
        return result, failure

    # The table -----------------------------------------------------------------------------------------

    def _check_conditions(self, table: LatencyTable | None) -> None:
        """Refuse to mix runtimes or numbers of threads in one table."""
        spec = self.spec
        if table is None or not table.card.runtime:
            return
        before, now = (table.card.runtime, table.card.threads), (spec.runtime, spec.threads)
        if before != now:
            raise ValueError(
                f"{self.table_path} was measured with {before[0]} on {before[1]} threads, the card of {self.name} now "
                f"says {now[0]} on {now[1]}; move that folder away, or give the card a name of its own"
            )

    def _rows(
        self,
        label: str,
        names: Sequence[str],
        space: SearchSpace,
        genotypes: Mapping[str, NDArray[Any]],
        batch: int,
        rounds: Rounds,
    ) -> pd.DataFrame:
        measured = rounds.measurements()
        rows = pd.DataFrame({"space": label, "architecture": list(names)})
        rows["resolution"] = [_resolution(space, genotypes[name]) for name in names]
        rows["batch"] = batch
        rows["precision"] = self.spec.precision
        for column in ("latency_ms", "p10_ms", "p90_ms", "runs"):
            rows[column] = [getattr(m, column) for m in measured]
        rows["source"] = "measured"
        rows["reference_ms"] = rounds.reference_ms
        return rows[[*COLUMNS, "reference_ms"]]

    def _store(
        self,
        table: LatencyTable | None,
        rows: pd.DataFrame,
        start: Mapping[str, Any],
        session: Mapping[str, Any],
        *,
        first: bool,
    ) -> LatencyTable:
        """Add rows to the table on disk; a session's conditions take the place of its own earlier ones."""
        machine = start["machine"]
        today = datetime.date.today().isoformat()
        sessions = [] if table is None else list(table.card.conditions.get("sessions", []))
        sessions = [*(sessions if first else sessions[:-1]), {"date": today, **session}][-SESSIONS_KEPT:]
        processor = machine.get("gpu") or machine["cpu"]
        if table is not None:
            before = table.card.conditions.get("gpu") or table.card.conditions.get("cpu") or processor
            if before != processor:
                raise ValueError(
                    f"{self.table_path} was measured on {before}, device {self.name} is now {processor}; "
                    "move that folder away, or give this machine a card of its own name"
                )
        card = Card(
            name=self.name,
            aliases=self.spec.aliases,
            chip=self.spec.chip or processor,
            transport=self.spec.transport,
            runtime=self.spec.runtime,
            runtime_version=start["runtime_version"],
            threads=self.spec.threads,
            precision=self.spec.precision,
            conditions={
                **{
                    key: machine[key]
                    for key in ("gpu", "cpu", "cores", "governor", "system", "python")
                    if machine.get(key)
                },
                "pinned_to": start["cores"],
                "protocol": f"lower quartile of {self.protocol.rounds} interleaved rounds x {self.protocol.runs} runs",
                "sessions": sessions,
            },
            date=today,
            licence="Apache-2.0",
        )
        if table is not None:
            # Rows measured again replace the old ones: two sessions under different load would disagree.
            key = ["space", "architecture", "batch", "precision"]
            rows = pd.concat([table.rows, rows], ignore_index=True).drop_duplicates(key, keep="last", ignore_index=True)
        stored = LatencyTable(rows, card)
        write_table(self.table_path, stored)
        return stored


def _resolution(space: SearchSpace, genotype: NDArray[Any]) -> int:
    return next(layers[0].size for layers in space.layers(genotype) if layers)
