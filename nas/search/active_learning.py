"""Choosing the subnets that the accuracy predictor learns from: some of all sizes, then rounds near the front.

After FBNetV3's constrained iterative optimisation (CVPR 2021, https://arxiv.org/abs/2006.02049). What a round
evaluates is drawn by Thompson sampling (https://doi.org/10.1093/biomet/25.3-4.285): each subnet is the best within
the budget by one function drawn from the predictor's posterior, so a round tries networks that are predicted to be
good and uncertain ones. Each is predicted before it is evaluated, so the error near the front is of new networks.
Accuracy is a fraction.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from latency_tables.files import write_text
from nas.progress import SILENT, Listener
from nas.search.budget import Budget
from nas.search.evolution.archive import row_keys, total_violation
from nas.search.evolution.settings import EvolutionSettings
from nas.search.evolution.strategies import DEFAULT, run_strategy
from nas.search.feasibility import Feasibility
from nas.search.finalists.proof import AIMED, Evaluate
from nas.search.finalists.proposals import Evaluated
from nas.search.objectives import Objectives
from predictors.accuracy import MIN_OBSERVATIONS, AccuracyPredictor
from predictors.held_out import concordance, coverage
from search_spaces import Population, SearchSpace

FILE = "evaluations.csv"
_POOL = 1000  # the best by prediction, among which every draw finds its own best
_SIZES = 20  # random subnets for each one of the spread


@dataclass(frozen=True)
class EvaluationPlan:
    """How many subnets are evaluated, and when.

    Attributes
    ----------
    evaluations : in all, at most.
    spread : share of them that is spread over all sizes, before the first round.
    rounds : that the others are divided over.
    candidates : networks that a round's search near the front predicts.
    strategy : name of the strategy of these searches; see `nas.search.evolution.strategies`.
    """

    evaluations: int = 80
    spread: float = 0.4
    rounds: int = 6
    candidates: int = 4000
    strategy: str = DEFAULT

    def __post_init__(self) -> None:
        if self.evaluations < MIN_OBSERVATIONS:
            raise ValueError(
                f"--evaluations must be at least {MIN_OBSERVATIONS}, got {self.evaluations}; 80 to 200 are usual"
            )

    @property
    def sizes(self) -> list[int]:
        """Subnets of the spread, then of each round."""
        first = max(MIN_OBSERVATIONS, round(self.spread * self.evaluations))
        rest = self.evaluations - first
        ends = [round(rest * i / self.rounds) for i in range(self.rounds + 1)]
        return [first, *(size for size in np.diff(ends).tolist() if size)]


@dataclass(frozen=True)
class LearntAccuracy:
    """A fitted predictor and what it was fitted to.

    Attributes
    ----------
    predictor : fitted to all.
    table : one row a subnet in the order of evaluation: round (0 is the spread), architecture, predicted_accuracy and
        predicted_accuracy_std (as predicted before the round; not a number in the spread), evaluated_accuracy.
    """

    predictor: AccuracyPredictor
    table: pd.DataFrame

    def record(self) -> dict[str, Any]:
        """The errors near the front and overall, and how the rounds went; ready for JSON."""
        rows = self.table[self.table["round"] > 0]
        overall = self.predictor
        return {
            "evaluations": len(self.table),
            "near_front": _errors(rows) if len(rows) else None,
            "overall": {
                "subnets": overall.n_observations_,
                "rmse": overall.rmse_,
                "kendall_tau": _finite(overall.kendall_tau_),
                "within_one_sigma": overall.coverage_[0],
                "within_two_sigma": overall.coverage_[1],
            },
            "rounds": [
                {
                    "round": number,
                    "evaluations": int((self.table["round"] <= number).sum()),
                    "best_accuracy": float(part["evaluated_accuracy"].max()),
                    "mean_accuracy": float(part["evaluated_accuracy"].mean()),
                    "rmse": _errors(part)["rmse"] if number else None,
                }
                for number in range(int(self.table["round"].max()) + 1)
                if len(part := self.table[self.table["round"] == number])
            ],
        }

    def sentence(self) -> str:
        """The errors in words."""
        record = self.record()
        near, overall = record["near_front"], record["overall"]
        said = (
            f"error {100 * overall['rmse']:.2f} points, rank correlation (Kendall) {self.predictor.kendall_tau_:.2f}, "
            f"each of {overall['subnets']} subnets predicted from the others"
        )
        if near is None:
            return said
        return (
            f"{said}; {100 * near['rmse']:.2f} points near the front, where {near['subnets']} subnets were predicted "
            "before they were evaluated"
        )

    def evaluated(self) -> Evaluated:
        """The subnets with their accuracy."""
        rows = np.stack([self.predictor.space.parse(name) for name in self.table["architecture"]])
        return Evaluated(rows, self.table["evaluated_accuracy"].to_numpy(dtype=np.float64))

    def write(self, folder: Path) -> None:
        """Write the table into `folder`."""
        write_text(folder / FILE, self.table.to_csv(index=False))


def learn_accuracy(
    objectives: Objectives,
    feasibility: Feasibility,
    evaluate: Evaluate,
    *,
    plan: EvaluationPlan = EvaluationPlan(),
    seed: int = 0,
    listener: Listener = SILENT,
) -> LearntAccuracy:
    """Have subnets evaluated, in rounds near the front within a budget, and fit an accuracy predictor to them.

    Parameters
    ----------
    objectives : space, latency and confidence; its accuracy is not looked at.
    feasibility : of the budget that the network is searched for; see `check_feasibility`.
    evaluate : accuracy in [0, 1] of a population, shape (n,).
    plan : how many, and when.
    seed : of all randomness. The same seed evaluates the same subnets, whoever evaluates them.
    listener : is told in a sentence what happens next.
    """
    space, sizes = objectives.space, plan.sizes
    rng = np.random.default_rng([seed, plan.evaluations])
    population = spread_over_sizes(space, sizes[0], rng)
    accuracy = evaluate(population)
    parts = [_rows(space, 0, population, None, accuracy)]
    for number, size in enumerate(sizes[1:], start=1):
        predictor = AccuracyPredictor(space).fit(population, accuracy)
        known = replace(objectives, accuracy=predictor)
        plain = _widest_within(objectives, feasibility.budget, population) if number == 1 else population[:0]
        proposals = _near_front(known, feasibility, np.concatenate([population, plain]), size - len(plain), plan, rng)
        proposals = np.concatenate([plain, proposals])
        if not len(proposals):
            break
        listener.say(f"evaluating near the front, round {number} of {len(sizes) - 1}; subnets: {len(proposals)}")
        found = evaluate(proposals)
        parts.append(_rows(space, number, proposals, predictor, found))
        population, accuracy = np.concatenate([population, proposals]), np.concatenate([accuracy, found])
    return LearntAccuracy(AccuracyPredictor(space).fit(population, accuracy), pd.concat(parts, ignore_index=True))


def learn_from(space: SearchSpace, population: Population, accuracy: NDArray[np.float64]) -> LearntAccuracy:
    """The same from subnets (n, n_genes) whose accuracy (n,) is known, where none can be evaluated."""
    return LearntAccuracy(
        AccuracyPredictor(space).fit(population, accuracy), _rows(space, 0, population, None, accuracy)
    )


def spread_over_sizes(space: SearchSpace, n: int, rng: np.random.Generator) -> Population:
    """The min net, the max net and random ones with evenly spread logarithms of MACs; at most `n`, all different.

    Where resolutions can be chosen, half of them are the max net at evenly spread ones: reading fewer pixels costs a
    trained network less accuracy than losing channels.
    """
    landmarks = _at_resolutions(space, n // 2)
    pool = np.concatenate([np.stack([space.min, space.max]), landmarks, space.sample(_SIZES * n, rng, tilt=1.5)])
    pool = pool[np.sort(np.unique(row_keys(pool), return_index=True)[1])]
    size = np.log(space.costs(pool).macs.astype(np.float64))
    free = ~np.isin(row_keys(pool), row_keys(landmarks))
    chosen = np.flatnonzero(~free).tolist()
    for target in np.linspace(size[0], size[1], min(n, len(pool)) - len(chosen)):
        chosen.append(int(np.argmin(np.where(free, np.abs(size - target), np.inf))))
        free[chosen[-1]] = False
    return pool[chosen]


def _at_resolutions(space: SearchSpace, n: int) -> Population:
    """The max net at up to `n` evenly spread resolutions, shape (at most n, n_genes); none where there is one only."""
    column = space.resolution_column
    if column is None or space.n_choices[column] == 1 or n < 2:
        return np.empty((0, len(space.genes)), dtype=np.int16)
    choices = np.unique(np.linspace(0, space.n_choices[column] - 1, n).round().astype(np.int16))
    rows = np.repeat(space.max[None], len(choices), axis=0)
    rows[:, column] = choices
    return space.canonical(rows)


def _widest_within(objectives: Objectives, budget: Budget, known: Population) -> Population:
    """The max net at the largest resolution at which it is likely to keep the budget; nothing where that is `known`.

    It is what one would take without a search, and what the predictor knows least of: its neighbours are narrower.
    """
    space = objectives.space
    column = space.resolution_column
    rows = _at_resolutions(space, int(space.n_choices[column])) if column is not None else known[:0]
    likely = replace(objectives, confidence=AIMED).scorer(budget)
    rows = rows[total_violation(likely.violations(rows)) <= 0][-1:]
    return rows[~np.isin(row_keys(rows), row_keys(known))]


def _near_front(
    objectives: Objectives,
    feasibility: Feasibility,
    known: Population,
    n: int,
    plan: EvaluationPlan,
    rng: np.random.Generator,
) -> Population:
    """Up to `n` subnets that are not `known`: each the best within the budget by one draw of the predictor."""
    assert isinstance(objectives.accuracy, AccuracyPredictor)
    archive = run_strategy(
        plan.strategy,
        objectives.space,
        objectives.scorer(feasibility.budget),
        rng=rng,
        settings=EvolutionSettings(plan.candidates),
        start=np.concatenate([feasibility.starts, known]),
    )
    if archive.interrupted:
        raise KeyboardInterrupt
    fresh = archive.feasible & ~np.isin(row_keys(archive.population), row_keys(known))
    index = np.flatnonzero(fresh)
    pool = archive.population[index[np.argsort(archive.objectives[index, 0], kind="stable")[:_POOL]]]
    chosen: list[int] = []
    for drawn in objectives.accuracy.draw(pool, min(n, len(pool)), rng):
        drawn[chosen] = -np.inf
        chosen.append(int(drawn.argmax()))
    return pool[chosen]


def _rows(
    space: SearchSpace,
    number: int,
    population: Population,
    predictor: AccuracyPredictor | None,
    accuracy: NDArray[np.float64],
) -> pd.DataFrame:
    mean = std = np.full(len(population), np.nan)
    if predictor is not None:
        mean, std = predictor.predict(population, return_std=True)
    return pd.DataFrame(
        {
            "round": number,
            "architecture": space.format(population),
            "predicted_accuracy": mean,
            "predicted_accuracy_std": std,
            "evaluated_accuracy": accuracy,
        }
    )


def _errors(rows: pd.DataFrame) -> dict[str, Any]:
    predicted, std, evaluated = (
        rows[column].to_numpy(dtype=np.float64)
        for column in ("predicted_accuracy", "predicted_accuracy_std", "evaluated_accuracy")
    )
    within_one, within_two = coverage(evaluated, predicted, std)
    return {
        "subnets": len(rows),
        "rmse": float(np.sqrt(np.mean((predicted - evaluated) ** 2))),
        "bias": float(np.mean(predicted - evaluated)),
        "kendall_tau": _finite(concordance(predicted, evaluated)),
        "within_one_sigma": within_one,
        "within_two_sigma": within_two,
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
