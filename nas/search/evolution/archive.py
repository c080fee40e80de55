"""Everything a search has evaluated, each network once.

A network is recognised by a 64-bit hash of its canonical genotype. The hash is a dot product with fixed
odd numbers modulo 2**64, the same in every process whatever PYTHONHASHSEED; two networks of a search
collide with probability below 1e-9; one of them would then be left out.
"""

from functools import cache
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from search_spaces import Population


class Scores(NamedTuple):
    """Objectives and violations of n networks.

    Attributes
    ----------
    objectives : (n, m), minimised.
    violations : (n, c), > 0 means violated; c may be 0.
    """

    objectives: NDArray[np.float64]
    violations: NDArray[np.float64]

    def of(self, index: NDArray[np.intp] | slice) -> "Scores":
        """Those of some of the networks."""
        return Scores(self.objectives[index], self.violations[index])


def row_keys(population: NDArray[Any]) -> NDArray[np.uint64]:
    """A 64-bit key of every row, shape ``(n,)``; equal rows have equal keys."""
    return np.asarray(population.astype(np.uint64) @ _factors(population.shape[1]))


@cache
def _factors(n_genes: int) -> NDArray[np.uint64]:
    rng = np.random.default_rng(0x5EED)
    return rng.integers(0, 2**63, size=n_genes, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


class Archive:
    """Evaluated networks in the order of their evaluation.

    Attributes
    ----------
    population : int16 (n, n_genes), canonical.
    scores : objectives and violations.
    generations : rows known at the end of each generation, for convergence plots.
    interrupted : the search was stopped by the user; what is here is the best so far.
    """

    def __init__(self) -> None:
        self._rows = np.empty((0, 0), dtype=np.int16)
        self._objectives = self._violations = np.empty((0, 0))
        self._numbers: dict[int, int] = {}  # of the networks, by key
        self.generations: list[int] = []
        self.interrupted = False

    def __len__(self) -> int:
        return len(self._numbers)

    def find(self, canonical: Population) -> NDArray[np.intp]:
        """Which evaluated network each row is, shape (n,); -1 where it is none."""
        keys = row_keys(canonical).tolist()
        return np.fromiter(map(self._numbers.get, keys, repeat(-1)), dtype=np.intp, count=len(keys))

    def unseen(self, canonical: Population) -> Population:
        """The rows that are not in the archive, each once, in their order."""
        rows = canonical[self.find(canonical) < 0]
        keys = row_keys(rows).tolist()
        return rows[sorted(dict(zip(reversed(keys), reversed(range(len(keys))), strict=True)).values())]

    def add(self, unseen: Population, scores: Scores) -> None:
        """Append networks that `unseen` returned, with their scores.

        Raises
        ------
        ValueError : a score is not a finite number.
        """
        if not (np.isfinite(scores.objectives).all() and np.isfinite(scores.violations).all()):
            raise ValueError("a predictor returned a value that is not a finite number; fit it again")
        n, more = len(self), len(unseen)
        if n + more > len(self._rows):
            room = 2 * (n + more)  # doubled, so that adding stays cheap
            self._rows = _with_room(self._rows[:n], unseen, room)
            self._objectives = _with_room(self._objectives[:n], scores.objectives, room)
            self._violations = _with_room(self._violations[:n], scores.violations, room)
        self._rows[n : n + more] = unseen
        self._objectives[n : n + more], self._violations[n : n + more] = scores
        self._numbers.update(zip(row_keys(unseen).tolist(), range(n, n + more), strict=True))
        self.generations.append(len(self))

    @property
    def population(self) -> Population:
        """int16 (n, n_genes)."""
        return self._known(self._rows)

    @property
    def scores(self) -> Scores:
        """Objectives and violations of every row."""
        return Scores(self.objectives, self._known(self._violations))

    @property
    def objectives(self) -> NDArray[np.float64]:
        """(n, m), minimised."""
        return self._known(self._objectives)

    def _known(self, table: NDArray[Any]) -> NDArray[Any]:
        if not len(self):
            raise ValueError("the search was stopped before it evaluated anything")
        return table[: len(self)]

    @property
    def violation(self) -> NDArray[np.float64]:
        """Sum of what each network is over its limits, shape (n,); 0 means feasible."""
        return total_violation(self.scores.violations)

    @property
    def feasible(self) -> NDArray[np.bool_]:
        """Which networks keep every limit, shape (n,)."""
        return np.asarray(self.violation == 0)

    @property
    def best(self) -> int:
        """Index of the feasible network with the least first objective, else of the least violation."""
        return int(np.lexsort((self.objectives[:, 0], self.violation))[0])

    def convergence(self) -> NDArray[np.float64]:
        """Best feasible first objective after each generation, (n_generations, 2): evaluations, objective.

        Infinite while nothing feasible was known.
        """
        value = np.where(self.feasible, self.objectives[:, 0], np.inf)
        ends = np.array(self.generations, dtype=np.intp)
        return np.stack([ends, np.minimum.accumulate(value)[ends - 1]], axis=1)


def _with_room(known: NDArray[Any], more: NDArray[Any], room: int) -> NDArray[Any]:
    """`known` in a table of `room` rows like those of `more`."""
    grown = np.empty((room, *more.shape[1:]), dtype=more.dtype)
    if len(known):
        grown[: len(known)] = known
    return grown


def total_violation(violations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the positive parts over the limits, (n,)."""
    return np.asarray(np.maximum(violations, 0).sum(axis=1))
