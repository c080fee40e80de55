"""What a finished search knows, kept in its run folder, so that another budget is answered at once.

``state/`` holds the predictors as the measurements left them; the front and the finalists are read from the tables
beside it. Answering needs no torch, no images, no device, and no pandas, whose import takes half as long as the whole
answer may. Accuracies are fractions, latencies milliseconds.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latency_tables.files import write_text
from nas.search.budget import Budget
from nas.search.evolution.evolve import EvolutionSettings, evolve
from nas.search.feasibility import check_feasibility
from nas.search.objectives import LATENCY, Estimator, Predictor
from predictors.accuracy import AccuracyPredictor
from predictors.latency import LatencyPredictor
from predictors.latency.transfer import OperatorCosts, SpaceLatency
from search_spaces import Population, get_space

STATE = "state"
QUICK = EvolutionSettings(evaluations=2_500, parents=40, children=100)
"""Enough next to a front that is known already."""
GAIN = 0.0005
"""Predicted accuracy that a network which was never measured must promise beyond one that was proved."""


@dataclass(frozen=True)
class State:
    """What a finished search knows.

    Attributes
    ----------
    estimator : its predictors, as the measurements left them.
    devices : names of the devices, with the others that each answers to.
    about : supernet, seed and whatever else the record should repeat.
    starts : (n, n_genes), the front and the finalists.
    measured : by architecture, what was measured of the finalists: ``accuracy``, ``latency_ms`` and so on.
    proved : the architecture that the former search chose, and what each latency of it keeps whenever measured.
    """

    estimator: Estimator
    devices: dict[str, tuple[str, ...]]
    about: dict[str, Any]
    starts: Population
    measured: dict[str, dict[str, float]]
    proved: tuple[str, dict[str, float]]


@dataclass(frozen=True)
class Answer:
    """The best network known within another budget.

    Attributes
    ----------
    architecture, genotype : the network.
    status : ``met`` where the former search proved by measuring again and again that it keeps every limit, else
        ``predicted``, whatever single measurements are known.
    predicted, measured : as in `nas.search.result.SearchResult`; None where not measured.
    budget : resolved.
    """

    architecture: str
    genotype: Population
    status: str
    predicted: dict[str, float | None]
    measured: dict[str, float | None]
    costs: dict[str, int]
    budget: Budget


def save_state(
    folder: Path, estimator: Estimator, devices: Mapping[str, Sequence[str]], about: Mapping[str, Any]
) -> None:
    """Keep what the search in `folder` knows; parameters as of `State`."""
    where, kinds = folder / STATE, {}
    assert isinstance(estimator.accuracy, AccuracyPredictor)
    estimator.accuracy.save(where / "accuracy.safetensors")
    for key, predictor in estimator.latencies.items():
        if isinstance(predictor, LatencyPredictor):
            kinds[key] = "profile"
            predictor.save(where / f"{key}.json", measurements=False)
        elif isinstance(predictor, SpaceLatency):
            kinds[key] = "operators"
            costs = OperatorCosts()
            costs.devices_, costs.across_ = {key: predictor.costs}, predictor.costs.error_elsewhere
            costs.save(where / f"{key}.json")
        else:
            return  # a predictor of another make cannot be kept
    document = {
        "space": estimator.space.name,
        "options": estimator.space.options,
        "confidence": estimator.confidence,
        "precision": estimator.precision,
        "latency_scale": estimator.latency_scale,
        "latencies": kinds,
        "devices": {name: list(others) for name, others in devices.items()},
        "about": dict(about),
    }
    # Last, so that a state is never there in part.
    write_text(where / "state.json", json.dumps(document, indent=1) + "\n")


def load_state(folder: Path) -> State:
    """Read what `save_state` wrote.

    Raises
    ------
    ValueError : `folder` is not that of a finished search, or its state is of another version.
    """
    try:
        document = json.loads((folder / STATE / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        several = sorted(path.parent.parent.name for path in folder.glob(f"*/{STATE}/state.json"))
        hint = f"; it holds several, name one: {folder / several[0]}" if several else ""
        raise ValueError(f"{folder} is not the folder of a finished search whose state was kept{hint}") from error
    space = get_space(document["space"], **document["options"])
    latencies: dict[str, Predictor] = {}
    for key, kind in document["latencies"].items():
        path, name = folder / STATE / f"{key}.json", key.removeprefix(LATENCY).removeprefix("@")
        if kind == "profile":
            latencies[name] = LatencyPredictor.load(path)
        else:
            latencies[name] = OperatorCosts.load(path).devices_[key].for_space(space)
    alone = list(latencies) == [""]
    estimator = Estimator(
        space,
        AccuracyPredictor.load(folder / STATE / "accuracy.safetensors", space),
        latencies[""] if alone else latencies,
        document["confidence"],
        document["precision"],
        document["latency_scale"],
    )
    finalists = _rows(folder / "finalists.csv")
    names = [row["architecture"] for row in [*_rows(folder / "pareto.csv"), *finalists]]
    measured = {
        row["architecture"]: {
            column.removeprefix("measured_"): float(value)
            for column, value in row.items()
            if column.startswith("measured_") and value
        }
        for row in finalists
    }
    record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    bounds = {k.replace("bound", "latency"): float(v) for k, v in record["proof"].items() if k.startswith("bound_ms")}
    proved = (record["architecture"], bounds if record["status"] != "missed" else {})
    devices = {name: tuple(others) for name, others in document["devices"].items()}
    return State(
        estimator, devices, document["about"], np.stack([space.parse(name) for name in names]), measured, proved
    )


def answer_from(state: State, budget: Budget, seed: int = 0) -> Answer:
    """The most accurate network within `budget` by what `state` knows; nothing is measured.

    Raises
    ------
    InfeasibleBudget : no network of the space can keep it.
    """
    estimator, space = state.estimator, state.estimator.space
    rng = np.random.default_rng([seed, 0])
    feasibility = check_feasibility(estimator, budget, rng)
    budget = feasibility.budget
    starts = np.concatenate([feasibility.starts, state.starts])
    archive = evolve(space, estimator.scorer(budget), rng=rng, settings=QUICK, start=starts)
    limits = [limit for limit in budget.limits if limit.metric.key == LATENCY]

    def too_slow(measured: Mapping[str, float]) -> bool:
        return any(measured.get(limit.key, 0.0) > limit.value for limit in limits)

    best = np.lexsort((archive.objectives[:, 0], archive.violation))[: len(state.measured) + 1]
    rows = archive.population[best]
    names = space.format(rows)
    # The most accurate by prediction that was not measured to be too slow.
    kept = archive.violation[best] == 0
    pick = next((i for i, name in enumerate(names) if kept[i] and not too_slow(state.measured.get(name, {}))), 0)
    name, row, met = names[pick], rows[pick : pick + 1], False
    chosen, bounds = state.proved
    if limits and all(bounds.get(limit.key, np.inf) <= limit.value for limit in limits):
        former, paper = space.parse(chosen)[None], budget.without(*(limit.key for limit in limits))
        within = bool((paper.violations(estimator.costs(former, paper)) <= 0).all())
        gain = float((estimator.predicted_accuracy(row)[0] - estimator.predicted_accuracy(former)[0])[0])
        if within and gain <= GAIN:  # what is proved is worth more than what is predicted to be as good
            name, row, met = chosen, former, True
    known = state.measured.get(name, {})
    accuracy, accuracy_std = estimator.predicted_accuracy(row)
    predicted: dict[str, float | None] = {"accuracy": float(accuracy[0]), "accuracy_std": float(accuracy_std[0])}
    measured: dict[str, float | None] = {"accuracy": known.get("accuracy")}
    for key in estimator.latencies:
        device = key.removeprefix(LATENCY)
        mean, std = estimator.predicted_latency(row, key)
        predicted |= {key: float(mean[0]), f"latency_std_ms{device}": float(std[0]), f"chance{device}": None}
        if key in budget:
            predicted[f"chance{device}"] = float(estimator.chance(mean, std, budget[key].value)[0])
        measured |= {f"{what}_ms{device}": known.get(f"{what}_ms{device}") for what in ("latency", "p10", "p90")}
    costs = {key: int(value[0]) for key, value in space.costs(row, estimator.precision)._asdict().items()}
    return Answer(name, row[0], "met" if met else "predicted", predicted, measured, costs, budget)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise ValueError(f"{path.parent} is not the folder of a finished search: {error}") from error
