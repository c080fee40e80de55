"""Random networks within the limits: what every other strategy must beat."""

from nas.search.evolution.strategies import Search, strategy

_AT_ONCE = 1000
_TILT = 1.5  # spreads the costs from the min to the max net; networks drawn gene by gene would all cost about the same


@strategy("random")
def random(search: Search) -> None:
    """Evaluate random networks that keep the limits."""
    evaluate, without_new = search.evaluate, 0
    if len(search.start):
        evaluate(evaluate.within_limits(search.start))
    while not evaluate.done and without_new < search.settings.patience:
        sample = search.space.sample(_AT_ONCE, search.rng, tilt=_TILT)
        without_new = 0 if len(evaluate(evaluate.within_limits(sample))) else without_new + 1
