"""Local search: a network's operators changed where an additive model of the objective says that it pays.

Within the limits the best change by the model is a knapsack (`nas.search.evolution.knapsack`); as the model holds only
nearby, an operator is changed only where that promises enough (sequential linear programming with a penalty on the
step, https://doi.org/10.1007/BF01582292). Every proposal is evaluated, and taken only if it is better. Evolution with
such steps is a memetic algorithm (https://doi.org/10.1007/978-3-642-23247-3).
"""

import numpy as np

from nas.search.evolution.archive import total_violation
from nas.search.evolution.choices import Floats, OperatorChoices
from nas.search.evolution.evaluation import Evaluator, Numbers
from nas.search.evolution.knapsack import Knapsack
from nas.search.evolution.surrogate import AdditiveModel
from search_spaces import Population

_UNFINISHED = 6  # one in so many children, the best, is improved further after a step
# In standard deviations of what operators add.
_ENOUGH = 0.7  # a smaller one changes more operators at once than the model can judge together
_NOISE = 0.3  # Gumbel noise on what is promised to random structures, so that they differ in more than that


class LocalSearch:
    """Improves networks step by step.

    Parameters
    ----------
    choices : of the space.
    evaluate : the evaluator; its limits cost next to nothing to judge.
    children : networks that a step begins with, at most: the most promising.
    rng : source of all randomness.

    Attributes
    ----------
    unfinished : networks that the last step improved and the next one goes on from.
    """

    def __init__(self, choices: OperatorChoices, evaluate: Evaluator, children: int, rng: np.random.Generator) -> None:
        self._choices, self._evaluate, self._children, self._rng = choices, evaluate, children, rng
        self._violations = evaluate.score.violations
        self._knapsack = Knapsack(choices, self._violations)
        self.reset()

    def reset(self) -> None:
        """Leave what is unfinished."""
        self.unfinished: Numbers = np.empty(0, dtype=np.intp)

    def fill(self, structures: Population, model: AdditiveModel) -> Population:
        """A network of each structure within the limits, with operators chosen by the model and noise."""
        gains, scale = self._choices.gains(model.weights)
        noise = self._rng.gumbel(size=(len(structures), *gains.shape)).astype(np.float32)
        noisy = gains - np.float32(_NOISE * scale) * noise
        return self._knapsack(structures, self._violations(structures), noisy, scale, self._rng)

    def propose(self, rows: Population, violations: Floats, model: AdditiveModel) -> Population:
        """A network of the same structure for each, shape ``(n, n_genes)``; the same where nothing promises enough.

        Parameters
        ----------
        rows : (n, n_genes), canonical.
        violations : theirs, (n, c).
        model : of the objective.
        """
        gains, scale = self._choices.gains(model.weights)
        gains = np.repeat(gains[None], len(rows), axis=0)
        own = self._choices.numbers(rows)[:, :, None]
        stay = np.take_along_axis(gains, own, axis=2) - np.float32(_ENOUGH * scale)
        np.put_along_axis(gains, own, stay, axis=2)
        return self._knapsack(rows, violations, gains, scale, self._rng)

    def step(self, children: Population, model: AdditiveModel) -> Numbers:
        """Improve the most promising new children and what is unfinished by one step.

        Returns
        -------
        Numbers of the better one of each, before or after.
        """
        archive = self._evaluate.archive
        children = model.best(self._evaluate.within_limits(children), self._children)
        rows = np.concatenate([archive.population[self.unfinished], children])
        if not len(rows):
            return self.unfinished
        violations = np.concatenate([archive.scores.violations[self.unfinished], self._violations(children)])
        before = np.concatenate([self.unfinished, np.full(len(children), -1)])
        proposals = self.propose(rows, violations, model)
        # What is known already needs no step: a child is then evaluated as it is, an unfinished network is finished.
        known = archive.find(proposals) >= 0
        proposals[known] = rows[known]
        self._evaluate(proposals)
        options = np.stack([before, archive.find(proposals)], axis=1)
        better = options[np.arange(len(options)), self._ranks(options).argmin(axis=1)]
        improved = np.unique(better[better != before])
        self.unfinished = improved[np.argsort(self._ranks(improved), kind="stable")[: self._children // _UNFINISHED]]
        return np.unique(better[better >= 0])

    def _ranks(self, numbers: Numbers) -> Numbers:
        """The place of each among all from the best to the worst, in the shape given; unknown networks (-1) last."""
        flat = numbers.ravel()
        known = self._evaluate.archive.scores.of(flat)
        order = np.lexsort((known.objectives[:, 0], total_violation(known.violations), flat < 0))
        ranks = np.empty(len(flat), dtype=np.intp)
        ranks[order] = np.arange(len(flat))
        return ranks.reshape(numbers.shape)
