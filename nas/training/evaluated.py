"""Evaluated subnets, kept beside the supernet: each architecture is evaluated once, whoever asks.

Accuracy is a fraction in [0, 1], on the search-validation split, with inherited weights and batch-norm
calibrated on training images.
"""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_tables.files import write_text
from nas.data import ImageData
from nas.listener import Progress
from nas.supernet import Supernet
from nas.supernet.storage import CARD
from nas.training.evaluation import evaluate_subnets
from search_spaces import Population

FILE = "accuracy.csv"


class EvaluatedSubnets:
    """Accuracy of a supernet's subnets, computed or looked up.

    Parameters
    ----------
    supernet, data : of one training run.
    folder : of that run; ``accuracy.csv`` is kept there, and started anew when the weights have changed.
    """

    def __init__(self, supernet: Supernet, data: ImageData, folder: Path) -> None:
        self.supernet = supernet
        self.data = data
        self._path = folder / FILE
        weights = json.loads((folder / CARD).read_text(encoding="utf-8"))["sha256"]
        self._header = ["architecture", f"validation_accuracy of weights {weights[:16]}"]
        self._known = self._read()

    def __call__(self, population: NDArray[Any], progress: Progress | None = None) -> NDArray[np.float64]:
        """Accuracy of each genotype, shape ``(n,)``; `progress` is called with the number done and of all."""
        names = self.supernet.space.format(np.atleast_2d(population))
        missing = {name: row for name, row in zip(names, population, strict=True) if name not in self._known}
        for done, (name, row) in enumerate(missing.items()):
            if progress is not None:
                progress(done, len(missing))
            accuracy = float(evaluate_subnets(self.supernet, row[None], self.data)[0])
            self._known[name] = round(accuracy, 6)  # as it will be read back
            self._write()
        if progress is not None:
            progress(len(missing), len(missing))
        return np.array([self._known[name] for name in names])

    @property
    def known(self) -> Population:
        """Genotypes whose accuracy is known, shape ``(n, n_genes)``."""
        names = list(self._known)
        return np.array([self.supernet.space.parse(name) for name in names], dtype=np.int16).reshape(len(names), -1)

    def _read(self) -> dict[str, float]:
        if not self._path.exists():
            return {}
        with self._path.open(encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file)) or [[]]
        return {name: float(accuracy) for name, accuracy in rows} if header == self._header else {}

    def _write(self) -> None:
        # A few hundred short lines next to a second of evaluation: written whole, a kill leaves no half line.
        lines = [self._header, *([name, f"{accuracy:.6f}"] for name, accuracy in self._known.items())]
        write_text(self._path, "".join(",".join(line) + "\n" for line in lines))
