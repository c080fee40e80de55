"""Whether a budget can be kept at all; known before any search, in well under a second.

The cheapest network under a cost is found by steepest descent over single genes from the min net. Where
the cost is a sum over independent genes (the paper costs of fixed-resolution spaces) the first local
optimum is the true one; in other spaces random starts make a bad one unlikely.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import InfeasibleBudget
from nas.search.budget import Budget
from nas.search.evolution.archive import total_violation
from nas.search.objectives import Objectives
from search_spaces import Population, SearchSpace

if TYPE_CHECKING:
    import pandas as pd

_SAMPLES = 1000


@dataclass(frozen=True)
class Feasibility:
    """The budget beside what networks of the space cost.

    Attributes
    ----------
    budget : resolved, no percentages left.
    rows : one a limit: budget, device (empty where it is of none or of the only one), limit, min_net,
        middle_net, max_net, cheapest, satisfiable. Costs are in the unit of the metric's key; latency is the upper
        quantile that the search is held to.
    starts : int16 (n, n_genes), networks to start a search from: the cheapest under each limit and, first, the
        one that keeps all of them.
    """

    budget: Budget
    rows: list[dict[str, Any]]
    starts: Population

    @property
    def table(self) -> "pd.DataFrame":
        """The rows as a table."""
        import pandas as pd  # its import takes half as long as a warm start may

        return pd.DataFrame(self.rows)

    def __str__(self) -> str:
        """A column for each limit, a row for each landmark."""
        columns = [["", "limit", "least possible", "min net", "middle net", "max net", "possible"]]
        for limit, row in zip(self.budget.limits, self.rows, strict=True):
            amounts = (float(row[key]) for key in ("cheapest", "min_net", "middle_net", "max_net"))
            possible = "yes" if row["satisfiable"] else "no"
            columns.append([limit.title, limit.shown(limit.value), *map(limit.metric.format, amounts), possible])
        widths = [max(map(len, column)) for column in columns]
        lines = zip(*columns, strict=True)
        return "\n".join(
            "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
            for line in lines
        )


def check_feasibility(objectives: Objectives, budget: Budget, seed: int = 0) -> Feasibility:
    """Resolve a budget; find for each limit the cheapest network, and one that keeps all limits together.

    Parameters
    ----------
    objectives : costs of networks; its accuracy is not looked at.
    budget : percentages are of the max net as predicted.
    seed : of the random networks that are tried.

    Raises
    ------
    InfeasibleBudget : there is none; the message gives the achievable range.
    """
    space, rng = objectives.space, np.random.default_rng([seed, 0])
    if budget.is_relative:
        budget = budget.resolve(objectives.max_net(budget))
    middle = (space.n_choices // 2).astype(np.int16)
    landmarks = space.canonical(np.stack([space.min, middle, space.max]))
    if not budget.limits:
        return Feasibility(budget, [], landmarks[:1])

    def over(population: Population) -> NDArray[np.float64]:
        return budget.violations(objectives.costs(population, budget))

    sample = np.concatenate([landmarks, space.sample(_SAMPLES, rng)])
    violations = over(sample)
    cheapest, least = [], []
    for column in range(len(budget.limits)):
        best = np.unique([0, violations[:, column].argmin()])
        rows, values = zip(
            *(descend(space, lambda p, c=column: over(p)[:, c], sample[i]) for i in best),  # type: ignore[misc]
            strict=True,
        )
        cheapest.append(rows[int(np.argmin(values))])
        least.append(min(values))
    limits = np.array([limit.value for limit in budget.limits])
    offers = _rows(budget, (violations[:3] + 1) * limits, least)
    if not all(row["satisfiable"] for row in offers):
        raise InfeasibleBudget(_one_too_tight(objectives, offers, budget))
    together, value = _keeping_all(space, lambda p: total_violation(over(p)), np.stack([*cheapest, *sample]))
    if value > 0:
        raise InfeasibleBudget(_too_tight_together(objectives, budget, together))
    return Feasibility(budget, offers, np.stack([together, *cheapest]))


def too_wide(feasibility: Feasibility) -> list[str]:
    """A sentence for each limit that even the largest network is below: it decides nothing."""
    return [
        f"The limit of {limit.shown(limit.value)} on {limit.title} decides nothing: the largest network needs "
        f"{limit.shown(float(row['max_net']), round_up=True)}. A smaller limit does, like --{limit.metric.flag} 60%; "
        "larger networks come with a larger --resolution or another --space (`nas spaces` lists them)."
        for limit, row in zip(feasibility.budget.limits, feasibility.rows, strict=True)
        if row["max_net"] < limit.value
    ]


def descend(
    space: SearchSpace, cost: Callable[[Population], NDArray[np.float64]], start: Population
) -> tuple[Population, float]:
    """Change one gene at a time, always the one that saves most, until none saves.

    Returns
    -------
    genotype (n_genes,) and its cost.
    """
    gene = np.repeat(np.arange(len(space.genes)), space.n_choices)
    choice = np.concatenate([np.arange(n) for n in space.n_choices])
    best, value = start, float(cost(start[None])[0])
    while True:
        rows = np.repeat(best[None], len(gene), axis=0)
        rows[np.arange(len(gene)), gene] = choice
        rows = space.canonical(rows)
        costs = cost(rows)
        if not costs.min() < value:
            return best, value
        best, value = rows[costs.argmin()], float(costs.min())


def _keeping_all(
    space: SearchSpace, violation: Callable[[Population], NDArray[np.float64]], starts: Population
) -> tuple[Population, float]:
    """The network of least total violation; stops at the first that violates nothing."""
    values = violation(starts)
    best, value = starts[values.argmin()], float(values.min())
    for index in np.argsort(values, kind="stable")[:5]:
        if value == 0:
            break
        row, reached = descend(space, violation, starts[index])
        if reached < value:
            best, value = row, reached
    return best, value


def _rows(budget: Budget, landmarks: NDArray[np.float64], least: list[float]) -> list[dict[str, Any]]:
    return [
        {
            "budget": limit.metric.flag,
            "device": limit.device,
            "limit": limit.value,
            "min_net": float(landmarks[0, column]),
            "middle_net": float(landmarks[1, column]),
            "max_net": float(landmarks[2, column]),
            "cheapest": (least[column] + 1) * limit.value,
            "satisfiable": least[column] <= 0,
        }
        for column, limit in enumerate(budget.limits)
    ]


def _one_too_tight(objectives: Objectives, rows: list[dict[str, Any]], budget: Budget) -> str:
    sentences = []
    for limit, row in zip(budget.limits, rows, strict=True):
        if row["satisfiable"]:
            continue
        sure = limit.latency.on_device if limit.latency is not None else ""
        sure += f" (at {objectives.confidence:.0%} confidence)" if limit.latency is not None else ""
        least, bound = float(row["cheapest"]), "more" if limit.throughput is None else "less"
        sentences.append(
            f"no network of {objectives.space.name} keeps {limit.asked}{sure}: the cheapest needs "
            f"{limit.shown(least, round_up=True)}, the max net {limit.shown(float(row['max_net']))}; ask for "
            f"{limit.as_limit(least)} or {bound}"
        )
    return "; ".join(sentences)


def _too_tight_together(objectives: Objectives, budget: Budget, closest: Population) -> str:
    costs = objectives.costs(closest[None], budget)
    needs = ", ".join(
        f"{limit.title} {limit.shown(float(costs[limit.key][0]), round_up=True)}" for limit in budget.limits
    )
    return (
        f"no network of {objectives.space.name} was found that keeps {budget} together, though each can be kept "
        f"alone; the closest needs {needs}"
    )
