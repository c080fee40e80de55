"""Evaluated subnets, kept beside the supernet: each architecture is evaluated once, whoever asks.

With the URL of an Optuna storage, workers take part (see `nas.evaluation.queue`).

Accuracy is a fraction in [0, 1], on the search-validation split, with inherited weights and batch-norm
calibrated on training images.
"""

import csv
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latency_tables.files import write_text
from nas.data import ImageData
from nas.evaluation.accuracy import evaluate_subnets
from nas.progress import Progress
from nas.supernet import Supernet
from nas.supernet.storage import CARD
from search_spaces import Population

if TYPE_CHECKING:
    from nas.evaluation.queue import EvaluationQueue, SupernetIdentity

FILE = "accuracy.csv"


class EvaluatedSubnets:
    """Accuracy of a supernet's subnets, computed or looked up.

    Parameters
    ----------
    supernet, data : of one training run.
    folder : of that run.
    storage : URL of a database that evaluations are shared through; None evaluates here alone.
    notes : folder in which ``accuracy.csv`` is kept, by default that of the run; the table is started anew when the
        weights have changed.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: ImageData,
        folder: Path,
        storage: str | None = None,
        *,
        notes: Path | None = None,
    ) -> None:
        self.supernet = supernet
        self.data = data
        self._path = (notes or folder) / FILE
        weights = json.loads((folder / CARD).read_text(encoding="utf-8"))["sha256"]
        self._folder, self._weights = folder.resolve(), weights
        self._header = ["architecture", f"validation_accuracy of weights {weights[:16]}"]
        self._known = self._read()
        self._queue = None if storage is None else _queue(storage, self.identity)

    def __call__(self, population: NDArray[Any], progress: Progress | None = None) -> NDArray[np.float64]:
        """Accuracy of each genotype, shape ``(n,)``; `progress` is called with the number done and of all.

        Without labelled images, not-a-number for those that did not come evaluated.
        """
        space = self.supernet.space
        rows = space.canonical(population)
        names = space.format(rows)
        if not self.data.labelled:
            return np.array([self._known.get(name, np.nan) for name in names])
        missing = {name: row for name, row in zip(names, rows, strict=True) if name not in self._known}
        if missing:
            evaluate = self._here if self._queue is None else partial(self._queue, space)
            for name, accuracy in evaluate(np.stack(list(missing.values())), self.evaluate, progress):
                self._known[name] = accuracy
                self._write()
        return np.array([self._known[name] for name in names])

    def evaluate(self, genotype: NDArray[Any]) -> float:
        """Accuracy of one genotype, computed whether it is known or not; rounded, as it will be read back."""
        return round(float(evaluate_subnets(self.supernet, genotype[None], self.data)[0]), 6)

    def _here(
        self, population: Population, evaluate: Callable[[NDArray[Any]], float], progress: Progress | None
    ) -> Iterator[tuple[str, float]]:
        for done, row in enumerate(population):
            yield self.supernet.space.format(row), evaluate(row)
            if progress is not None:
                progress(done + 1, len(population))

    @property
    def identity(self) -> "SupernetIdentity":
        """Of the supernet and its images: what workers are asked for."""
        from nas.evaluation.queue import SupernetIdentity

        return SupernetIdentity(str(self._folder), self._weights, self.data.fingerprint)

    @property
    def known(self) -> Population:
        """Genotypes whose accuracy is known, shape ``(n, n_genes)``."""
        space = self.supernet.space
        rows = [space.parse(name) for name in self._known]
        return np.array(rows, dtype=np.int16).reshape(-1, len(space.genes))

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


def _queue(storage: str, identity: "SupernetIdentity") -> "EvaluationQueue":
    from nas.evaluation.queue import EvaluationQueue  # Optuna, which takes a second to import

    return EvaluationQueue.of(storage, identity)
