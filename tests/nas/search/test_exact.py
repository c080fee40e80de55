import time

import numpy as np
import pytest

from nas.search.exact import SlotSum, independent_parts, minimise
from search_spaces import SearchSpace, get_space


def random_sum(space: SearchSpace, seed: int, *, maximum: bool = False, sign: float = 1.0) -> SlotSum:
    rng = np.random.default_rng(seed)
    return SlotSum([sign * rng.random(n) for n in space.n_variants], maximum)


def everything(space: SearchSpace) -> np.ndarray:
    grid = np.indices(tuple(space.n_choices)).reshape(len(space.genes), -1).T.astype(np.int16)
    return np.unique(space.canonical(grid), axis=0)


SPACES = [
    get_space("mobilenet_v3_small_images", depths=(1,), kernels=(3,), resolutions=(24, 32)),
    get_space("mobilenet_v3_small_images", depths=(1, 2), kernels=(3,), expansions=(2, 3)),
    get_space("nasbench201"),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda s: f"{s.name}-{s.size}")
@pytest.mark.parametrize("seed", range(3))
def test_equals_brute_force(space: SearchSpace, seed: int) -> None:
    rows = everything(space)
    assert len(rows) == space.size
    objective, cost, other = (
        random_sum(space, seed, sign=-1),
        random_sum(space, seed + 10),
        random_sum(space, seed + 20),
    )
    peak = random_sum(space, seed + 30, maximum=True)
    values = {id(table): table(space, rows) for table in (objective, cost, other, peak)}
    for share in (0.05, 0.3, 0.7):
        for tables in ([], [cost], [cost, other], [cost, peak]):
            limits = [(table, float(np.quantile(values[id(table)], max(share, 0.3)))) for table in tables]
            feasible = np.all([values[id(t)] <= number for t, number in limits] or [np.ones(len(rows))], axis=0)
            found = minimise(space, objective, limits)
            if not feasible.any():
                assert found.genotype is None
                continue
            assert found.objective == pytest.approx(values[id(objective)][feasible.astype(bool)].min())
            assert found.genotype is not None
            assert objective(space, found.genotype[None])[0] == pytest.approx(found.objective)
            for table, number in limits:
                assert table(space, found.genotype[None])[0] <= number * (1 + 1e-9)


def test_nothing_keeps_an_impossible_limit() -> None:
    space = SPACES[0]
    found = minimise(space, random_sum(space, 0), [(random_sum(space, 1), 0.0)])
    assert found.genotype is None
    assert found.objective == np.inf


def test_parts_of_the_staged_space() -> None:
    space = get_space("mobilenet_v3")
    context, parts = independent_parts(space)
    assert context == [0]
    assert len(parts) == 1 + 10 + 5  # what is fixed; blocks that are always there; depths and what they tie together
    assert sorted(gene for genes, _ in parts for gene in genes) == list(range(1, len(space.genes)))
    assert sorted(slot for _, slots in parts for slot in slots) == list(range(len(space.slots)))


def test_once_for_all_sized_space_in_seconds() -> None:
    space = get_space("mobilenet_v3", resolutions=(224,))
    macs = SlotSum([np.array([sum(layer.macs for layer in space.variant_layers(s, v)) for v in range(n)], dtype=float)
                    for s, n in enumerate(space.n_variants)])  # fmt: skip
    rng = np.random.default_rng(0)
    gain = SlotSum([-np.sqrt(table) * rng.uniform(0.5, 1, len(table)) for table in macs.values])
    started = time.process_time()
    found = minimise(space, gain, [(macs, 300e6)])
    assert time.process_time() - started < 20
    assert found.genotype is not None
    assert space.costs(found.genotype[None]).macs[0] <= 300e6
    # Nobody does better in a sample, nor by changing two genes.
    sample = space.sample(20_000, rng)
    sample = np.concatenate([sample, space.mutate(np.repeat(found.genotype[None], 20_000, axis=0), 0.05, rng)])
    within = sample[space.costs(sample).macs <= 300e6]
    assert gain(space, within).min() >= found.objective - 1e-6
