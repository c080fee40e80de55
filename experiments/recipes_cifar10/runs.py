"""The study's runs: six recipes, nine networks from scratch and the max net scaled down, all by the same engine.

Cost is counted in MACs: a subnet's forward and backward pass cost three times its MACs for each image, a teacher's
forward pass once its MACs. Evaluation, calibration and augmentation are not counted. The unit of a budget is an
epoch of the max net trained alone.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments.recipes_cifar10.networks import SIZES, SPACE, UNIFORM, Networks, OneNetwork, chosen, uniform
from nas.data import ImageData
from nas.evaluation import evaluate_subnets, evaluate_subnets_on_test
from nas.training import Phase, Recipe, load_recipe, make_supernet, read_log, train
from nas.training.augmentation import Flip, PadCrop
from nas.training.batches import STEP
from nas.training.samplers import sample_step
from nas.training.schedule import Schedule
from search_spaces import SearchSpace, get_space

RECIPES = ("delayed_sandwich", "deps", "bignas", "alphanet", "ofa", "compofa")
SAME: dict[str, Any] = {"batch_size": 64, "augmentation": (PadCrop(padding=4), Flip())}
"""What all runs share, whatever their recipe's file says."""

Kind = Literal["recipe", "scratch", "uniform"]


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes
    ----------
    kind : a supernet by a ``recipe``; a network of the space from ``scratch``; the max net scaled by ``uniform``.
    name : of the recipe or network.
    """

    kind: Kind
    name: str
    seed: int

    @property
    def label(self) -> str:
        """Its folder's name."""
        return f"{self.kind}-{self.name}-seed{self.seed}"


def all_runs(seed: int) -> list[Run]:
    """The runs of one seed, those that say most first."""
    return [
        Run("scratch", "max", seed),
        *(Run("recipe", name, seed) for name in RECIPES),
        *(Run("scratch", name, seed) for name in chosen().names if name != "max"),
        *(Run("uniform", name, seed) for name in UNIFORM),
    ]


def recipe_of(run: Run, budget: float, n_images: int) -> Recipe:
    """The recipe, as long as the budget allows: by cost for a supernet, in epochs for a network from scratch."""
    if run.kind == "recipe":
        recipe = load_recipe(run.name)
    else:
        recipe = replace(load_recipe("deps"), name="alone", phases=(Phase(name="alone", share=1.0),))
    recipe = replace(recipe, **SAME, epochs=budget)
    if run.kind != "recipe":
        return recipe
    space = get_space(SPACE)
    rng = np.random.default_rng(0)
    a_step = sum(p.share * np.mean([_cost(space, p, rng) for _ in range(500)]) for p in recipe.phases)
    alone = 3 * space.costs(space.max).macs[0]
    n_steps = round(budget * Schedule(recipe, n_images).steps_per_epoch * alone / a_step)
    return replace(recipe, epochs=n_steps / Schedule(recipe, n_images).steps_per_epoch)


def cost_macs(recipe: Recipe, space: SearchSpace, n_images: int, seed: int) -> int:
    """What the run costs, exactly: the subnets that it will draw."""
    schedule = Schedule(recipe, n_images)
    draws = (np.random.default_rng([seed, STEP, step]) for step in range(schedule.n_steps))
    steps = sum(_cost(space, schedule.phase(step), rng) for step, rng in enumerate(draws))
    return schedule.batch_size * steps


def _cost(space: SearchSpace, phase: Phase, rng: np.random.Generator) -> int:
    """MACs of a step for each image."""
    trained = 3 * int(space.costs(sample_step(space, phase, rng)).macs.sum())
    return trained + (int(space.costs(space.max).macs[0]) if phase.target == "teacher" else 0)


def perform(
    run: Run, data: ImageData, folder: Path, budget: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Train, or go on training, in `folder`; the rows of its networks' accuracies and of its curve."""
    of = chosen()
    if run.kind == "recipe":
        space, evaluated = of.space, of
    else:
        space = OneNetwork(of.space, of.population[of.names.index(run.name)]) if run.kind == "scratch" else None
        space = space or uniform(run.name)
        evaluated = Networks(space, (run.name,), space.max[None])
    recipe = recipe_of(run, budget, len(data.train))
    supernet = make_supernet(space, recipe, run.seed)
    settings: dict[str, Any] = {"threads": 1, "device": "cpu", "precision": "float32"}
    result = train(supernet, data, recipe, folder, seed=run.seed, evaluations=1, **settings)
    validation = evaluate_subnets(supernet, evaluated.population, data)
    # Of inherited weights only the five sizes are reported on test; ranks are taken from the validation split.
    reported = [name in SIZES or run.kind != "recipe" for name in evaluated.names]
    test = np.full(len(reported), np.nan)
    test[reported] = evaluate_subnets_on_test(supernet, evaluated.population[reported], data)
    costs = space.costs(evaluated.population)
    unit = 3 * of.space.costs(of.space.max).macs[0] * len(data.train)
    about = {"kind": run.kind, "run": run.name, "seed": run.seed, "budget": budget}
    whole = {
        "epochs": round(recipe.epochs, 4),
        "steps": result.steps,
        "cost": round(cost_macs(recipe, space, len(data.train), run.seed) / unit, 4),
        "seconds": round(result.seconds),
    }
    rows = [
        about
        | {
            "network": name,
            "macs": int(costs.macs[i]),
            "params": int(costs.params[i]),
            "validation_accuracy": round(float(validation[i]), 4),
            "test_accuracy": round(float(test[i]), 4),
        }
        | whole
        for i, name in enumerate(evaluated.names)
    ]
    curve = [
        about | {key: record.get(key) for key in ("step", "epoch", "loss_max", "accuracy_max", "accuracy_min")}
        for record in read_log(folder)
    ]
    return rows, curve
