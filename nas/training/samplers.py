"""Which subnets a training step visits: populations drawn from the genes that a phase has open.

Sandwich rule: Universally slimmable networks (https://arxiv.org/abs/1903.05134), as in BigNAS
(https://arxiv.org/abs/2003.11142). Uniform sampling of open genes: once-for-all
(https://arxiv.org/abs/1908.09791).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nas.training.recipe import Phase
from search_spaces import Population, SearchSpace


def smallest_open(space: SearchSpace, phase: Phase) -> NDArray[np.int16]:
    """The smallest choice of every gene that `phase` leaves open, shape ``(n_genes,)``."""
    if phase.open is None:
        return np.zeros_like(space.n_choices)
    opened = np.array(
        [(phase.open[g.kind] or len(g.values)) if g.kind in phase.open else 1 for g in space.genes], dtype=np.int16
    )
    return np.asarray(np.maximum(space.n_choices - opened, 0), dtype=np.int16)


def _draw(space: SearchSpace, lowest: NDArray[np.int16], n: int, rng: np.random.Generator) -> Population:
    return rng.integers(lowest, space.n_choices, size=(n, len(space.genes)), dtype=np.int16)


def _max(space: SearchSpace, lowest: NDArray[np.int16], n: int, rng: np.random.Generator) -> Population:
    return space.max[None]


def _min(space: SearchSpace, lowest: NDArray[np.int16], n: int, rng: np.random.Generator) -> Population:
    return lowest[None]


def _sandwich(space: SearchSpace, lowest: NDArray[np.int16], n: int, rng: np.random.Generator) -> Population:
    return np.concatenate([space.max[None], lowest[None], _draw(space, lowest, n, rng)])


SAMPLERS: dict[str, Callable[[SearchSpace, NDArray[np.int16], int, np.random.Generator], Population]] = {
    "max": _max,
    "min": _min,
    "uniform": _draw,
    "sandwich": _sandwich,
}


def sample_step(space: SearchSpace, phase: Phase, rng: np.random.Generator) -> Population:
    """The subnets of one step, canonical, the max net first where the sampler includes it."""
    rows = SAMPLERS[phase.sampler](space, smallest_open(space, phase), phase.n_random, rng)
    return space.canonical(rows)
