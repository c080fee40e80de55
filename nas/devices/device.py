"""A device to measure on: networks in, measured latencies out. What is measured is stored after every few networks."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_tables.files import atomic_path
from latency_tables.scratch import scratch_folder
from latency_tables.table import LatencyTable
from nas.devices.adb import FOLDER, Adb
from nas.devices.conditions import address_of, machine_here
from nas.devices.device_table import DeviceTable
from nas.devices.events import Report, Start
from nas.devices.local import Local
from nas.devices.protocol import Measured, Protocol, Rounds, conditions
from nas.devices.runtimes import RUNTIMES
from nas.devices.spec import DeviceSpec
from nas.devices.ssh import Ssh
from nas.devices.transport import DeviceUnavailable, Transport
from nas.progress import SILENT, Listener, Progress
from search_spaces import Population, SearchSpace

MOST_BATCH = 4096
"""Images of an inference; more do not fit the memory of a device."""
ENOUGH_ROUNDS = 10
"""Rounds that a device must have finished before it was lost, for the networks of these rounds to count."""


class Device:
    """A device to measure on.

    Parameters
    ----------
    spec : its card.
    folder : where its latency table is kept; None stands for ``runs/devices/<name>``.
    protocol : how it is measured.
    transport : the way to it; None makes the one its card describes.
    listener : gets the sentences for the user.
    batch : images an inference takes.
    trusted : its card came with the package, or from the calling program; the programs of any other card are shown
        before they are run.
    """

    def __init__(
        self,
        spec: DeviceSpec,
        *,
        folder: Path | None = None,
        protocol: Protocol | None = None,
        transport: Transport | None = None,
        listener: Listener = SILENT,
        batch: int = 1,
        trusted: bool = True,
    ) -> None:
        if not 1 <= batch <= MOST_BATCH:
            raise ValueError(f"--batch must be from 1 to {MOST_BATCH:,} images, got {batch}")
        if spec.transport != "none" and batch > 1 and spec.precision in RUNTIMES[spec.runtime].one_image:
            raise ValueError(f"{spec.runtime} runs {spec.precision} networks one image at a time; leave --batch out")
        self.spec = spec
        self.transport = transport
        self.table = DeviceTable(spec, folder, batch)
        self.protocol = protocol or Protocol()
        self.listener = listener
        self.trusted = trusted
        self._said = trusted
        self._warned: set[str] = set()
        self._reached = False

    @property
    def name(self) -> str:
        """As typed behind ``--device``."""
        return self.spec.name

    @property
    def batch(self) -> int:
        """Images an inference takes."""
        return self.table.batch

    @property
    def flags(self) -> str:
        """How it is named on the command line."""
        return f"--device {self.name}" + (f" --batch {self.batch}" if self.batch > 1 else "")

    def under(self, spec: DeviceSpec, folder: Path) -> "Device":
        """The same device by another card: another runtime or precision."""
        made = Device(
            spec,
            folder=folder,
            protocol=self.protocol,
            transport=self.transport,
            listener=self.listener,
            batch=self.batch,
            trusted=self.trusted,
        )
        made._warned = self._warned
        return made

    @property
    def can_measure(self) -> bool:
        """There is a way to it; a device known by published figures alone has none."""
        return self.spec.transport != "none"

    def probe(self) -> Start:
        """Reach the device and ask for its machine and versions.

        Raises
        ------
        DeviceUnavailable : it cannot be reached, or lacks the runtime.
        """
        self._say_programs()
        rounds, failure = self._run({}, replace(self.protocol, silence_s=30, limit_s=30))
        if failure is not None:
            raise failure
        return rounds.start

    def check_reachable(self) -> None:
        """See that it can measure, before work that ends on it; a device that has answered is not asked again.

        Raises
        ------
        DeviceUnavailable, MissingExtra : as of `probe`.
        ValueError : another machine answers than the one that its table is of.
        """
        if self.can_measure and not self._reached:
            self.table.check_machine(asdict(self.probe().machine))

    def check_table(self) -> None:
        """Refuse a table that is not of this device as its card now describes it, before its latencies are used.

        A device elsewhere is asked for its processor only where its card has another address than the table. Where it
        cannot be reached then, it is known by its table all the same, and that is said.

        Raises
        ------
        ValueError : the table was measured on another machine, or under other conditions.
        """
        card = self.table.own_card()
        if card is None or not self.can_measure:
            return
        self.table.check_conditions()
        before, now = address_of(card), self.spec.address
        if self.spec.transport == "local" and self.transport is None:
            self.table.check_machine(machine_here(self.spec.runtime))
        elif before and now and before != now:
            try:
                self.table.check_machine(asdict(self.probe().machine))
            except DeviceUnavailable as error:
                self.listener.say(f"warning: {self.name} was measured at {before}, {now} cannot be checked: {error}")

    def measure(
        self,
        space: SearchSpace,
        population: NDArray[Any],
        *,
        fresh: bool = False,
        progress: Progress | None = None,
    ) -> LatencyTable:
        """Measure architectures, with random weights, and keep the latencies in the device's table.

        What the table already holds is not measured again; new rows are written after every few networks, so
        that an interrupted call loses none and the next one continues.

        Parameters
        ----------
        space, population : genotypes of shape (n, n_genes).
        fresh : measure all again, replacing what the table holds of them.
        progress : called after every few networks.

        Returns
        -------
        Table whose row i is genotype i; its card's conditions hold ``warnings`` of this call, which have been said.

        Raises
        ------
        DeviceUnavailable : it cannot be reached, lacks the runtime, or vanished; what was measured is kept.
        ValueError : the device has no transport, or its table belongs to another machine.
        """
        self.table.check_conditions()
        rows = space.canonical(np.atleast_2d(population))
        names = list(space.format(rows))
        warnings: list[str] = []
        if len(self._missing(space, rows, fresh)):
            with self._session():
                # Another process may have measured some of them meanwhile.
                missing = self._missing(space, rows, fresh)
                warnings = self._measure(space, [missing], len(missing), progress)
        elif progress is not None:
            progress(0, 0)
        return self._measured(space, names, warnings)

    def measure_in_turn(
        self,
        space: SearchSpace,
        choose: Callable[[], Population],
        n: int,
        *,
        progress: Progress | None = None,
    ) -> LatencyTable:
        """Measure a few networks at a time, as in `measure`, each chosen by what those before it took.

        Parameters
        ----------
        choose : called before each session, when the table has what was measured so far. Gives the genotypes of new
            networks, shape (n_next, n_genes); an empty population ends the measurement.
        n : networks that it will choose in all, for the progress bar.

        Returns
        -------
        Table whose row i is the network measured as number i.

        Raises
        ------
        DeviceUnavailable, ValueError : as of `measure`.
        """
        chosen: list[Population] = []

        def batches() -> Iterator[Population]:
            while len(rows := space.canonical(choose())):
                chosen.append(rows)
                yield rows

        self.table.check_conditions()
        with self._session():
            warnings = self._measure(space, batches(), n, progress)
        names = [name for rows in chosen for name in space.format(rows)]
        return self._measured(space, names, warnings)

    @contextmanager
    def _session(self) -> Iterator[None]:
        """While entered, this process alone measures on the device, under the conditions of its table."""
        address = self._transport().address()  # an obstacle is reported before any network is built
        self._say_programs()
        with self.table.alone(self.listener, address), self.table.locked(self.listener):
            self.table.check_conditions()  # another process may have measured under others meanwhile
            yield

    def _measured(self, space: SearchSpace, names: list[str], warnings: Sequence[str]) -> LatencyTable:
        """The rows of these architectures; the card has the warnings."""
        table = self.table.measured()
        if table is None:
            raise ValueError("no architectures to measure")
        selected = self.table.select(table, space)
        card = replace(table.card, conditions={**table.card.conditions, "warnings": list(warnings)})
        return LatencyTable(selected.set_index("architecture", drop=False).loc[names].reset_index(drop=True), card)

    def measure_models(self, models: Sequence[Path], *, progress: Progress | None = None) -> Measured:
        """Measure model files of this device's runtime (finalists' exports); nothing is stored.

        The first file is also the reference. A process that measures on the device is waited for.

        Raises
        ------
        DeviceUnavailable : it cannot be reached, lacks the runtime, vanished, or is not the machine of its table.
        ValueError : no files, or files of another format.
        """
        suffix = RUNTIMES[self.spec.runtime].suffix if self.can_measure else ""
        wrong = [path.name for path in models if path.suffix != suffix]
        if not models or (wrong and self.can_measure):
            raise ValueError(f"device {self.name} measures {suffix} files, got {', '.join(wrong) or 'none'}")
        self._say_programs()
        report = progress or (lambda done, total: None)
        report(0, len(models))
        done: list[Rounds] = []
        with self.table.alone(self.listener, self._transport().address()):
            for start in range(0, len(models), self.protocol.batch_of_nets):
                batch = models[start : start + self.protocol.batch_of_nets]
                keyed = {f"net{i}": path for i, path in enumerate(batch)}
                rounds, failure = self._run({**keyed, "reference": models[0]}, self.protocol)
                if failure is not None:
                    raise failure
                try:
                    self.table.check_machine(asdict(rounds.start.machine))
                except ValueError as error:  # the work before is not lost: the same command goes on from it
                    raise DeviceUnavailable(str(error)) from None
                done.append(rounds)
                report(start + len(batch), len(models))
        found, warnings = conditions(done, self.spec.threads)
        self._warn(warnings)
        about = asdict(done[-1].start)
        return Measured([m for rounds in done for m in rounds.measurements()], {**about, **found}, warnings)

    def _missing(self, space: SearchSpace, rows: Population, fresh: bool) -> Population:
        """The genotypes in `rows` that are to be measured, each once."""
        table = None if fresh else self.table.measured()
        known: set[str] = set()
        if table is not None:
            known.update(self.table.select(table, space)["architecture"])
        first = {name: i for i, name in reversed(list(enumerate(space.format(rows)))) if name not in known}
        return rows[sorted(first.values())]

    def _measure(
        self, space: SearchSpace, chosen: Iterable[Population], total: int, progress: Progress | None
    ) -> list[str]:
        """Measure networks, a population after the other, and store each batch; the warnings of this session."""
        report = progress or (lambda done, total: None)
        done: list[Rounds] = []
        warnings: list[str] = []
        count, most = 0, self.protocol.batch_of_nets
        before_ms = self.table.earlier_reference_ms(space)
        report(0, total)
        with scratch_folder() as folder:
            reference = self._write(space, space.max, folder, "reference")
            for nets in (rows[start : start + most] for rows in chosen for start in range(0, len(rows), most)):
                models = {f"net{i}": self._write(space, row, folder, f"net{i}") for i, row in enumerate(nets)}
                rounds, failure = self._run({**models, "reference": reference}, self.protocol)
                if len(rounds.ms):
                    done.append(rounds)
                    found, warnings = conditions(done, self.spec.threads, before_ms, stored=True)
                    session = {**found, "networks": count + len(nets)}
                    self.table.add(space, nets, rounds, session, self.protocol, first=count == 0)
                if failure is not None:
                    raise failure
                count += len(nets)
                report(count, max(count, total))
        self._warn(warnings)
        return warnings

    def _warn(self, warnings: Sequence[str]) -> None:
        """Say what is not said yet; of one kind, the words before the colon, once."""
        for warning in warnings:
            if (kind := warning.partition(":")[0]) not in self._warned:
                self._warned.add(kind)
                self.listener.say(f"warning: measuring on {self.name}: {warning}")

    def _say_programs(self) -> None:
        """What a card that did not come with the package has run is shown before it is run for the first time."""
        if self._said:
            return
        self._said = True
        programs = self.spec.programs
        if programs and list(programs) != self.table.programs():
            self.listener.say(
                f"the card of {self.name} did not come with this package; it has run: {', '.join(programs)} "
                "(trust a card like a Makefile)"
            )

    def _transport(self) -> Transport:
        spec = self.spec
        if self.transport is not None:
            return self.transport
        if spec.transport == "local":
            if not spec.python:
                RUNTIMES[spec.runtime].require()
            return Local(os.path.expanduser(spec.python) or sys.executable)
        if spec.transport == "ssh":
            config = os.path.expanduser(spec.ssh_config)
            return Ssh(spec.host, spec.python or "python3", spec.folder, config)
        if spec.transport == "adb":
            return Adb(spec.serial, spec.command, spec.python or "python3", spec.folder or FOLDER)
        raise ValueError(f"device {self.name} is known by published figures alone; nothing can be measured on it")

    def _write(self, space: SearchSpace, genotype: NDArray[Any], folder: Path, name: str) -> Path:
        runtime = RUNTIMES[self.spec.runtime]
        path = folder / f"{name}{runtime.suffix}"
        content = runtime.precisions[self.spec.precision](space, genotype, self.batch)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
        return path

    def _run(self, models: Mapping[str, Path], protocol: Protocol) -> tuple[Rounds, DeviceUnavailable | None]:
        """Rounds over `models`, whose last one is the reference; with the failure that cut them short.

        Fewer than `ENOUGH_ROUNDS` before a failure count as none.
        """
        job = {
            "runtime": self.spec.runtime,
            "precision": self.spec.precision,
            "threads": self.spec.threads,
            "core": self.spec.core,
            "rounds": protocol.rounds,
            "runs": protocol.runs,
            "seconds": protocol.seconds,
            "limit_s": protocol.limit_s,
        }
        report, keys, failure = Report(), list(models), None
        try:
            stream = self._transport().run(job, models, silence_s=protocol.silence_s, limit_s=2 * protocol.limit_s)
            with closing(stream):
                for event in stream:
                    try:
                        report.take(event, keys, protocol.rounds)
                    except ValueError as error:  # then nothing that it reported is used
                        report, failure = Report(), DeviceUnavailable(f"device {self.name} cannot be used: {error}")
                        break
        except DeviceUnavailable as error:
            failure = error
        # A lost connection may look like a good end: only the agent's last event tells that it was one.
        if failure is None and (report.start is None or (models and report.end is None)):
            failure = DeviceUnavailable(f"device {self.name} stopped before it was done")
        if report.start is None or (failure is not None and len(report.rounds) < ENOUGH_ROUNDS):
            report.rounds = []
        self._reached = failure is None
        return Rounds.of(report, keys), failure
