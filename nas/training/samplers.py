"""Which subnets a training step visits: populations drawn from the genes that a phase has open.

Sandwich rule: Universally slimmable networks (https://arxiv.org/abs/1903.05134), as in BigNAS
(https://arxiv.org/abs/2003.11142). Uniform draws of open genes: once-for-all
(https://arxiv.org/abs/1908.09791). Coupled depth and expansion: CompOFA (https://openreview.net/forum?id=IgIk8RRT-Z).
Budget-biased draws: AttentiveNAS (https://arxiv.org/abs/2011.09011).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nas.training.recipe import Phase, Recipe
from search_spaces import Population, SearchSpace

BUDGETS = 25
"""Equal steps of MACs from the smallest open net to the max net, among which a budget is drawn."""

CANDIDATES = 128
"""Networks drawn for one budget; AttentiveNAS's code gives up after 100."""

TILT = 1.5
"""As in `SearchSpace.sample`: lets candidates reach the budgets at both ends."""


def lowest_open(space: SearchSpace, phase: Phase) -> NDArray[np.int16]:
    """The smallest choice of every gene that `phase` leaves open, shape ``(n_genes,)``."""
    if phase.open is None:
        return np.zeros_like(space.n_choices)
    opened = np.array(
        [(phase.open[g.kind] or len(g.values)) if g.kind in phase.open else 1 for g in space.genes], dtype=np.int16
    )
    return np.asarray(np.maximum(space.n_choices - opened, 0), dtype=np.int16)


def smallest_open(space: SearchSpace, phase: Phase) -> NDArray[np.int16]:
    """The smallest network that `phase` leaves open and the image reaches, shape ``(n_genes,)``."""
    return np.maximum(lowest_open(space, phase), space.min)


def coupled_genes(space: SearchSpace) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Columns of all expansions whose stage has a depth to choose, and the columns of those depths."""
    column = space.columns
    kinds = {gene.name: gene.kind for gene in space.genes}
    depths = {slot.group: slot.needs[0] for slot in space.slots if slot.needs and kinds[slot.needs[0]] == "depth"}
    pairs = [
        (column[name], column[depths[slot.group]])
        for slot in space.slots
        for name in slot.genes
        if kinds[name] == "expansion" and slot.group in depths
    ]
    expansions, owners = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    return expansions, owners


def _uniform(space: SearchSpace, lowest: NDArray[np.int16], n: int, rng: np.random.Generator) -> Population:
    return rng.integers(lowest, space.n_choices, size=(n, len(space.genes)), dtype=np.int16)


def _coupled(space: SearchSpace, lowest: NDArray[np.int16], n: int, rng: np.random.Generator) -> Population:
    """Uniform, then every expansion at the same rank among its choices as its stage's depth among its own."""
    rows = _uniform(space, lowest, n, rng)
    expansions, depths = coupled_genes(space)
    rank = rows[:, depths] / np.maximum(space.n_choices[depths] - 1, 1)
    rows[:, expansions] = np.maximum(np.rint(rank * (space.n_choices[expansions] - 1)), lowest[expansions])
    return rows


def _budget(space: SearchSpace, lowest: NDArray[np.int16], n: int, rng: np.random.Generator) -> Population:
    """A budget of MACs for each network, all steps equally likely, and the first candidate that falls into it.

    Where none does, the first of those that come nearest, as the authors' code takes what it has after its
    last trial. Their choice of the best or worst of several within the budget needs an accuracy predictor and
    is left out.
    """
    spans = space.n_choices - lowest
    power = np.exp(rng.uniform(-TILT, TILT, size=(n * CANDIDATES, 1)))
    drawn = (rng.random((n * CANDIDATES, len(spans))) ** power * spans).astype(np.int16)
    rows = space.canonical(lowest + np.minimum(drawn, spans - 1))
    least, most = space.costs(np.stack([lowest, space.max])).macs.tolist()
    step = (space.costs(rows).macs - least) * BUDGETS // (most - least + 1)
    wanted = rng.integers(BUDGETS, size=n)
    nearest = np.abs(step.reshape(n, CANDIDATES) - wanted[:, None]).argmin(axis=1)
    chosen: Population = rows[np.arange(n) * CANDIDATES + nearest]
    return chosen


DRAWS: dict[str, Callable[[SearchSpace, NDArray[np.int16], int, np.random.Generator], Population]] = {
    "uniform": _uniform,
    "coupled": _coupled,
    "budget": _budget,
}


def widest(space: SearchSpace, lowest: NDArray[np.int16], rng: np.random.Generator) -> Population:
    """The max net at a random open resolution, shape ``(1, n_genes)``."""
    row, column = space.max.copy(), space.resolution_column
    if column is not None:
        row[column] = rng.integers(lowest[column], space.n_choices[column])
    return row[None]


def at_all_resolutions(space: SearchSpace, genotype: NDArray[np.int16]) -> Population:
    """One network at every resolution, the smallest first, shape ``(n_resolutions, n_genes)``."""
    column = space.resolution_column
    if column is None:
        return genotype[None].copy()
    rows = np.tile(genotype, (int(space.n_choices[column]), 1))
    rows[:, column] = np.arange(len(rows))
    return rows


def is_widest(space: SearchSpace, population: Population) -> NDArray[np.bool_]:
    """Which networks are the max net, at whatever resolution; shape ``(n,)``."""
    same = population == space.max
    if space.resolution_column is not None:
        same[:, space.resolution_column] = True
    return np.asarray(same.all(axis=1))


def draw_random(space: SearchSpace, phase: Phase, n: int, rng: np.random.Generator) -> Population:
    """`n` random subnets as `phase` draws them, canonical; those that the image does not reach are drawn again."""
    draw, lowest = DRAWS[phase.draw], lowest_open(space, phase)
    rows = space.canonical(draw(space, lowest, n, rng))
    while (cut := ~space.connected(rows)).any():
        rows[cut] = space.canonical(draw(space, lowest, int(cut.sum()), rng))
    return rows


def sample_step(
    space: SearchSpace, phase: Phase, rng: np.random.Generator, random: Population | None = None
) -> Population:
    """The subnets of one step, canonical, the max net first where the sampler includes it.

    Parameters
    ----------
    random : the step's random subnets; by default they are drawn.
    """
    lowest = smallest_open(space, phase)
    fixed = {"max": [space.max], "min": [lowest], "sandwich": [space.max, lowest]}.get(phase.sampler, [])
    rows = [widest(space, lowest, rng)] if phase.sampler == "widest" else [row[None] for row in fixed]
    if phase.n_random:
        rows.append(draw_random(space, phase, phase.n_random, rng) if random is None else random)
    return space.canonical(np.concatenate(rows))


def check_space(space: SearchSpace, recipe: Recipe) -> None:
    """Refuse a recipe that `space` cannot be trained by.

    Raises
    ------
    ValueError : a phase couples expansions with depths and the space has none to couple.
    """
    for phase in recipe.phases:
        if phase.draw == "coupled" and not coupled_genes(space)[0].size:
            raise ValueError(
                f"phase {phase.name!r}: draw coupled needs stages with both depth and expansion genes, "
                f"which the space {space.name} does not have; use draw: uniform"
            )
