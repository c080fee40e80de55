"""Strategies: ways to search a space within limits, each a file of this folder, found by its name.

A new one is one file with a function of the signature `Strategy`, decorated with `strategy`:

    @strategy("my_search")
    def my_search(search: Search) -> None:
        while not search.evaluate.done:
            search.evaluate(search.space.sample(100, search.rng))
"""

import pkgutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module

import numpy as np
from threadpoolctl import threadpool_limits

from nas.search.evolution.archive import Archive
from nas.search.evolution.evaluation import Evaluator, Score
from nas.search.evolution.settings import DEFAULT_SETTINGS, EvolutionSettings
from search_spaces import Population, SearchSpace

DEFAULT = "evolution"


@dataclass(frozen=True)
class Search:
    """What a strategy is given.

    Attributes
    ----------
    space : where to search.
    evaluate : evaluates networks; what it knows at the end is the result.
    rng : source of all randomness.
    settings : see `EvolutionSettings`.
    start : genotypes (n, n_genes) worth trying first, canonical; n may be 0.
    """

    space: SearchSpace
    evaluate: Evaluator
    rng: np.random.Generator
    settings: EvolutionSettings
    start: Population


Strategy = Callable[[Search], None]
"""Evaluates networks until no evaluation is left, or nothing new is found."""

_STRATEGIES: dict[str, Strategy] = {}


def strategy(name: str) -> Callable[[Strategy], Strategy]:
    """Let a function be found as strategy `name`."""

    def register(function: Strategy) -> Strategy:
        _STRATEGIES[name] = function
        return function

    return register


def strategies() -> list[str]:
    """The names of all strategies, sorted."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        import_module(module.name)
    return sorted(_STRATEGIES)


def require_strategy(name: str) -> None:
    """Refuse a name that is none.

    Raises
    ------
    ValueError : there is no such strategy; the sentence lists them.
    """
    if name not in strategies():
        raise ValueError(f"there is no search strategy {name!r}; known: {', '.join(strategies())}")


def run_strategy(
    name: str,
    space: SearchSpace,
    score: Score,
    *,
    rng: np.random.Generator,
    settings: EvolutionSettings = DEFAULT_SETTINGS,
    start: Population | None = None,
) -> Archive:
    """Search for networks with small objectives that keep all limits.

    The same generator gives the same networks. Ctrl-C ends the search, and what was found until then is returned.

    Parameters
    ----------
    name : of the strategy.
    space : where to search.
    score : objectives (minimised) and violations (> 0 means violated) of a population.
    rng : source of all randomness.
    settings : see `EvolutionSettings`.
    start : genotypes (n, n_genes) worth trying first.

    Returns
    -------
    Archive : everything evaluated; ``archive.best`` is the network with the least first objective.

    Raises
    ------
    ValueError : there is no such strategy.
    """
    require_strategy(name)
    evaluate = Evaluator(score, settings.evaluations)
    first = space.canonical(start) if start is not None else np.empty((0, len(space.genes)), dtype=np.int16)
    # The matrices are small: more threads gain nothing on an idle machine, and on a busy one they wait for
    # each other (measured: 5 times slower). One thread also rounds the same way whatever the core count.
    with threadpool_limits(1, user_api="blas"), suppress(KeyboardInterrupt):
        evaluate.archive.interrupted = True
        _STRATEGIES[name](Search(space, evaluate, rng, settings, first))
        evaluate.archive.interrupted = False
    return evaluate.archive
