"""One runtime configuration of this machine: its latency predictor, its networks' files, and a stand-in for accuracy.

Latencies are milliseconds, accuracies fractions.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import latency_tables
from latency_tables.table import read_table
from nas.devices import Device, get_device
from nas.devices.learning import measure_informative
from nas.devices.protocol import Protocol
from nas.devices.runtimes import RUNTIMES
from nas.search.evolution.archive import row_keys
from predictors.accuracy import AccuracyPredictor
from predictors.latency import LatencyPredictor, Measurements
from search_spaces import Population, SearchSpace, get_space

SPACE = "mobilenet_v3_small_images"
LEARNT_FROM = 12
"""Networks measured on a configuration before it is searched: the extremes and ten that the predictor asks for."""
EVALUATED = 80
"""Subnets that the accuracy predictor is fitted to, as many as `nas search` evaluates."""
NOISE = 0.003
"""Of an evaluation, in accuracy: what a split of some ten thousand images leaves."""
PROTOCOL = Protocol(rounds=50)
"""Twice the usual rounds: these networks take a third of a millisecond, and the machine is busy."""


class StandIn:
    """Stands for the trained supernet: accuracy grows with MACs at a falling rate, and each gene adds its share.

    No network is trained in this study, whose question is latency. It is noisy as evaluations are, in the same way
    whenever a network is asked for.
    """

    def __init__(self, space: SearchSpace, seed: int = 0) -> None:
        self.space = space
        rng = np.random.default_rng(seed)
        self._genes = rng.normal(size=space.encode(space.min[None]).shape[1])
        sample = space.sample(2000, rng)
        self._scale = float((space.encode(sample) @ self._genes).std())
        self._macs = space.costs(np.stack([space.min, space.max])).macs.astype(np.float64)

    def evaluate(self, population: Population) -> NDArray[np.float64]:
        """Accuracy of n networks, (n,)."""
        share = (self.space.costs(population).macs - self._macs[0]) / (self._macs[1] - self._macs[0])
        # Summed row by row, so that a network has the same accuracy whatever it is asked for with.
        genes = np.einsum("ij,j->i", self.space.encode(population).astype(np.float64), self._genes) / self._scale
        noise = [np.random.default_rng(int(key)).normal() for key in row_keys(self.space.canonical(population))]
        accuracy = 0.70 + 0.22 * (1 - np.exp(-2 * share)) + 0.006 * genes + NOISE * np.array(noise)
        return np.asarray(np.clip(accuracy, 0, 1))

    def predictor(self, seed: int) -> AccuracyPredictor:
        """An accuracy predictor fitted to `EVALUATED` subnets."""
        sample = self.space.sample(EVALUATED, np.random.default_rng([seed, 3]), tilt=1.5)
        return AccuracyPredictor(self.space).fit(sample, self.evaluate(sample))


class Configuration:
    """A runtime in one precision on one thread of this machine.

    Parameters
    ----------
    name : of its device card.
    folder : where its measurements and the networks' files are kept.
    seed : of the choice of networks to learn from.
    """

    def __init__(self, name: str, folder: Path, seed: int) -> None:
        self.name, self.folder, self.seed = name, folder / name, seed
        self.space = get_space(SPACE)
        card = get_device(name)
        self.device = Device(card.spec, folder=self.folder, protocol=PROTOCOL)

    @cached_property
    def learnt_from(self) -> tuple[Population, NDArray[np.float64]]:
        """The first networks that are measured, and their latencies; the min and the max net come first."""
        chooser = self._unadapted.for_new_device()
        measure_informative(self.device, self.space, LEARNT_FROM, self.seed, extremes=True, predictor=chooser)
        return self.device.table.known(self.space)

    def predictor(self) -> LatencyPredictor:
        """A fresh one, adapted to what was measured first."""
        return self._unadapted.for_new_device().adapt(*self.learnt_from)

    @cached_property
    def _unadapted(self) -> LatencyPredictor:
        """Knows the project's own fleet of this space, less the configuration at hand."""
        spec, fleet = self.device.spec, []
        for path in sorted(Path(latency_tables.__file__).parent.glob("epyc-*.csv")):
            table = read_table(path, find_space=get_space)
            if (table.card.runtime, table.card.precision) != (spec.runtime, spec.precision):
                rows = table.select(SPACE)
                population = np.stack([self.space.parse(name) for name in rows["architecture"]])
                fleet.append(Measurements(path.stem, population, rows["latency_ms"].to_numpy()))
        return LatencyPredictor(self.space, self.seed).fit(fleet)

    def measure(self, population: Population) -> tuple[NDArray[np.float64], ...]:
        """Latency, p10 and p90 of networks with random weights, each (n,), in a fresh process."""
        measured = self.device.measure_models([self._file(row) for row in population]).measurements
        latency, p10, p90 = np.array([(m.latency_ms, m.p10_ms, m.p90_ms) for m in measured]).T
        return latency, p10, p90

    def again(self, architectures: Sequence[str]) -> dict[str, float]:
        """Latency of named networks in a fresh process."""
        names = list(dict.fromkeys(architectures))
        latency, _, _ = self.measure(np.stack([self.space.parse(name) for name in names]))
        return dict(zip(names, latency.tolist(), strict=True))

    def conditions(self) -> dict[str, object]:
        """Machine and versions, as the device says."""
        start = self.device.probe()
        return {"runtime_version": start.runtime_version, "machine": asdict(start.machine)}

    def _file(self, genotype: Population) -> Path:
        spec = self.device.spec
        runtime = RUNTIMES[spec.runtime]
        path = self.folder / "files" / f"{int(row_keys(genotype[None])[0]):016x}{runtime.suffix}"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
                whole = Path(scratch) / path.name
                whole.write_bytes(runtime.precisions[spec.precision](self.space, genotype, 1))
                whole.rename(path)
        return path
