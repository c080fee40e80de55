"""Vectorised constrained evolution over genotypes, for one best network or for a whole front.

A generation is a handful of array operations over all its children; nothing loops over individuals.
Where the limits can be judged without the objective, children go downhill before they compete, along the slopes of
the objective (`nas.search.evolution.local_search`; memetic search, https://doi.org/10.1007/978-3-642-23247-3): those of
the score itself if it tells them, else those of an additive model of what is known, which then also picks the promising
ones of many more children than are evaluated (`nas.search.evolution.surrogate`).
Of networks that differ in little only the fittest survives (clearing, https://doi.org/10.1109/ICEC.1996.542703):
a population of near relatives would end at the first optimum that one of them finds.
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

from nas.search.evolution.archive import Archive, Scores, total_violation
from nas.search.evolution.choices import Places
from nas.search.evolution.local_search import Descent
from nas.search.evolution.pareto import crowding_distance, non_dominated_rank
from nas.search.evolution.surrogate import AdditiveModel, SlopedScore, SplitScore
from search_spaces import Population, SearchSpace

Score = Callable[[Population], Scores]
_REFIT_EVERY = 3  # generations; a fit costs about as much as the evaluations of one
_CROSS_EVERY = 3  # restarts
_FILLED = 6  # random structures at a start, for each parent
_GO_ON = 6  # one in so many children goes on downhill after a step: the fittest
# Of its operators, in which a network differs from all fitter ones, at least, to survive. Slopes of its own lead
# each to the end of its way; those of a model are the same everywhere, and near relatives try what is left.
_APART, _APART_BY_MODEL = 0.25, 0.1
_BAND = 0.3  # of the budget: founders that leave more of it unused tell little about those that use it up

Numbers = NDArray[np.intp]
"""Networks by where they stand in the archive."""
Order = Callable[[Scores], NDArray[np.intp]]
"""Indices from fittest to least fit."""


@dataclass(frozen=True)
class EvolutionSettings:
    """How a search spends its evaluations.

    Attributes
    ----------
    evaluations : networks evaluated at most.
    parents : networks that survive a generation.
    children : networks bred in a generation, or still going downhill.
    litter : networks bred for each of them, where an additive model lets children be chosen among.
    changes : genes that a mutation redraws, on average.
    patience : generations without a better network before the search restarts.
    """

    evaluations: int = 20_000
    parents: int = 60
    children: int = 180
    litter: int = 3
    changes: float = 2.0
    patience: int = 40

    def __post_init__(self) -> None:
        for name in ("evaluations", "parents", "children", "litter", "changes", "patience"):
            if not getattr(self, name) > 0:
                raise ValueError(f"search setting {name} must be positive, got {getattr(self, name)}")


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
        searched with several times fewer evaluations, a `SlopedScore` with fewer still.
    rng : source of all randomness.
    settings : see `EvolutionSettings`.
    start : genotypes (n, n_genes) worth trying first.

    Returns
    -------
    Archive : everything evaluated; ``archive.best`` is the answer.
    """
    return _Search(space, score, by_constraint_domination, rng, settings, one_best=True).run(start)


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

    With `one_best` it restarts when nothing improves, and of near relatives only the fittest survives: a front stays
    diverse by itself. Networks are known by where they stand in the archive.
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
        self.archive = Archive()
        self.rate = min(1.0, settings.changes / len(space.genes))
        self.split = score if one_best and isinstance(score, SplitScore) else None
        self.sloped = score if one_best and isinstance(score, SlopedScore) else None
        apart = _APART if self.sloped else _APART_BY_MODEL
        self.apart = round(apart * (len(space.tokens) + len(self.places.context)))
        self.descent = Descent(self.places, self.split.violations) if self.split else None
        self.model: AdditiveModel | None = None
        self.champions: list[Population] = []
        self.moving = np.empty(0, dtype=np.intp)  # networks that are going downhill

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
        parents = self._populate(self._evaluate(self._promising(first)))
        stale, barren, champion = 0, 0, self._fitness(parents)
        for generation in count():
            if len(self.archive) >= self.settings.evaluations or barren >= self.settings.patience:
                return
            if self.split and not self.sloped and champion[0] == 0 and generation % _REFIT_EVERY == 0:
                self.model = self._learn()
            known = len(self.archive)
            parents = self._select(np.concatenate([parents, self._bear(self._breed(parents))]))
            # A small space runs out of networks: that, not stagnation, is the other way to be done.
            barren = 0 if len(self.archive) > known else barren + 1
            fittest = self._fitness(parents)
            stale = 0 if fittest < champion else stale + 1
            champion = min(champion, fittest)
            if self.one_best and stale >= self.settings.patience:
                known, self.moving = len(self.archive), self.moving[:0]
                self.champions.append(self.archive.population[parents[0]])
                fresh = self._restart(parents)
                fresh = fresh[fresh >= known]
                if len(fresh):  # what was found so far stays in the archive
                    parents = self._select(fresh)
                    stale, champion = 0, self._fitness(parents)

    def _restart(self, parents: Numbers) -> Numbers:
        """In turn from new networks and from crosses of what earlier starts ended at."""
        if len(self.champions) % _CROSS_EVERY == 0:
            return self._bear(self._crosses())
        return self._populate(parents) if self.descent else self._evaluate(self._founders())

    def _founders(self) -> Population:
        """Networks to start from: random ones, over the range of costs or near the limits where those are known."""
        n, rng = self.settings.parents, self.rng
        if self.split:
            # A model needs two for each column that it weighs. Screened from several times as many.
            wanted = n if self.sloped else 2 * max(n, self.space.encoding_width)
            n = 2 * wanted
        sample = self.space.sample(n, rng)
        # Random networks all cost about the same; mixing them with the extremes covers the range.
        ends = np.stack([self.space.min, self.space.max])
        mixed = self.space.crossover(sample, ends[rng.integers(0, 2, n)], rng)
        founders = np.concatenate([ends, sample, mixed])
        if not self.split:
            return founders
        over = self.split.violations(founders).max(axis=1, initial=-np.inf)
        near = np.argsort(np.where(over > 0, over, np.maximum(-_BAND - over, 0)), kind="stable")
        return founders[near[:wanted]]

    def _populate(self, known: Numbers) -> Numbers:
        """The first parents: the fittest of what is known, or random structures filled and gone downhill."""
        if not self.descent or not len(known):
            return self._select(known)
        rows = self.archive.population[known]
        model = AdditiveModel(self.space, self.sloped.slopes(rows).mean(axis=0)) if self.sloped else self._learn()
        structures = self.space.sample(_FILLED * self.settings.parents, self.rng)
        filled = self.descent.fills(structures, model.weights, self.rng)
        self.model = None if self.sloped else model
        return self._select(np.concatenate([known, self._bear(model.best(filled, 2 * self.settings.parents))]))

    def _crosses(self) -> Population:
        ends = np.stack(self.champions)
        mother, father = self.rng.integers(0, len(ends), size=(2, 2 * self.settings.parents))
        return self.space.mutate(self.space.crossover(ends[mother], ends[father], self.rng), self.rate, self.rng)

    def _evaluate(self, population: Population) -> Numbers:
        """Add what is new of the population to the archive; returns the numbers it has there."""
        known = len(self.archive)
        rows = self.archive.unseen(population)[: self.settings.evaluations - known]
        if len(rows) or not known:  # only the first batch may be empty; predictors need not cope with that
            self.archive.add(rows, self.score(rows))
        return np.arange(known, len(self.archive))

    def _learn(self) -> AdditiveModel:
        feasible = self.archive.feasible
        known = feasible if feasible.any() else slice(None)
        return AdditiveModel.fitted(self.space, self.archive.population[known], self.archive.objectives[known, 0])

    def _promising(self, rows: Population) -> Population:
        """The rows worth an evaluation; none is left out while nothing feasible is known."""
        if not self.split or not len(rows := self.archive.unseen(rows)):
            return rows
        feasible = total_violation(self.split.violations(rows)) == 0
        if feasible.any() or (len(self.archive) and self.archive.feasible.any()):
            rows = rows[feasible]
        return rows if self.model is None else self.model.best(rows, self.settings.children)

    def _breed(self, parents: Numbers) -> Population:
        n = max(self.settings.children - len(self.moving), 0) * (self.settings.litter if self.model is not None else 1)
        mother, father = (self.archive.population[parents[self._tournament(len(parents), n)]] for _ in range(2))
        return self.space.mutate(self.space.crossover(mother, father, self.rng), self.rate, self.rng)

    def _bear(self, children: Population) -> Numbers:
        """What becomes of the children that are worth it, by their numbers in the archive."""
        if not self.descent or not (slopes := self.sloped or self.model):
            return self._evaluate(self._promising(children))
        children = self.archive.unseen(children) if self.sloped else self._promising(children)
        return self._descend(self.descent, slopes, children)

    def _descend(self, descent: Descent, slopes: SlopedScore | AdditiveModel, children: Population) -> Numbers:
        """One step downhill for the children and for all that are on their way; the numbers of where they are now."""
        rows = np.concatenate([self.archive.population[self.moving], children])
        if not len(rows):
            return self.moving
        violations = np.concatenate([self.archive.scores.violations[self.moving], descent.violations(children)])
        at = np.concatenate([self.moving, np.full(len(children), -1)])
        proposals = descent.proposals(rows, violations, slopes.slopes(rows), self.rng)
        # Another went there before: then a child is tried as it is, and one on its way has arrived.
        known = self.archive.find(proposals) >= 0
        proposals[known] = rows[known]
        self._evaluate(proposals)
        options = np.stack([at, self.archive.find(proposals)], axis=1)
        best = options[np.arange(len(options)), self._ranks(options).argmin(axis=1)]
        moved = np.unique(best[best != at])
        self.moving = moved[np.argsort(self._ranks(moved), kind="stable")[: self.settings.children // _GO_ON]]
        return np.unique(best[best >= 0])

    def _ranks(self, numbers: Numbers) -> Numbers:
        """Which is how fit among all, in the shape given; unknown networks (-1) last, equal ones in order."""
        flat = numbers.ravel()
        known = _rows(self.archive.scores, flat)
        order = np.lexsort((known.objectives[:, 0], total_violation(known.violations), flat < 0))
        ranks = np.empty(len(flat), dtype=np.intp)
        ranks[order] = np.arange(len(flat))
        return ranks.reshape(numbers.shape)

    def _tournament(self, n_parents: int, n: int) -> NDArray[np.intp]:
        # Parents stand in order of fitness, so the winner of two is the one with the smaller index.
        return np.asarray(self.rng.integers(0, n_parents, size=(2, n)).min(axis=0))

    def _select(self, numbers: Numbers) -> Numbers:
        """The fittest of these networks, in order of fitness; none of them much like a fitter one."""
        numbers = np.unique(numbers)
        numbers = numbers[self.order(_rows(self.archive.scores, numbers))]
        if self.one_best:
            encoded = self.space.encode(self.archive.population[numbers])
            size = encoded.sum(axis=1)
            differ = np.maximum(size[:, None], size) - encoded @ encoded.T
            numbers = numbers[~np.tril(differ < self.apart, -1).any(axis=1)]
        return numbers[: self.settings.parents]

    def _fitness(self, parents: Numbers) -> tuple[float, float]:
        """Violation and first objective of the fittest."""
        best = _rows(self.archive.scores, parents[:1])
        return float(total_violation(best.violations)[0]), float(best.objectives[0, 0])


def _rows(scores: Scores, index: NDArray[np.intp] | slice) -> Scores:
    return Scores(scores.objectives[index], scores.violations[index])
