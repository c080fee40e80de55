"""Where in its recipe a run stands: steps, phases, learning rate and ramp.

A step is one update of the weights. Everything follows from the number of a step, so a resumed run needs to
know nothing else.
"""

from dataclasses import dataclass
from math import cos, pi

import numpy as np

from nas.training.recipe import Phase, Recipe


@dataclass(frozen=True)
class Schedule:
    """The steps of `recipe` on a train split of `n_images`; a last batch that is not full is left out."""

    recipe: Recipe
    n_images: int

    @property
    def batch_size(self) -> int:
        """Images a step: the recipe's number, or all images where they are fewer."""
        return min(self.recipe.batch_size, self.n_images)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the train split."""
        return self.n_images // self.batch_size

    @property
    def n_steps(self) -> int:
        """Steps of the whole run."""
        return max(1, round(self.recipe.epochs * self.steps_per_epoch))

    @property
    def starts(self) -> list[int]:
        """First step of each phase, and the number of steps at the end."""
        ends = np.cumsum([phase.share for phase in self.recipe.phases])
        return [0, *(round(end * self.n_steps) for end in ends[:-1].tolist()), self.n_steps]

    def phase_number(self, step: int) -> int:
        """Index of the phase that `step` belongs to; phases too short for a step are passed over."""
        starts = self.starts
        return next(i for i in reversed(range(len(self.recipe.phases))) if starts[i] <= step)

    def phase(self, step: int) -> Phase:
        """The phase that `step` belongs to."""
        return self.recipe.phases[self.phase_number(step)]

    def _stretch(self, step: int) -> tuple[int, int, float]:
        """First step, length and peak of the warm-up and cosine that `step` is on."""
        starts, number = self.starts, self.phase_number(step)
        own = self.recipe.phases[number].learning_rate
        if own is not None:
            return starts[number], starts[number + 1] - starts[number], own
        return 0, self.n_steps, self.recipe.learning_rate

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine down to 0, or to the least that the recipe allows."""
        start, length, peak = self._stretch(step)
        warmup = round(self.recipe.warmup * length)
        done = step - start
        if done < warmup:
            return peak * (done + 1) / (warmup + 1)
        cosine = 0.5 * (1 + cos(pi * (done - warmup) / (length - warmup)))
        return peak * max(cosine, self.recipe.least_learning_rate)

    def ramp(self, step: int) -> float:
        """Weight in (0, 1] of the loss of subnets other than the max net."""
        starts, number = self.starts, self.phase_number(step)
        ramp = round(self.recipe.phases[number].ramp * (starts[number + 1] - starts[number]))
        return min(1.0, (step - starts[number] + 1) / (ramp + 1))

    def ema_decay(self, step: int) -> float:
        """Weight of the old average when the weights after `step` join it; 0 where nothing is averaged.

        ``1 - 1 / (ema * n_steps)``, and less in the beginning: ``(1 + age) / (10 + age)``, with `age` the
        steps since the average began, at the start or when channels were last sorted.
        """
        horizon = self.recipe.ema * self.n_steps
        if horizon <= 1:
            return 0.0
        sorts = [s for s, phase in zip(self.starts, self.recipe.phases, strict=False) if phase.sort_channels]
        age = step - max((s for s in sorts if s <= step), default=0)
        return min(1 - 1 / horizon, (1 + age) / (10 + age))
