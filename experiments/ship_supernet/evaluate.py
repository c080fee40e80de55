"""Which subnets to evaluate before a supernet ships, so that the accuracy predictor knows the fronts best.

All are evaluated on search-validation with batch-norm calibrated on the synthesised images: as they will be deployed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.devices import get_device
from nas.devices.learning import learn_device
from nas.evaluation.trained import TrainedSupernet
from nas.search.budget import Budget
from nas.search.evolution.archive import row_keys
from nas.search.evolution.pareto import front
from nas.search.evolution.settings import EvolutionSettings
from nas.search.evolution.strategies import run_strategy
from nas.search.objectives import Objectives, Predictor
from predictors.accuracy import AccuracyPredictor
from search_spaces import Population


@dataclass(frozen=True)
class Table:
    """How many subnets to evaluate.

    Attributes
    ----------
    spread : the extremes, and random ones of all sizes.
    rounds : after each of which the predictor is fitted anew.
    each : subnets of the front evaluated in a round; in turn of accuracy against MACs and against a phone's latency.
    candidates : networks predicted to find a front.
    """

    spread: int = 120
    rounds: int = 10
    each: int = 18
    candidates: int = 5_000


def evaluate_table(
    trained: TrainedSupernet, plan: Table, folder: Path, seed: int, say: Callable[[str], None]
) -> AccuracyPredictor:
    """Evaluate subnets into the table of `trained`; the predictor fitted to all of them.

    Parameters
    ----------
    trained : with synthesised images in place of its training images. What it knows already is not done again.
    folder : for devices' files.
    """
    space, evaluated = trained.space, trained.evaluated
    drawn = space.sample(plan.spread - 2, np.random.default_rng([seed, plan.spread]), tilt=1.5)
    evaluated(np.concatenate([np.stack([space.min, space.max]), drawn]), shown("spread", say))
    costs: list[Predictor | None] = [
        None,
        learn_device(get_device("pixel", folder=folder), space).predictor,
    ]
    front_settings = EvolutionSettings(evaluations=plan.candidates, parents=100, children=100)
    for number in range(plan.rounds):
        asked = plan.spread + (number + 1) * plan.each - len(evaluated.known)
        if asked <= 0:
            continue  # done before the interruption
        predictor = AccuracyPredictor(space).fit(evaluated.known, evaluated(evaluated.known))
        objectives = Objectives(space, predictor, costs[number % len(costs)])
        rng = np.random.default_rng([seed, plan.spread, number])
        archive = run_strategy(
            "nsga2", space, objectives.front_scorer(Budget.parse()), rng=rng, settings=front_settings
        )
        unknown = ~np.isin(row_keys(archive.population), row_keys(evaluated.known))
        population = along_front(archive.population[unknown], archive.objectives[unknown], asked)
        evaluated(population, shown(f"round {number + 1}", say))
    known = evaluated.known
    return AccuracyPredictor(space).fit(known, evaluated(known))


def along_front(population: Population, objectives: np.ndarray, n: int) -> Population:
    """At most `n` of `population`: of the front evenly along it, then of the front of the rest, and so on."""
    chosen: list[int] = []
    rest = np.arange(len(population))
    while len(chosen) < n and len(rest):
        layer = rest[front(objectives[rest])]
        wanted = n - len(chosen)
        if len(layer) > wanted:
            layer = layer[np.unique(np.linspace(0, len(layer) - 1, wanted).round().astype(int))]
        chosen += layer.tolist()
        rest = np.setdiff1d(rest, layer)
    return population[chosen]


def calibration_loss(
    synthesised: TrainedSupernet, real: TrainedSupernet, n: int, seed: int, say: Callable[[str], None]
) -> list[dict[str, float]]:
    """Accuracy of random subnets that no synthesis has seen, calibrated on either kind of images."""
    space = real.space
    population = space.sample(n, np.random.default_rng([seed, n, 1]), tilt=1.5)
    on_real = real.evaluated(population, shown("calibrated on real images", say))
    on_synthesised = synthesised.evaluated(population, shown("calibrated on synthesised images", say))
    return [
        {"macs": int(macs), "real": float(a), "synthesised": float(b)}
        for macs, a, b in zip(space.costs(population).macs, on_real, on_synthesised, strict=True)
    ]


def landmarks(trained: TrainedSupernet, n: int) -> dict[str, str]:
    """Roles by architecture: the min, the middle and the max net, and `n` of the table's front, evenly by MACs."""
    space, known = trained.space, trained.evaluated.known
    macs = space.costs(known).macs.astype(float)
    best = front(np.stack([-trained.evaluated(known), macs], axis=1))
    marks = np.geomspace(macs[best].min(), macs[best].max(), n + 2)[1:-1]
    nearest = np.unique([np.abs(np.log(macs[best] / mark)).argmin() for mark in marks])
    middle = space.canonical((space.n_choices // 2).astype(np.int16)[None])[0]
    names = space.format(np.stack([*known[best[nearest]], middle, space.max, space.min]))
    return dict(zip(names, [*["front"] * len(nearest), "middle", "max", "min"], strict=True))


def shown(what: str, say: Callable[[str], None]) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == total or done % 10 == 0:
            say(f"{what}: {done} of {total}")

    return progress
