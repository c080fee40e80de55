"""The whole Pareto front within the limits, by NSGA-II (https://doi.org/10.1109/4235.996017)."""

import numpy as np

from nas.search.evolution.initial import over_all_costs
from nas.search.evolution.selection import Survival, by_rank_and_crowding
from nas.search.evolution.strategies import Search, strategy
from nas.search.evolution.variation import Variation


@strategy("nsga2")
def nsga2(search: Search) -> None:
    """Minimise all objectives within the limits."""
    space, evaluate, settings, rng = search.space, search.evaluate, search.settings, search.rng
    archive = evaluate.archive
    survival = Survival(by_rank_and_crowding, settings.parents)
    variation = Variation(space, settings.changes, rng)
    initial = over_all_costs(space, settings.parents, rng)
    parents = survival(archive, evaluate(np.concatenate([search.start, initial])))
    without_new = 0
    while not evaluate.done and without_new < settings.patience:
        children = evaluate(variation.children(archive, parents, settings.children))
        parents = survival(archive, np.concatenate([parents, children]))
        without_new = 0 if len(children) else without_new + 1
