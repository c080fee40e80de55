"""Vectorised constrained evolution over genotypes, for one best network or for a whole front.

A generation is a handful of array operations over all its children; nothing loops over individuals.
Where the limits can be judged without the objective, many more children are bred than evaluated: those
beyond a limit are dropped, and an additive model picks the promising ones (see `nas.search.preselection`). Then
everything around the fittest parents is tried (`nas.search.local_step`; memetic search, https://doi.org/10.1007/978-3-642-23247-3).
Of networks with the same depths and resolution only the fittest few survive (clearing,
https://doi.org/10.1109/ICEC.1996.542703): from one such structure to another it takes many changes at once, so a
search that keeps one only ends at its optimum.
Constraints follow Deb's rules (https://doi.org/10.1016/S0045-7825(99)00389-8): feasible beats infeasible,
then less violation, then the objective. Whole fronts use NSGA-II's ranking
(https://doi.org/10.1109/4235.996017). Networks are canonical and none is evaluated twice. Deterministic
for a given generator; Ctrl-C returns the best so far.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from nas.search.archive import Archive, Scores, row_keys, total_violation
from nas.search.local_step import LocalStep
from nas.search.pareto import crowding_distance, non_dominated_rank
from nas.search.places import Places
from nas.search.preselection import AdditiveModel, SplitScore
from search_spaces import Population, SearchSpace

Score = Callable[[Population], Scores]
_REFIT_EVERY = 3  # generations; a fit costs about as much as the evaluations of one
_CROSS_EVERY = 3  # restarts
_STRUCTURES = 12  # that share the parents' places, at least
_FILLED = 6  # structures that a restart fills, for each parent
_BAND = 0.3  # of the budget: founders that leave more of it unused tell little about those that use it up

Order = Callable[[Scores], NDArray[np.intp]]
"""Indices from fittest to least fit."""


@dataclass(frozen=True)
class EvolutionSettings:
    """How a search spends its evaluations.

    Attributes
    ----------
    evaluations : networks evaluated at most.
    parents : networks that survive a generation.
    children : networks evaluated in a generation.
    litter : networks bred for each child evaluated, where the score lets children be chosen among.
    steps : parents around which everything is tried in a generation, where the score lets children be chosen
        among; 0 where few evaluations can be had.
    changes : genes that a mutation redraws, on average.
    patience : generations without a better network before the search restarts.
    """

    evaluations: int = 20_000
    parents: int = 60
    children: int = 40
    litter: int = 3
    steps: int = 2
    changes: float = 2.0
    patience: int = 8

    def __post_init__(self) -> None:
        for name in ("evaluations", "parents", "children", "litter", "changes", "patience"):
            if not getattr(self, name) > 0:
                raise ValueError(f"search setting {name} must be positive, got {getattr(self, name)}")
        if self.steps < 0:
            raise ValueError(f"search setting steps must be at least 0, got {self.steps}")


def by_constraint_domination(scores: Scores) -> NDArray[np.intp]:
    """Feasible first by the first objective, then the others by how much they violate."""
    return np.lexsort((scores.objectives[:, 0], total_violation(scores.violations)))


def by_rank_and_crowding(scores: Scores) -> NDArray[np.intp]:
    """NSGA-II: feasible first by front, loneliest first within a front; then the others by violation."""
    violation = total_violation(scores.violations)
    feasible = violation == 0
    rank = np.zeros(len(violation), dtype=np.int64)
    crowding = np.zeros(len(violation))
    if feasible.any():
        rank[feasible] = non_dominated_rank(scores.objectives[feasible])
        crowding[feasible] = crowding_distance(scores.objectives[feasible], rank[feasible])
    return np.lexsort((-crowding, rank, violation))


def evolve(
    space: SearchSpace,
    score: Score,
    *,
    rng: np.random.Generator,
    settings: EvolutionSettings = EvolutionSettings(),
    start: Population | None = None,
) -> Archive:
    """Search for the network with the least first objective that keeps all limits.

    Parameters
    ----------
    space : where to search.
    score : objectives (minimised) and violations (> 0 means violated) of a population. A `SplitScore` is
        searched with several times fewer evaluations.
    rng : source of all randomness.
    settings : see `EvolutionSettings`.
    start : genotypes (n, n_genes) worth trying first.

    Returns
    -------
    Archive : everything evaluated; ``archive.best`` is the answer.
    """
    search = _Search(space, score, by_constraint_domination, rng, settings, one_best=True)
    if isinstance(score, SplitScore):
        search.preselect = score
        search.local = LocalStep(search.places, score.violations)
    return search.run(start)


def evolve_front(
    space: SearchSpace,
    score: Score,
    *,
    rng: np.random.Generator,
    settings: EvolutionSettings = EvolutionSettings(),
    start: Population | None = None,
) -> Archive:
    """Search for the whole Pareto front of two or more objectives; parameters as for `evolve`."""
    return _Search(space, score, by_rank_and_crowding, rng, settings, one_best=False).run(start)


class _Search:
    """The loop that both searches share; they differ in what counts as fit.

    With `one_best` it restarts when nothing improves, and of each structure only some survive: a front stays
    diverse by itself.
    """

    def __init__(
        self,
        space: SearchSpace,
        score: Score,
        order: Order,
        rng: np.random.Generator,
        settings: EvolutionSettings,
        *,
        one_best: bool,
    ) -> None:
        self.space, self.score, self.order, self.rng, self.settings = space, score, order, rng, settings
        self.one_best = one_best
        self.places = Places(space)
        self.structure = self.places.structure if one_best else []
        n_structures = float(np.prod(space.n_choices[self.structure], dtype=np.float64))
        self.alike = -(-settings.parents // int(min(n_structures, _STRUCTURES)))
        self.archive = Archive()
        self.rate = min(1.0, settings.changes / len(space.genes))
        self.preselect: SplitScore | None = None
        self.local: LocalStep | None = None
        self.explored: set[bytes] = set()  # parents around which everything was tried
        self.model: AdditiveModel | None = None
        self.champions: list[Population] = []
        self.since = 0  # networks known at the last restart

    def run(self, start: Population | None) -> Archive:
        # The matrices are small: more threads gain nothing on an idle machine, and on a busy one they wait for
        # each other (measured: 5 times slower). One thread also rounds the same way whatever the core count.
        with threadpool_limits(1, user_api="blas"), suppress(KeyboardInterrupt):
            self.archive.interrupted = True
            self._run(start)
            self.archive.interrupted = False
        return self.archive

    def _run(self, start: Population | None) -> None:
        first = self._founders()
        if start is not None:
            first = np.concatenate([self.space.canonical(start), first])
        parents, scores = self._evaluate(self._promising(first))
        stale, barren, champion = 0, 0, self._fitness(scores)
        for generation in count():
            if len(self.archive) >= self.settings.evaluations or barren >= self.settings.patience:
                return
            if self.preselect is not None and champion[0] == 0 and generation % _REFIT_EVERY == 0:
                self._learn()
            children, child_scores = self._evaluate(self._promising(self._breed(parents)))
            # A small space runs out of networks: that, not stagnation, is the other way to be done.
            barren = 0 if len(children) else barren + 1
            parents, scores = self._select(parents, scores, children, child_scores)
            for _ in range(self.settings.steps if self.model is not None else 0):
                parents, scores = self._explore(parents, scores)
            fittest = self._fitness(scores)
            stale = 0 if fittest < champion else stale + 1
            champion = min(champion, fittest)
            if self.one_best and stale >= self.settings.patience:
                known, model, self.model = len(self.archive), self.model, None
                self.champions.append(parents[0])
                # In turn from new networks and from crosses of what earlier starts ended at.
                again = self._founders(model) if len(self.champions) % _CROSS_EVERY else self._crosses()
                founders, founder_scores = self._evaluate(self._promising(again))
                if len(founders):  # what was found so far stays in the archive
                    self.since = known
                    parents, scores = founders, founder_scores
                    stale, champion = 0, self._fitness(scores)

    def _founders(self, model: AdditiveModel | None = None) -> Population:
        """Networks to start from: random ones, or random structures filled as the last start's model says."""
        n, rng = self.settings.parents, self.rng
        if self.local is not None and model is not None:
            return self.local.fills(self.space.sample(_FILLED * n, rng), model, rng)
        if self.preselect is not None:
            # Two for each column that the model weighs, screened from several times as many.
            wanted = 2 * max(n, self.space.encoding_width)
            n = 2 * wanted
        sample = self.space.sample(n, rng)
        # Random networks all cost about the same; mixing them with the extremes covers the range.
        ends = np.stack([self.space.min, self.space.max])
        mixed = self.space.crossover(sample, ends[rng.integers(0, 2, n)], rng)
        founders = np.concatenate([ends, sample, mixed])
        if self.preselect is None:
            return founders
        over = self.preselect.violations(founders).max(axis=1, initial=-np.inf)
        near = np.argsort(np.where(over > 0, over, np.maximum(-_BAND - over, 0)), kind="stable")
        return founders[near[:wanted]]

    def _crosses(self) -> Population:
        ends = np.stack(self.champions)
        mother, father = self.rng.integers(0, len(ends), size=(2, 2 * self.settings.parents))
        return self.space.mutate(self.space.crossover(ends[mother], ends[father], self.rng), self.rate, self.rng)

    def _evaluate(self, population: Population) -> tuple[Population, Scores]:
        rows = self.archive.unseen(population)[: self.settings.evaluations - len(self.archive)]
        if not len(rows):  # only after the first batch; predictors need not cope with empty ones
            return rows, _rows(self.archive.scores, slice(0))
        scores = self.score(rows)
        self.archive.add(rows, scores)
        order = self.order(scores)
        return rows[order], _rows(scores, order)

    def _learn(self) -> None:
        feasible = self.since + np.flatnonzero(self.archive.feasible[self.since :])
        self.model = AdditiveModel(self.space, self.archive.population[feasible], self.archive.objectives[feasible, 0])

    def _promising(self, rows: Population) -> Population:
        """The rows worth an evaluation; none is left out while nothing feasible is known."""
        if self.preselect is None or not len(rows := self.archive.unseen(rows)):
            return rows
        feasible = total_violation(self.preselect.violations(rows)) == 0
        if feasible.any() or self.model is not None:
            rows = rows[feasible]
        return rows if self.model is None else self.model.best(rows, self.settings.children)

    def _breed(self, parents: Population) -> Population:
        n = self.settings.children * (self.settings.litter if self.model is not None else 1)
        mother, father = (self._tournament(len(parents), n) for _ in range(2))
        children = parents[mother]
        crossed = self.rng.random(n) < 0.5
        children[crossed] = self.space.crossover(parents[mother[crossed]], parents[father[crossed]], self.rng)
        return self.space.mutate(children, self.rate, self.rng)

    def _explore(self, parents: Population, scores: Scores) -> tuple[Population, Scores]:
        """Try everything around the fittest parent for which that was not done yet, and select again."""
        fresh = (i for i, row in enumerate(parents) if row.tobytes() not in self.explored)
        if self.local is None or self.model is None or (first := next(fresh, None)) is None:
            return parents, scores
        parent, own = parents[first], _rows(scores, slice(first, first + 1))
        self.explored.add(parent.tobytes())
        singles = self.places.changed(parent)
        tried = [self._evaluate(singles)]
        known = self.archive.find(singles)
        if (known >= 0).all():  # else no evaluations are left
            around = _rows(self.archive.scores, known)
            n = self.settings.children
            same, others = self.local.combinations(parent, own, singles, around, self.model, n, self.rng)
            tried.append(self._evaluate(self.archive.unseen(same)[:n]))
            tried.append(self._evaluate(others))
        for rows, found in tried:
            parents, scores = self._select(parents, scores, rows, found)
        return parents, scores

    def _tournament(self, n_parents: int, n: int) -> NDArray[np.intp]:
        # Parents stand in order of fitness, so the winner of two is the one with the smaller index.
        return np.asarray(self.rng.integers(0, n_parents, size=(2, n)).min(axis=0))

    def _select(
        self, parents: Population, scores: Scores, children: Population, child_scores: Scores
    ) -> tuple[Population, Scores]:
        rows, scores = _join(parents, scores, children, child_scores)
        order = self.order(scores)
        if self.structure:
            order = order[_number_among_equals(row_keys(rows[order][:, self.structure])) < self.alike]
        order = order[: self.settings.parents]
        return rows[order], _rows(scores, order)

    def _fitness(self, scores: Scores) -> tuple[float, float]:
        """Violation and first objective of the fittest; rows stand in order of fitness."""
        return float(total_violation(scores.violations)[0]), float(scores.objectives[0, 0])


def _number_among_equals(keys: NDArray[np.uint64]) -> NDArray[np.intp]:
    """How many equal keys stand before each, shape (n,)."""
    order = np.argsort(keys, kind="stable")
    new = np.append(True, keys[order][1:] != keys[order][:-1])
    places = np.arange(len(keys))
    number = np.empty(len(keys), dtype=np.intp)
    number[order] = places - np.maximum.accumulate(np.where(new, places, 0))
    return number


def _rows(scores: Scores, index: NDArray[np.intp] | slice) -> Scores:
    return Scores(scores.objectives[index], scores.violations[index])


def _join(a: Population, a_scores: Scores, b: Population, b_scores: Scores) -> tuple[Population, Scores]:
    objectives, violations = (np.concatenate(pair) for pair in zip(a_scores, b_scores, strict=True))
    return np.concatenate([a, b]), Scores(objectives, violations)
