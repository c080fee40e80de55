"""What a strategy may ask of networks: objectives and limits, each network once, up to a number of evaluations."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nas.search.evolution.archive import Archive, Scores, total_violation
from search_spaces import Population

Numbers = NDArray[np.intp]
"""Networks by their row in the archive."""


class Score(Protocol):
    """Objectives and limits of networks; limits cost next to nothing to judge, objectives may cost more."""

    def objectives(self, population: Population) -> NDArray[np.float64]:
        """Shape (n, m), minimised."""

    def violations(self, population: Population) -> NDArray[np.float64]:
        """Shape (n, c), > 0 means violated; c may be 0."""


class Evaluator:
    """Evaluates networks into an archive, none twice, until as many are known as allowed.

    Parameters
    ----------
    score : of populations.
    most : networks evaluated at most.

    Attributes
    ----------
    archive : everything evaluated.
    """

    def __init__(self, score: Score, most: int) -> None:
        self.score, self.most = score, most
        self.archive = Archive()

    @property
    def done(self) -> bool:
        """Whether no evaluation is left."""
        return len(self.archive) >= self.most

    def __call__(self, population: Population) -> Numbers:
        """Evaluate what is new of canonical networks (n, n_genes), as far as evaluations are left; its numbers."""
        known = len(self.archive)
        rows = self.archive.unseen(population)[: self.most - known]
        if len(rows) or not known:  # only the first population may be empty; predictors need not cope with that
            self.archive.add(rows, Scores(self.score.objectives(rows), self.score.violations(rows)))
        return np.arange(known, len(self.archive))

    def within_limits(self, population: Population) -> Population:
        """What is new of a population and keeps every limit; all that is new while no network is known to keep them."""
        rows = self.archive.unseen(population)
        if not len(rows):
            return rows
        feasible = total_violation(self.score.violations(rows)) == 0
        if feasible.any() or (len(self.archive) and self.archive.feasible.any()):
            return np.asarray(rows[feasible])
        return rows
