"""Once-for-all's own search task: its accuracy predictor and its Galaxy Note 10 latencies, searched by us and peers.

Once-for-all (https://arxiv.org/abs/1908.09791). Accuracy is a fraction, latency milliseconds. Times are CPU
seconds of one thread, so that other work on the machine counts little.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from nas.search.evolution.archive import Scores
from search_spaces import Population, SearchSpace, get_space

FINDER = {15: 0.7854, 20: 0.8068, 25: 0.8181, 30: 0.8274}
"""The best of the finder in earlier runs, by budget in ms."""
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
        # Which inputs of the predictor each column of the encoding stands for.
        columns = np.zeros((128, self.space.encoding_width), dtype=np.float32)
        columns[120 + (np.array(self.space.genes[0].values) - 112) // 16, np.arange(5)] = 1
        kernel, expansion = np.divmod(np.arange(9), 3)
        block = np.arange(20)[:, None]
        operators = 5 + 9 * block + np.arange(9)
        columns[3 * block + kernel, operators] = columns[60 + 3 * block + expansion, operators] = 1
        first, *others = (weight for weight, _ in self.mlp[:-1])
        self.backwards = [np.ascontiguousarray(weight) for weight in (first.T @ columns, *(w.T for w in others))]

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

    def slopes(self, population: Population) -> np.ndarray:
        """Derivatives of the accuracy by the columns of ``space.encode``, by back-propagation."""
        x, active = self.inputs(population), []
        for weight, bias in self.mlp[:-1]:
            x = x @ weight + bias
            active.append(x > 0)
            x = np.maximum(x, 0, out=x)
        back = self.mlp[-1][0].T
        for positive, weight in zip(reversed(active), reversed(self.backwards), strict=True):
            back = (back * positive) @ weight
        return back

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


class Timed:
    """The score within a latency budget; remembers when a better network was first seen.

    Attributes
    ----------
    history : CPU seconds since the start and the best accuracy within the budget then.
    """

    def __init__(self, task: Task, limit_ms: float) -> None:
        self.task, self.limit_ms = task, limit_ms
        self.started = time.process_time()
        self.history: list[tuple[float, float]] = []

    def __call__(self, population: Population) -> Scores:
        violations = self.violations(population)
        objectives = self.objectives(population)
        self.note(float(-objectives[violations[:, 0] <= 0].min(initial=0)))
        return Scores(objectives, violations)

    def objectives(self, population: Population) -> np.ndarray:
        return -self.task.accuracy(population)[:, None]

    def violations(self, population: Population) -> np.ndarray:
        return ((self.task.latency_ms(population) - self.limit_ms) / self.limit_ms)[:, None]

    def note(self, accuracy: float) -> None:
        if not self.history or accuracy > self.history[-1][1]:
            self.history.append((time.process_time() - self.started, accuracy))

    def best(self, within_s: float = np.inf) -> float:
        return max((accuracy for seconds, accuracy in self.history if seconds <= within_s), default=0.0)

    def seconds_to(self, accuracy: float) -> float:
        return next((seconds for seconds, known in self.history if known >= accuracy), np.inf)


class Sloped(Timed):
    """The same, which also tells how accuracy changes with each operator: the predictor is differentiable."""

    def slopes(self, population: Population) -> np.ndarray:
        return -self.task.slopes(population)


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
