"""The true optimum where the objective and the limits are sums over slots, or a bound where they nearly are.

Genes that no other gene is tied to by a slot or by depth are independent: given the context genes
(resolution), the network falls into parts (a stage, or a single block) whose objectives and costs add up. Each part is
enumerated and only its non-dominated choices are kept; parts are joined one by one, dropping joint choices
that are dominated, exceed a limit, or cannot reach the best network known even with the best possible rest.
This is dynamic programming by dominance (Nemhauser and Ullmann 1969, https://doi.org/10.1287/mnsc.15.9.494)
for the multiple-choice knapsack problem: exact, with real-valued costs and no discretisation. Maxima over
slots (peak memory) need no joining: a choice that exceeds the limit by itself is left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nas.search.evolution.pareto import front
from search_spaces import Population, SearchSpace
from search_spaces.layers import peak_activation_elements

Floats = NDArray[np.float64]

LARGEST_PART = 1_000_000
"""Combinations of the genes of one part that are enumerated at most."""
LARGEST_JOIN = 20_000_000
"""Joint choices that are looked at in one step at most."""


@dataclass(frozen=True)
class SlotSum:
    """A quantity of networks that is a sum (or a maximum) over slots.

    Attributes
    ----------
    values : for each slot the value of each of its variants, shape ``(n_variants,)``.
    maximum : the largest slot counts, instead of the sum.
    """

    values: Sequence[Floats]
    maximum: bool = False

    def __call__(self, space: SearchSpace, population: Population) -> Floats:
        """The quantity of each network, shape ``(n,)``."""
        variants = space.variants(population)
        columns = np.stack([table[variants[:, slot]] for slot, table in enumerate(self.values)])
        return np.asarray(columns.max(axis=0) if self.maximum else columns.sum(axis=0))


@dataclass(frozen=True)
class Optimum:
    """The answer.

    Attributes
    ----------
    genotype : (n_genes,), None where no network keeps the limits.
    objective : its objective; infinite where there is none.
    """

    genotype: Population | None
    objective: float


def minimise(space: SearchSpace, objective: SlotSum, limits: Sequence[tuple[SlotSum, float]]) -> Optimum:
    """The network of least `objective` with each quantity of `limits` at most its number: the true optimum.

    Raises
    ------
    ValueError : parts of the space are too large to enumerate, or too many choices do not dominate each other.
    """
    if objective.maximum:
        raise ValueError("an objective must be a sum over slots, not a maximum")
    sums = [(table, limit) for table, limit in limits if not table.maximum]
    peaks = [(table, limit) for table, limit in limits if table.maximum]
    best = Optimum(None, np.inf)
    context, parts = independent_parts(space)
    for setting in product(*(range(space.n_choices[gene]) for gene in context)):
        fixed = space.min.copy()
        fixed[context] = setting
        found = _minimise_given(space, fixed, parts, objective, sums, peaks, best.objective)
        if found.objective < best.objective:
            best = found
    return best


def independent_parts(space: SearchSpace) -> tuple[list[int], list[tuple[list[int], list[int]]]]:
    """Context genes, and for each part the genes and the slots that depend on nothing else but the context."""
    column = space.columns
    context = sorted(column[gene.name] for gene in space.context_genes)
    part = {i: {i} for i in range(len(space.genes)) if i not in context}
    ties = [[column[name] for name in slot.genes + ((slot.needs[0],) if slot.needs else ())] for slot in space.slots]
    ties += [[i, column[gene.needs[0]]] for i, gene in enumerate(space.genes) if gene.needs]
    tied = [[gene for gene in tie if gene in part] for tie in ties]
    for tie in tied:
        joined = set().union(*(part[gene] for gene in tie))
        for gene in joined:
            part[gene] = joined
    groups = sorted({tuple(sorted(genes)) for genes in part.values()})
    of_slots = tied[: len(space.slots)]
    parts = [(list(genes), [slot for slot, tie in enumerate(of_slots) if set(tie) & set(genes)]) for genes in groups]
    lone = [slot for slot, tie in enumerate(of_slots) if not tie]
    # Genes without a slot (a depth with one choice) change nothing.
    return context, [(genes, slots) for genes, slots in [([], lone), *parts] if slots]


def _minimise_given(
    space: SearchSpace,
    fixed: Population,
    parts: Sequence[tuple[list[int], list[int]]],
    objective: SlotSum,
    sums: Sequence[tuple[SlotSum, float]],
    peaks: Sequence[tuple[SlotSum, float]],
    known: float,
) -> Optimum:
    """The optimum with the context genes as in `fixed`, if it is better than `known`."""
    limit = np.array([number for _, number in sums])
    choices: list[tuple[Population, Floats]] = []
    for genes, slots in parts:
        rows = _enumerate(space, fixed, genes)
        variants = space.variants(rows)[:, slots]

        def of(table: SlotSum, slots: list[int] = slots, variants: NDArray[np.int64] = variants) -> Floats:
            return np.stack([table.values[slot][variants[:, i]] for i, slot in enumerate(slots)])

        points = np.stack([of(objective).sum(axis=0), *(of(table).sum(axis=0) for table, _ in sums)], axis=1)
        keep = np.ones(len(rows), dtype=bool)
        for table, number in peaks:
            keep &= of(table).max(axis=0) <= number
        if not keep.any():
            return Optimum(None, np.inf)
        kept = np.flatnonzero(keep)
        kept = kept[front(points[kept])]
        choices.append((rows[kept][:, genes], points[kept]))
    # Small parts first, so that the joint front stays small as long as it can.
    order = sorted(range(len(parts)), key=lambda i: len(choices[i][1]))
    least_rest = [np.zeros(1 + len(sums))]
    for i in reversed(order):
        least_rest.append(least_rest[-1] + choices[i][1].min(axis=0))
    least_rest.reverse()
    # A hair of room: sums in another order differ in their last digits.
    room = limit * (1 + 1e-12) if len(sums) else limit
    joint, trail = np.zeros((1, 1 + len(sums))), [np.zeros((1, 0), dtype=np.intp)]
    chosen = trail[0]
    for step, i in enumerate(order):
        points = choices[i][1]
        if len(joint) * len(points) > LARGEST_JOIN:
            raise ValueError(f"{space.name} has too many choices that do not dominate each other for an exact search")
        added = (joint[:, None] + points).reshape(-1, joint.shape[1])
        reachable = added + least_rest[step + 1]
        keep = np.flatnonzero((reachable[:, 1:] <= room).all(axis=1) & (reachable[:, 0] < known))
        keep = keep[front(added[keep])]
        joint = added[keep]
        chosen = np.concatenate([chosen[keep // len(points)], (keep % len(points))[:, None]], axis=1)
        if not len(joint):
            return Optimum(None, np.inf)
    winner = int(joint[:, 0].argmin())
    genotype = fixed.copy()
    for i, choice in zip(order, chosen[winner], strict=True):
        genotype[parts[i][0]] = choices[i][0][choice]
    return Optimum(space.canonical(genotype)[0], float(joint[winner, 0]))


def _enumerate(space: SearchSpace, fixed: Population, genes: list[int]) -> Population:
    """Every different setting of `genes`, the others as in `fixed`."""
    sizes = [int(space.n_choices[gene]) for gene in genes]
    if (n := int(np.prod(sizes, dtype=np.float64))) > LARGEST_PART:
        raise ValueError(f"{n:,} combinations of tied genes of {space.name} are too many for an exact search")
    rows = np.repeat(fixed[None], n, axis=0)
    rows[:, genes] = np.indices(sizes).reshape(len(genes), n).T if genes else 0
    return np.unique(space.canonical(rows), axis=0)


def tabulate(
    space: SearchSpace, quantity: Callable[[Population], Floats], *, maximum: bool = False, rounding: float = 1e-9
) -> SlotSum:
    """The table behind a quantity that is a sum over slots, from its differences between networks.

    Parameters
    ----------
    space : whose networks.
    quantity : of populations, shape (n,). Known by its construction to be such a sum (or maximum).
    maximum : it is a maximum over slots; the table of layer costs on paper then gives it.
    rounding : relative error of its values.

    Raises
    ------
    ValueError : a sample shows that it is no such sum.
    """
    rng = np.random.default_rng(0)
    sample = np.concatenate([space.canonical(np.stack([space.min, space.max])), space.sample(500, rng, tilt=1.5)])
    table = SlotSum(_peaks(space) if maximum else _differences(space, quantity), maximum)
    truth = quantity(sample)
    if np.abs(table(space, sample) - truth).max() > 10 * rounding * np.abs(truth).max():
        raise ValueError("a prediction is not a sum over slots")
    return table


def _differences(space: SearchSpace, quantity: Callable[[Population], Floats]) -> list[Floats]:
    column = space.columns
    context, _ = independent_parts(space)
    tables = [np.zeros(n) for n in space.n_variants]
    rows, references, cells = [], [], []
    for setting in product(*(range(space.n_choices[gene]) for gene in context)):
        base = np.zeros(len(space.genes), dtype=np.int16)
        base[context] = setting
        seen: set[tuple[str, ...]] = set()
        for number, slot in enumerate(space.slots):
            if not slot.genes or slot.genes in seen:
                continue  # slots that the same genes choose: the first stands for all
            seen.add(slot.genes)
            row, reference = base.copy(), base.copy()
            if slot.needs is not None:
                gene = column[slot.needs[0]]
                row[gene] = space.genes[gene].values.index(slot.needs[1])
                reference[gene] = row[gene] - 1
            genes = [column[name] for name in slot.genes]
            for choice in product(*(range(space.n_choices[gene]) for gene in genes)):
                chosen = row.copy()
                chosen[genes] = choice
                rows.append(chosen)
                references.append(reference)
                cells.append(number)
    n_settings = int(np.prod(space.n_choices[context]))
    bases = np.zeros((n_settings, len(space.genes)), dtype=np.int16)
    bases[:, context] = np.indices(tuple(space.n_choices[context].tolist())).reshape(len(context), -1).T
    every = np.stack(rows)
    values = quantity(np.concatenate([every, np.stack(references), bases]))
    gains = values[: len(rows)] - values[len(rows) : 2 * len(rows)]
    variants = space.variants(every)
    for number, slot_variant, gain in zip(cells, variants[np.arange(len(rows)), cells], gains, strict=True):
        tables[number][slot_variant] = gain
    # What every network has goes to the first slot, whose variants the context alone chooses.
    if space.slots[0].genes:
        raise ValueError(f"the first slot of {space.name} is chosen by genes; a sum cannot be tabulated")
    tables[0][space.variants(bases)[:, 0]] += values[2 * len(rows) :]
    return tables


def _peaks(space: SearchSpace) -> list[Floats]:
    return [
        np.array([4.0 * peak_activation_elements(space.variant_layers(slot, variant)) for variant in range(n)])
        for slot, n in enumerate(space.n_variants.tolist())
    ]
