"""The study of the recipes: what is compared is comparable."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.conditions import made_on
from experiments.recipes_cifar10 import results
from experiments.recipes_cifar10.networks import RANDOM_MACS, SIZES, UNIFORM, OneNetwork, chosen, uniform
from experiments.recipes_cifar10.runs import Run, all_runs, cost_macs, recipe_of
from nas.supernet import Supernet
from nas.training.samplers import coupled_genes


def test_networks_are_the_same_for_all_recipes_and_mostly_coupled() -> None:
    networks = chosen()
    macs = networks.space.costs(networks.population).macs
    assert list(networks.names[:5]) == list(SIZES)
    assert (np.diff(macs[:5]) > 0).all()
    assert np.allclose(macs[5:], RANDOM_MACS, rtol=0.01)
    expansions, depths = coupled_genes(networks.space)
    active = networks.space.active(networks.population)[:5, expansions]
    rows = networks.population[:5]
    assert (rows[:, expansions] == rows[:, depths])[active].all()


@pytest.mark.parametrize("number", [0, 3, 7])
def test_one_network_alone_is_that_network(number: int) -> None:
    networks = chosen()
    row = networks.population[number]
    alone = OneNetwork(networks.space, row)
    ours, theirs = alone.costs(alone.max), networks.space.costs(row)
    assert (alone.size, alone.min.tolist()) == (1, alone.max.tolist())
    assert ours.macs[0] == theirs.macs[0]
    assert sum(p.numel() for p in Supernet(alone).parameters()) == theirs.params[0]


def test_scaled_nets_cost_no_less_than_the_middle_sizes() -> None:
    networks = chosen()
    wanted = networks.space.costs(networks.population).macs[1:4]
    scaled = [int(uniform(name).costs(uniform(name).max).macs[0]) for name in UNIFORM]
    assert all(least <= macs < 1.07 * least for macs, least in zip(scaled, wanted, strict=True))


@pytest.mark.parametrize("name", ["deps", "ofa"])
def test_recipes_cost_the_budget(name: str) -> None:
    n, budget, space = 45000, 1.5, chosen().space
    recipe = recipe_of(Run("recipe", name, 0), budget, n)
    unit = 3 * int(space.costs(space.max).macs[0]) * n
    assert cost_macs(recipe, space, n, seed=0) / unit == pytest.approx(budget, rel=0.02)
    # A phase of four subnets and a teacher costs what is said of it.
    first, *_, last = recipe.phases
    alone = cost_macs(replace(recipe, phases=(replace(first, share=1.0),), epochs=0.05), space, n, seed=0)
    full = cost_macs(replace(recipe, phases=(replace(last, share=1.0),), epochs=0.05), space, n, seed=0)
    assert alone == pytest.approx(0.05 * unit, rel=0.01)
    assert 1.5 < full / alone < 2.7


def test_results_are_kept_run_by_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    runs = all_runs(seed=0)
    assert len({run.label for run in runs}) == len(runs) == 18

    def rows(run: Run, accuracy: float) -> list[dict[str, Any]]:
        names = chosen().names if run.kind == "recipe" else (run.name,)
        about = {"kind": run.kind, "run": run.name, "seed": run.seed, "budget": 1.5}
        found = {"macs": 1, "params": 1, "validation_accuracy": accuracy, "test_accuracy": accuracy}
        more = {"epochs": 1.0, "steps": 1, "cost": 1.0, "seconds": 1}
        return [about | {"network": name} | found | more for name in names]

    def curve(run: Run) -> list[dict[str, Any]]:
        about = {"kind": run.kind, "run": run.name, "seed": run.seed, "budget": 1.5}
        return [about | {"step": step, "accuracy_max": 0.5} for step in (50, 100)]

    for i, run in enumerate(runs):
        assert not results.done(run, 1.5)
        results.record(rows(run, 0.3 + i / 100), curve(run))
        assert results.done(run, 1.5)
        assert not results.done(run, 3.0)
    results.record(rows(runs[1], 0.9), curve(runs[1]))  # performed twice, by two processes: the last one counts
    assert len(results._read(results.ACCURACY)) == 6 * 9 + 9 + 3
    assert (results._read(results.ACCURACY)["made_on"] == made_on("torch", "numpy")).all()
    assert len(results._read(results.CURVES)) == 2 * len(runs)
    assert "rank by MACs" in results.summarise(1.5)
    assert (tmp_path / "accuracy.png").stat().st_size > 10_000
