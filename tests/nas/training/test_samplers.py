"""Subnets are drawn from what a phase opens, and only from that."""

from collections import Counter

import numpy as np
import pytest
from tiny_run import tiny_data, tiny_recipe

from nas.supernet import Supernet
from nas.training import Phase, Trainer
from nas.training.samplers import BUDGETS, is_widest, sample_step, smallest_open
from search_spaces import SPACES, get_space


def test_closed_genes_stay_at_their_largest() -> None:
    space = get_space("mobilenet_v3", resolutions=(128, 160, 192))
    phase = Phase(name="p", share=1.0, open={"kernel": 0, "depth": 2}, sampler="random", n_random=200)
    rows = sample_step(space, phase, np.random.default_rng(0))
    assert len(rows) == 200
    values, active = space.gene_values(rows), space.active(rows)
    seen = {kind: Counter[int]() for kind in ("kernel", "depth", "expansion", "resolution")}
    for column, gene in enumerate(space.genes):
        seen[gene.kind].update(values[active[:, column], column].tolist())
    assert {kind: set(counts) for kind, counts in seen.items()} == {
        "kernel": {3, 5, 7}, "depth": {3, 4}, "expansion": {6}, "resolution": {192},
    }  # fmt: skip


def test_sandwich_has_max_and_smallest_open_net() -> None:
    space = get_space("mobilenet_v3_small_images")
    phase = Phase(name="p", share=1.0, open={"expansion": 0}, sampler="sandwich", n_random=2)
    rows = sample_step(space, phase, np.random.default_rng(0))
    assert len(rows) == 4
    assert (rows[0] == space.max).all()
    assert (rows[1] == space.canonical(smallest_open(space, phase))[0]).all()
    macs = space.costs(rows).macs
    assert macs[0] > macs[2:].max() >= macs[2:].min() > macs[1]


@pytest.mark.parametrize("name", SPACES)
def test_whole_space_is_open_by_default(name: str) -> None:
    space = get_space(name)
    rows = sample_step(space, Phase(name="p", share=1.0, sampler="min"), np.random.default_rng(0))
    assert (rows == space.min).all()


def test_networks_that_the_image_does_not_reach_are_not_trained() -> None:
    space = get_space("nasbench201", resolutions=(16, 32))
    assert not space.connected(np.zeros_like(space.min)).any()
    for opened, side in ((None, 16), ({"operator": 0}, 32)):
        phase = Phase(name="p", share=1.0, open=opened, sampler="sandwich", n_random=1000, target="max_net")
        rows = sample_step(space, phase, np.random.default_rng(0))
        assert space.connected(rows).all()
        assert space.resolution(rows[1]) == side
        assert (space.canonical(rows) == rows).all()


def coupled(space_name: str, **options: object) -> tuple["np.ndarray", ...]:  # type: ignore[type-arg]
    space = get_space(space_name, **options)
    phase = Phase(name="p", share=1.0, sampler="random", n_random=300, draw="coupled")
    rows = sample_step(space, phase, np.random.default_rng(0))
    values, active = space.gene_values(rows), space.active(rows)
    kinds = np.array([gene.kind for gene in space.genes])
    stages = np.array([gene.name.split("_")[0] for gene in space.genes])
    pairs = set()
    for stage in {name for name in stages if name.startswith("stage")}:
        (depth,) = np.flatnonzero((stages == stage) & (kinds == "depth"))
        for column in np.flatnonzero((stages == stage) & (kinds == "expansion")):
            drawn = zip(values[:, depth], values[:, column], strict=True)
            pairs |= {(int(d), int(e)) for (d, e), used in zip(drawn, active[:, column], strict=True) if used}
    kernels = set(values[:, kinds == "kernel"][active[:, kinds == "kernel"]].tolist())
    return pairs, kernels, rows


def test_coupled_draws_are_compofas_networks_and_nothing_else() -> None:
    pairs, kernels, rows = coupled("mobilenet_v3", resolutions=(224,))
    assert pairs == {(2, 3), (3, 4), (4, 6)}
    assert kernels == {3, 5, 7}
    assert len(np.unique(rows, axis=0)) > 250


def test_coupling_goes_by_rank_where_the_choices_differ_in_number() -> None:
    pairs, _, _ = coupled("mobilenet_v3", resolutions=(224,), depths=(1, 2, 3, 4), expansions=(3, 6))
    assert pairs == {(1, 3), (2, 3), (3, 6), (4, 6)}


def test_coupled_networks_with_fixed_kernels_are_243() -> None:
    space = get_space("mobilenet_v3", resolutions=(224,))
    opened = {"depth": 0, "expansion": 0}
    phase = Phase(name="p", share=1.0, open=opened, sampler="random", n_random=5_000, draw="coupled")
    rows = sample_step(space, phase, np.random.default_rng(0))
    assert len(np.unique(rows, axis=0)) == 3**5


def test_coupling_needs_depths() -> None:
    phase = {"name": "p", "share": 1.0, "sampler": "random", "n_random": 1, "draw": "coupled"}
    supernet = Supernet(get_space("nasbench201", num_classes=3))
    with pytest.raises(ValueError, match="phase 'p': draw coupled needs stages .* nasbench201 does not have"):
        Trainer(supernet, tiny_data(), tiny_recipe(phases=[phase]))


@pytest.mark.parametrize("opened", [None, {"depth": 2, "expansion": 0}])
def test_budget_draws_spread_evenly_over_macs(opened: dict[str, int] | None) -> None:
    space = get_space("mobilenet_v3_small_images")
    phase = Phase(name="p", share=1.0, open=opened, sampler="random", n_random=400, draw="budget")
    rows = sample_step(space, phase, np.random.default_rng(0))
    lowest = smallest_open(space, phase)
    assert (rows[space.active(rows)] >= np.broadcast_to(lowest, rows.shape)[space.active(rows)]).all()
    least, most = space.costs(np.stack([lowest, space.max])).macs
    macs = space.costs(rows).macs
    share = (macs - least) / (most - least)
    counts, _ = np.histogram(share, bins=5, range=(0, 1))
    assert counts.min() > 0.6 * 400 / 5
    uniform = sample_step(space, Phase(name="p", share=1.0, open=opened, sampler="random", n_random=400),
                          np.random.default_rng(0))  # fmt: skip
    crowded, _ = np.histogram((space.costs(uniform).macs - least) / (most - least), bins=5, range=(0, 1))
    assert crowded.min() < 0.1 * 400 / 5 < counts.min()
    assert BUDGETS > 5


def test_widest_is_the_max_net_at_every_open_resolution() -> None:
    space = get_space("mobilenet_v3_small_images", resolutions=[16, 24, 32])
    phase = Phase(name="p", share=1.0, sampler="widest", n_random=1, target="max_net")
    steps = [sample_step(space, phase, np.random.default_rng(seed)) for seed in range(40)]
    firsts = np.stack([rows[0] for rows in steps])
    assert is_widest(space, firsts).all()
    assert set(firsts[:, space.columns["resolution"]].tolist()) == {0, 1, 2}
    assert not is_widest(space, np.stack([space.min]))[0]
