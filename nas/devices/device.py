"""A device to measure on: networks in, measured latencies out. What is measured is stored after every few networks."""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_tables.files import atomic_path
from latency_tables.table import LatencyTable
from nas.devices.adb import FOLDER, Adb
from nas.devices.device_table import DeviceTable
from nas.devices.local import Local
from nas.devices.protocol import Measurement, Protocol, Rounds, conditions
from nas.devices.runtimes import RUNTIMES
from nas.devices.spec import DeviceSpec
from nas.devices.ssh import Ssh
from nas.devices.transport import DeviceUnavailable, Transport
from nas.progress import Progress
from search_spaces import SearchSpace

ENOUGH_ROUNDS = 10
"""Rounds that a device must have finished before it was lost, for the networks of these rounds to count."""


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
        self.table = DeviceTable(spec, folder)
        self.protocol = protocol or Protocol()

    @property
    def name(self) -> str:
        """As typed behind ``--device``."""
        return self.spec.name

    @property
    def can_measure(self) -> bool:
        """There is a way to it; a device known by published figures alone has none."""
        return self.spec.transport != "none"

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
        self.table.check_conditions()
        rows = space.canonical(np.atleast_2d(population))
        names = list(space.format(rows))
        known = set() if fresh else self._known(space, batch)
        missing = rows[[names.index(name) for name in dict.fromkeys(names) if name not in known]]
        report = progress or (lambda done, total: None)
        if len(missing):
            self._transport()  # what keeps us from it is said before any network is built
        report(0, len(missing))
        done: list[Rounds] = []
        warnings: list[str] = []
        with tempfile.TemporaryDirectory(prefix="nas-") as scratch:
            folder = Path(scratch)
            reference = self._write(space, space.max, batch, folder, "reference") if len(missing) else folder
            for start in range(0, len(missing), self.protocol.batch_of_nets):
                nets = missing[start : start + self.protocol.batch_of_nets]
                models = {f"net{i}": self._write(space, row, batch, folder, f"net{i}") for i, row in enumerate(nets)}
                rounds, failure = self._run({**models, "reference": reference}, self.protocol)
                if len(rounds.ms):
                    done.append(rounds)
                    found, warnings = conditions(done, self.spec.threads)
                    session = {**found, "networks": start + len(nets)}
                    self.table.add(space, nets, rounds, session, self.protocol, batch=batch, first=start == 0)
                if failure is not None:
                    raise failure
                report(start + len(nets), len(missing))
        table = self.table.measured()
        if table is None:
            raise ValueError("no architectures to measure")
        selected = table.select(space.name, batch=batch, precision=self.spec.precision)
        card = replace(table.card, conditions={**table.card.conditions, "warnings": warnings})
        return LatencyTable(selected.set_index("architecture", drop=False).loc[names].reset_index(drop=True), card)

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

    def _known(self, space: SearchSpace, batch: int) -> set[str]:
        """Networks of `space` that were measured already."""
        table = self.table.measured()
        if table is None:
            return set()
        return set(table.select(space.name, batch=batch, precision=self.spec.precision)["architecture"])

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
