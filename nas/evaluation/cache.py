"""Evaluated subnets, kept beside the supernet: each architecture is evaluated once, by whichever search is first.

Of each both accuracy and calibrated loss are kept, which is finer (see `nas.evaluation.calibrated_loss`).

With the URL of an Optuna storage, workers take part (see `nas.evaluation.queue`).

Accuracy is a fraction in [0, 1], on the search-validation split, with inherited weights and batch-norm
calibrated on training images.
"""

import csv
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from latency_tables.files import read_text, shown, write_text
from nas.data import ImageData
from nas.errors import Failure
from nas.evaluation.accuracy import Evaluation, judge, judge_subnet
from nas.memory import give_back
from nas.progress import SILENT, Listener, Progress
from nas.search.objectives import check_objective
from nas.shipped.card import read_card
from nas.supernet import Subnet, Supernet
from search_spaces import Population

if TYPE_CHECKING:
    from nas.evaluation.queue import EvaluationQueue, SupernetIdentity

FILE = "accuracy.csv"
_LOCK_S = 30
_UNKNOWN = Evaluation(np.nan, np.nan)


class EvaluatedSubnets:
    """Accuracy of a supernet's subnets, computed or looked up.

    Parameters
    ----------
    supernet, data : of one training run.
    folder : of that run.
    storage : URL of a database that evaluations are shared through; None evaluates here alone.
    given : a network that takes the place of the subnet of its architecture.
    objective : what is evaluated, ``accuracy`` or ``balanced_accuracy``; each has a file of its own.
    notes : folder in which ``accuracy.csv`` is kept, by default that of the run; the table is started anew when the
        weights have changed.
    listener : is told when the database is waited for.

    Attributes
    ----------
    folder : of the training run, absolute.

    Raises
    ------
    ValueError : a file is damaged, or there is no such objective.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: ImageData,
        folder: Path,
        storage: str | None = None,
        *,
        given: Subnet | None = None,
        objective: str = "accuracy",
        notes: Path | None = None,
        listener: Listener = SILENT,
    ) -> None:
        self.supernet = supernet
        self.data = data
        self.given = given
        self.objective = check_objective(objective)
        self._path = (notes or folder) / (FILE if objective == "accuracy" else f"{objective}.csv")
        weights = read_card(folder)["sha256"]
        self.folder, self._weights = folder.resolve(), weights
        self._header = ["architecture", f"validation_{objective} of weights {weights[:16]}", "calibrated_loss"]
        self._known = self._read()
        existing = next(path for path in (self._path.parent, *self._path.absolute().parents) if path.exists())
        self._can_keep = os.access(existing, os.W_OK | os.X_OK)
        if not self._can_keep:
            listener.say(f"nothing can be written into {existing}: accuracies are evaluated again next time")
        self._queue = None if storage is None else _queue(storage, self.identity, listener)

    def __call__(self, population: NDArray[Any], progress: Progress | None = None) -> NDArray[np.float64]:
        """Accuracy of each genotype, shape ``(n,)``; `progress` is called with the number done and of all.

        Without labelled images, not-a-number for those that are not in the file.
        """
        space = self.supernet.space
        rows = space.canonical(population)
        names = space.format(rows)
        if not self.data.labelled:
            return np.array([self._known.get(name, _UNKNOWN).accuracy for name in names])
        missing = {name: row for name, row in zip(names, rows, strict=True) if name not in self._known}
        if missing:
            evaluate = self._here if self._queue is None else partial(self._queue, space)
            for name, found in evaluate(np.stack(list(missing.values())), self.evaluate, progress):
                self._keep(name, found)
        return np.array([self._known[name].accuracy for name in names])

    def losses(self, population: NDArray[Any]) -> NDArray[np.float64]:
        """Calibrated loss of genotypes that have been evaluated, shape ``(n,)``; not a number where it is not known."""
        names = self.supernet.space.format(self.supernet.space.canonical(population))
        return np.array([self._known.get(name, _UNKNOWN).loss for name in names])

    def evaluate(self, genotype: NDArray[Any]) -> Evaluation:
        """Of one genotype, computed whether it is known or not; rounded, as it will be read back."""
        if self.given is not None and self.given.architecture == self.supernet.space.format(genotype):
            found = judge(self.given, self.data.validation, self.data, self.objective)
        else:
            found = judge_subnet(self.supernet, genotype, self.data, self.objective)
        give_back()
        return Evaluation(*(round(value, 6) for value in found))

    def _here(
        self, population: Population, evaluate: Callable[[NDArray[Any]], Evaluation], progress: Progress | None
    ) -> Iterator[tuple[str, Evaluation]]:
        for done, row in enumerate(population):
            yield self.supernet.space.format(row), evaluate(row)
            if progress is not None:
                progress(done + 1, len(population))

    @property
    def identity(self) -> "SupernetIdentity":
        """Of the supernet, its images and the objective: what a worker must have."""
        from nas.evaluation.queue import SupernetIdentity

        return SupernetIdentity(str(self.folder), self._weights, self.data.fingerprint, self.objective)

    @property
    def notes(self) -> Path:
        """The folder in which accuracies, and what else is found out about the supernet, are kept."""
        return self._path.parent

    @property
    def known(self) -> Population:
        """Genotypes whose accuracy is known, shape ``(n, n_genes)``."""
        space = self.supernet.space
        rows = [space.parse(name) for name in self._known]
        return np.array(rows, dtype=np.int16).reshape(-1, len(space.genes))

    def _read(self) -> dict[str, Evaluation]:
        if not self._path.exists():
            return {}
        header, *rows = list(csv.reader(read_text(self._path).splitlines())) or [[]]
        if header not in (self._header, self._header[:2]):  # of other weights; accuracy alone was kept at first
            return {}
        known = {}
        for line, row in enumerate(rows, start=2):
            try:
                name, text, *loss = row
                found = Evaluation(float(text), float(loss[0]) if any(loss) else np.nan)
                if len(row) != len(header) or not 0 <= found.accuracy <= 1 or found.loss < 0 or found.loss == np.inf:
                    raise ValueError("an accuracy is 0 to 1, a loss 0 or more")
                known[self.supernet.space.format(self.supernet.space.parse(name))] = found
            except ValueError as error:
                raise ValueError(
                    f"{self._path} is damaged in line {line}: {shown(str(error), 120)}; delete the file, and what was "
                    "in it is evaluated again"
                ) from error
        return known

    def _keep(self, name: str, found: Evaluation) -> None:
        """Add an evaluation to the file, together with those that other searches have added since it was read."""
        self._known[name] = found
        if not self._can_keep:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._path.with_name(f".{self._path.name}.lock"), timeout=_LOCK_S)
        try:
            with lock:
                self._known = self._read() | self._known
                # A few hundred short lines next to a second of evaluation: written whole, a kill leaves no half line.
                lines = [self._header, *([name, *map(_number, known)] for name, known in self._known.items())]
                write_text(self._path, "".join(",".join(line) + "\n" for line in lines))
        except Timeout as error:
            raise Failure(f"another process has held the lock of {self._path} for {_LOCK_S} s; end it") from error


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6f}"


def _queue(storage: str, identity: "SupernetIdentity", listener: Listener) -> "EvaluationQueue":
    from nas.evaluation.queue import EvaluationQueue  # Optuna, which takes a second to import

    return EvaluationQueue.of(storage, identity, listener)
