"""Once-for-all's own search task: its accuracy predictor and its Galaxy Note 10 latencies, searched by us and peers.

Once-for-all (https://arxiv.org/abs/1908.09791). Accuracy is a fraction, latency milliseconds. Times are CPU
seconds of one thread, so that other work on the machine counts little.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.search.budget import Budget
from nas.search.feasibility import check_feasibility
from nas.search.objectives import Objectives
from nas.search.run import SearchSettings, run_search
from search_spaces import Population, SearchSpace, get_space

FINDER = {15: 0.7854, 20: 0.8068, 25: 0.8181, 30: 0.8274}
"""The finder's best in earlier runs, by budget in ms."""
KNOWN = {15: 0.7880, 20: 0.8079, 25: 0.8220, 30: 0.8307}
"""The best known when the goals were set."""


def data_folder() -> Path:
    """The folder of the shared data; a ValueError says how to name another one."""
    root = Path(os.environ.get("NAS_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not root.is_dir():
        raise ValueError(f"the public tables are not at {root}; set NAS_SHARED_DATA")
    return root


class Task:
    """Accuracy and latency of populations of the space with width 1.2."""

    def __init__(self, data: Path) -> None:
        self.space = get_space("mobilenet_v3", width_mult=1.2, resolutions=(160, 176, 192, 208, 224))
        names = [gene.name for gene in self.space.genes]
        self.kernels = [i for i, name in enumerate(names) if name.endswith("kernel")]
        self.expansions = [i for i, name in enumerate(names) if name.endswith("expansion")]
        with np.load(data / "accuracy/ofa_mbv3_w1.2_accuracy_predictor.npz") as weights:
            self.weights = {name: np.float32(weights[name]) for name in weights.files}
        # Laid out as the products read them, which small batches gain from.
        self.mlp = [
            (np.ascontiguousarray(self.weights[f"{i}.weight"].T), self.weights[f"{i}.bias"]) for i in (0, 2, 4, 6)
        ]
        self.lut = pd.read_csv(data / "latency/luts/ofa_note10_lut.csv")
        self.offsets = np.concatenate([[0], np.cumsum(self.space.n_variants)[:-1]])
        self.table = _latency_table(self.space, self.lut)

    def inputs(self, population: Population) -> np.ndarray:
        """What the predictor reads: kernels and expansions one-hot, zero where no block is, and the resolution."""
        rows = np.arange(len(population))[:, None]
        present = self.space.active(population)[:, self.kernels]
        x = np.zeros((len(population), 128), dtype=np.float32)
        for first, columns in ((0, self.kernels), (60, self.expansions)):
            x[rows, first + 3 * np.arange(20) + population[:, columns]] = present
        x[rows[:, 0], 120 + (self.space.gene_values(population)[:, 0] - 112) // 16] = 1
        return x

    def accuracy(self, population: Population) -> np.ndarray:
        x = self.inputs(population)
        for weight, bias in self.mlp[:-1]:
            x = np.maximum(x @ weight + bias, 0)
        return (x @ self.mlp[-1][0] + self.mlp[-1][1])[:, 0].astype(np.float64)

    def latency_ms(self, population: Population) -> np.ndarray:
        return self.table[self.space.variants(population) + self.offsets].sum(axis=1)


def _latency_table(space: SearchSpace, lut: pd.DataFrame) -> np.ndarray:
    blocks = lut[lut["type"] == "expanded_conv"]
    keys = zip(
        blocks["resolution"],
        blocks["input"].str.split("x").str[0].astype(int),
        blocks["output"].str.split("x").str[2].astype(int),
        blocks["expand"],
        blocks["kernel"],
        blocks["stride"],
        blocks["input"].str.split("x").str[2].astype(int),
        strict=True,
    )
    known = dict(zip(keys, blocks["mean_ms"], strict=True))
    rest = lut[lut["type"] != "expanded_conv"].groupby("resolution")["mean_ms"].sum()
    table = []
    for number, (slot, n_variants) in enumerate(zip(space.slots, space.n_variants, strict=True)):
        optional = int(slot.needs is not None)
        for variant in range(n_variants):
            layers = {layer.name: layer for layer in space.variant_layers(number, variant)}
            resolution = space.genes[0].values[(variant - optional) * 5 // (n_variants - optional)]
            if slot.name == "head" or not layers:
                table.append(0.0)
            elif slot.name == "stem":
                table.append(rest[resolution])
            else:
                depthwise, project = layers["depthwise"], layers["project"]
                into = layers.get("expand", depthwise)
                shape = (into.size, project.out_channels, depthwise.in_channels, depthwise.kernel, depthwise.stride)
                table.append(known[(resolution, *shape, into.in_channels)])
    return np.array(table)


class Exact:
    """A predictor without error, of what a function of populations says."""

    def __init__(self, values: Callable[[Population], np.ndarray]) -> None:
        self.values = values

    def predict(self, population: Population, return_std: bool = False) -> Any:
        mean = self.values(population)
        return (mean, np.zeros(len(mean))) if return_std else mean


class History:
    """When a better network was first known.

    Attributes
    ----------
    known : CPU seconds since the start and the best accuracy within the budget then.
    total_s : CPU seconds until the search ended.
    """

    def __init__(self) -> None:
        self.started = time.process_time()
        self.known: list[tuple[float, float]] = []
        self.total_s = np.inf

    def note(self, accuracy: float) -> None:
        if not self.known or accuracy > self.known[-1][1]:
            self.known.append((time.process_time() - self.started, accuracy))

    def best(self, within_s: float = np.inf) -> float:
        return max((accuracy for seconds, accuracy in self.known if seconds <= within_s), default=0.0)

    def seconds_to(self, accuracy: float) -> float:
        return next((seconds for seconds, known in self.known if known >= accuracy), np.inf)


class WatchedAccuracy:
    """The accuracies as a predictor without error, which notes the best one within the budget."""

    def __init__(self, task: Task, limit_ms: float, history: History) -> None:
        self.task, self.limit_ms, self.history = task, limit_ms, history

    def predict(self, population: Population, return_std: bool = False) -> Any:
        mean = self.task.accuracy(population)
        within = self.task.latency_ms(population) <= self.limit_ms
        self.history.note(float(mean[within].max(initial=0)))
        return (mean, np.zeros(len(mean))) if return_std else mean


def search(task: Task, limit_ms: float, seed: int, settings: SearchSettings) -> History:
    """What `nas search` runs once its predictors are learnt, with this task's predictors: the whole of `run_search`."""
    history = History()
    objectives = Objectives(task.space, WatchedAccuracy(task, limit_ms, history), Exact(task.latency_ms))
    feasibility = check_feasibility(objectives, Budget.parse(latency=f"{limit_ms}ms"), seed)
    result = run_search(objectives, feasibility, seed=seed, settings=settings)
    # The search for the whole front, which comes later, may meet better networks; the answer is not among those.
    answer = result.predicted["accuracy"] or 0.0
    history.known = [(seconds, accuracy) for seconds, accuracy in history.known if accuracy <= answer]
    history.total_s = time.process_time() - history.started
    return history


class Recorder:
    """Accuracy and latency of everything that was evaluated, with the CPU second; for hypervolumes."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.started = time.process_time()
        self.seconds: list[float] = []
        self.objectives: list[np.ndarray] = []

    def __call__(self, population: Population) -> np.ndarray:
        values = np.stack([-self.task.accuracy(population), self.task.latency_ms(population)], axis=1)
        self.seconds.append(time.process_time() - self.started)
        self.objectives.append(values)
        return values

    def curve(self, measure: Callable[[np.ndarray], float], at: list[float]) -> list[float]:
        known = [sum(second <= moment for second in self.seconds) for moment in at]
        return [measure(np.concatenate(self.objectives[:n])) if n else 0.0 for n in known]
