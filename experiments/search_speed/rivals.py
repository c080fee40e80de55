"""The product's strategies and objectives with the same predictors and as many evaluations each."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from experiments.search_speed.task import KNOWN, Exact, Task
from nas.devices import get_device
from nas.devices.learning import learn_device
from nas.evaluation.trained import TrainedSupernet
from nas.search.active_learning import learn_from
from nas.search.budget import Budget
from nas.search.evolution.archive import Archive
from nas.search.evolution.settings import EvolutionSettings
from nas.search.evolution.strategies import run_strategy, strategies
from nas.search.feasibility import Feasibility, check_feasibility
from nas.search.objectives import EXPONENTS, MNAS, BudgetScore, Objectives
from nas.shipped import DEFAULT

EVALUATIONS = (500, 1_000, 2_000, 5_000, 20_000)
SHARES = ("40%", "55%", "75%")


class Work(NamedTuple):
    """A search to do.

    Attributes
    ----------
    name : of the space and the device.
    limit : as typed.
    """

    name: str
    limit: str
    objectives: Objectives
    feasibility: Feasibility


def work(task: Task) -> Iterator[Work]:
    """Once-for-all's task, and the shipped supernet on a phone."""
    trained = TrainedSupernet.open(DEFAULT)
    known = trained.evaluated.known
    accuracy = learn_from(trained.space, known, trained.evaluated(known)).predictor
    latency = learn_device(get_device("pixel"), trained.space).predictor
    of_space = {
        "once-for-all, note10": (
            Objectives(task.space, Exact(task.accuracy), Exact(task.latency_ms)),
            [f"{limit}ms" for limit in KNOWN],
        ),
        "shipped supernet, pixel": (Objectives(trained.space, accuracy, latency), SHARES),
    }
    for name, (objectives, limits) in of_space.items():
        for limit in limits:
            yield Work(name, limit, objectives, check_feasibility(objectives, Budget.parse(latency=limit), 0))


class _Target(BudgetScore):
    """MnasNet's objective as it was published: latency is weighed, and nothing is a limit."""

    def violations(self, population: np.ndarray) -> np.ndarray:
        return np.empty((len(population), 0))


def compared(task: Task, seeds: int) -> pd.DataFrame:
    """What each strategy, and MnasNet's objective, answers after so many evaluations."""
    rows = []
    settings = EvolutionSettings(EVALUATIONS[-1])
    for each in work(task):
        space, budget = each.objectives.space, each.feasibility.budget
        weighed = replace(each.objectives, exponent=EXPONENTS[MNAS])
        scores = {name: each.objectives.scorer(budget) for name in strategies()}
        scores |= {"mnas": weighed.scorer(budget), "mnas, no limit": _Target(weighed, budget)}
        for name, score in scores.items():
            for seed in range(seeds):
                archive = run_strategy(
                    name if name in strategies() else "evolution", space, score,
                    rng=np.random.default_rng(seed), settings=settings, start=each.feasibility.starts,
                )  # fmt: skip
                about = {"task": each.name, "limit": each.limit, "strategy": name, "seed": seed}
                rows.append(about | _outcome(archive, each.objectives, budget))
    return pd.DataFrame(rows)


def _outcome(archive: Archive, objectives: Objectives, budget: Budget) -> dict[str, float]:
    """Accuracy and share of the limit of the answer, and the accuracies of the answers after fewer evaluations.

    An answer is what is best by the strategy's own objective. Its accuracy is not a number where it is over the limit.
    """
    place = np.argsort(np.lexsort((archive.objectives[:, 0], archive.violation)))
    answers = archive.population[[archive.best, *(int(place[:n].argmin()) for n in EVALUATIONS)]]
    accuracy = objectives.accuracy.predict(answers)
    (latency,) = budget.latencies
    share = objectives.costs(answers, budget)[latency] / budget[latency].value
    within = np.where(share <= 1, accuracy, np.nan)
    found = {"accuracy": float(accuracy[0]), "of_limit": float(share[0])}
    return found | {f"best_after_{n}": float(value) for n, value in zip(EVALUATIONS, within[1:], strict=True)}


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Points below the best known of all runs, the seeds' mean and the worst, and the share of the limit used."""
    columns = [column for column in table if str(column).startswith("best_after_")]
    known = table.groupby(["task", "limit"])[columns[-1]].transform("max")
    gaps = 100 * (-table[columns]).add(known, axis=0)
    gaps = gaps.assign(worst=gaps[columns[-1]], of_limit=table["of_limit"])
    grouped = gaps.groupby([table["task"], table["strategy"]], sort=False)
    return grouped.agg({**dict.fromkeys(columns, "mean"), "worst": "max", "of_limit": "mean"})
