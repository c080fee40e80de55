"""The best network within the limits, by evolution with local search.

Crossover and mutation of the best networks make children (`variation`); an additive model of the objective chooses the
most promising of them (`surrogate`); local search improves those within the limits (`local_search`); and the best
survive, none of them much like a better one (`selection`). When nothing improves, the search starts anew (`restart`).
A generation is a handful of array operations over all its children; nothing loops over networks.
"""

import numpy as np

from nas.search.evolution.choices import OperatorChoices
from nas.search.evolution.initial import near_limits
from nas.search.evolution.local_search import LocalSearch
from nas.search.evolution.restart import Restart, Stagnation
from nas.search.evolution.selection import Clearing, Survival, by_constraint_domination
from nas.search.evolution.strategies import Search, strategy
from nas.search.evolution.surrogate import AdditiveModel
from nas.search.evolution.variation import Variation

_REFIT_EVERY = 3  # generations; a fit costs about as much as the evaluations of one
_DIFFER = 0.1  # of its operators and context genes, in which a network must differ from all better ones


@strategy("evolution")
def evolution(search: Search) -> None:
    """Minimise the first objective within the limits."""
    space, evaluate, settings, rng = search.space, search.evaluate, search.settings, search.rng
    archive, choices = evaluate.archive, OperatorChoices(space)
    clearing = Clearing(space, round(_DIFFER * (len(space.tokens) + len(choices.context))))
    survival = Survival(by_constraint_domination, settings.parents, clearing)
    variation = Variation(space, settings.changes, rng)
    local_search = LocalSearch(choices, evaluate, settings.children, rng)
    restart = Restart(space, archive, local_search, variation, survival, 2 * settings.parents, rng)

    # A model needs two networks for each column that it weighs.
    initial = near_limits(space, evaluate.score, 2 * max(settings.parents, space.encoding_width), rng)
    known = evaluate(evaluate.within_limits(np.concatenate([search.start, initial])))
    parents, model = restart.from_structures(known)
    stagnation, generation, without_new = Stagnation(archive, parents), 0, 0
    while not evaluate.done and without_new < settings.patience:
        if stagnation.feasible and generation % _REFIT_EVERY == 0:
            model = AdditiveModel.of_archive(space, archive)
        before = len(archive)
        n = max(settings.children - len(local_search.unfinished), 0) * settings.candidates_per_child
        better = local_search.step(variation.children(archive, parents, n), model)
        parents = survival(archive, np.concatenate([parents, better]))
        stagnation.update(parents)
        generation += 1
        # A small space runs out of networks, which ends the search too.
        without_new = 0 if len(archive) > before else without_new + 1
        if stagnation.generations >= settings.patience:
            fresh, model = restart(parents, model)
            if len(fresh):  # what was found so far stays in the archive
                parents = fresh
                stagnation.reset(parents)
