"""A small pool of random subnets, renewed one by one, that training steps draw from.

A subnet that runs as a CUDA graph must be recorded first, which takes as long as several steps
(`nas.training.cuda_graphs`), so it has to serve for many. What the pool holds at a step follows from the seed and the
number of the step: a training that goes on from a checkpoint draws what it would have drawn.
"""

import numpy as np

from nas.training.recipe import Phase
from nas.training.samplers import draw_random
from search_spaces import Population, SearchSpace

SIZE = 16
"""Subnets in the pool, or as many as a step trains where those are more."""

RENEW_EVERY = 16
"""Steps after which the oldest subnet is replaced. Each is in the pool for SIZE * RENEW_EVERY = 256 steps, and a step
of two random subnets trains it 32 times. Recording one takes about 0.1 s: 6 ms a step, against about 150 ms a step that
graphs save at batch 128 (measured once on one H200 with networks recorded by hand, not with this code)."""

POOL = 2
"""Stream of random numbers under the run's seed, beside those of `nas.training.batches`."""


class SubnetPool:
    """The random subnets that the steps of a phase draw from.

    Parameters
    ----------
    space, phase : how subnets are drawn; `phase` trains at least one random one a step.
    seed : of the run.
    start : first step of the phase.
    """

    def __init__(self, space: SearchSpace, phase: Phase, seed: int, start: int) -> None:
        self.space, self.phase, self.seed, self.start = space, phase, seed, start
        self.size = max(SIZE, phase.n_random)
        self._known: dict[tuple[int, int], Population] = {}

    def members(self, step: int) -> Population:
        """The subnets in the pool at `step`, canonical, shape ``(size, n_genes)``."""
        renewals = (step - self.start) // RENEW_EVERY
        # Renewal number r, from 1 on, replaces the subnet at place (r - 1) % size.
        wanted = [(place, (renewals + self.size - 1 - place) // self.size) for place in range(self.size)]
        self._known = {key: self._known[key] if key in self._known else self._drawn(*key) for key in wanted}
        return np.stack([self._known[key] for key in wanted])

    def draw(self, step: int, rng: np.random.Generator) -> Population:
        """Different members of the pool for `step`, shape ``(n_random, n_genes)``."""
        drawn: Population = self.members(step)[rng.choice(self.size, self.phase.n_random, replace=False)]
        return drawn

    def _drawn(self, place: int, generation: int) -> Population:
        """The subnet that is put at `place` when that is filled for the `generation`-th time, counted from 0."""
        rng = np.random.default_rng([self.seed, POOL, self.start, place, generation])
        drawn: Population = draw_random(self.space, self.phase, 1, rng)[0]
        return drawn
