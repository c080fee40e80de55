"""Warm starts: what a finished search knows, kept in its run folder, answers another budget at once.

``state/`` holds the predictors, fitted to all measurements; the front and the finalists are read from the tables
beside it. Answering needs no torch, no images, no device, and no pandas, whose import takes half as long as the whole
answer may. Accuracies are fractions, latencies milliseconds.
"""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, nan
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from pydantic import ConfigDict
from typing_extensions import TypedDict

from latency_tables.files import (
    PlainName,
    check_regular,
    file_digest,
    plain_name,
    read_json,
    read_text,
    shown,
    write_text,
)
from nas.search.budget import Budget
from nas.search.evolution.settings import EvolutionSettings
from nas.search.evolution.strategies import DEFAULT, require_strategy, run_strategy
from nas.search.feasibility import check_feasibility
from nas.search.latency import Latency, latencies_of
from nas.search.objectives import Objectives, Predictor
from nas.search.record import FILE as RECORD
from nas.search.record import SESSIONS, JudgedBy, SearchRecord, read_record
from predictors.accuracy import AccuracyPredictor
from predictors.latency import LatencyPredictor
from predictors.latency.transfer import OperatorCosts, SpaceLatency
from search_spaces import Population
from search_spaces.recorded import recorded_space

STATE, FILE = "state", "state.json"
PROFILE = "profile"
QUICK = EvolutionSettings(evaluations=2_500, parents=40, children=100)
"""Enough next to a front that is known already."""
GAIN = 0.0005
"""Predicted accuracy by which a network that was never measured must exceed one that was proved."""


class _About(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    device: NotRequired[str]
    supernet: NotRequired[str]
    seed: NotRequired[int]
    objective: NotRequired[JudgedBy]


class _State(TypedDict):
    """``state.json``; see `save_run`."""

    space: str
    options: dict[str, Any]
    confidence: Annotated[float, Gt(0), Lt(1)]
    precision: Literal["float32", "float16", "int8"]
    latency_scale: dict[str, Annotated[float, Gt(0)]]
    exponent: NotRequired[Annotated[float, Ge(-10), Le(0)]]
    batch: NotRequired[Annotated[int, Ge(1)]]
    latencies: dict[str, Literal["profile", "operators"]]
    devices: dict[PlainName, list[str]]
    about: _About
    strategy: str
    files: dict[PlainName, str]
    sha256: str


@dataclass(frozen=True)
class PreviousRun:
    """What a finished search knows.

    Attributes
    ----------
    objectives : its predictors, fitted to all measurements.
    devices : names of the devices, each with its aliases.
    about : supernet, seed and whatever else the record should repeat.
    starts : (n, n_genes), the front and the finalists.
    measured : by architecture, what was measured of the finalists, by its column in files: ``accuracy``,
        ``latency_ms`` and so on.
    proved : the architecture that the search chose, and what each latency of it keeps whenever it is measured, where
        it was measured in as many processes as a proof needs.
    strategy : name of the strategy that it searched with.
    """

    objectives: Objectives
    devices: dict[str, tuple[str, ...]]
    about: dict[str, Any]
    starts: Population
    measured: dict[str, dict[str, float]]
    proved: tuple[str, dict[Latency, float]]
    strategy: str = DEFAULT


@dataclass(frozen=True)
class Answer:
    """The best network known within another budget.

    Attributes
    ----------
    architecture, genotype : the network.
    status : ``met`` where the previous run proved by repeated measurements that it keeps every limit, else
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


def save_run(
    folder: Path,
    objectives: Objectives,
    devices: Mapping[str, Sequence[str]],
    about: Mapping[str, Any],
    strategy: str = DEFAULT,
) -> None:
    """Keep what the search in `folder` knows; parameters as of `PreviousRun`."""
    where, kinds = folder / STATE, {}
    assert isinstance(objectives.accuracy, AccuracyPredictor)
    objectives.accuracy.save(where / "accuracy.safetensors")
    for key, predictor in objectives.latencies.items():
        name = key.column()
        if isinstance(predictor, LatencyPredictor):
            kinds[name] = PROFILE
            predictor.save(where / f"{name}.json", measurements=False)
        elif isinstance(predictor, SpaceLatency):
            kinds[name] = "operators"
            costs = OperatorCosts()
            costs.devices_, costs.across_ = {name: predictor.costs}, predictor.costs.error_elsewhere
            costs.save(where / f"{name}.json")
        else:
            return  # a predictor of another class cannot be kept
    document = {
        "space": objectives.space.name,
        "options": objectives.space.options,
        "confidence": objectives.confidence,
        "precision": objectives.precision,
        "latency_scale": {key.column(): scale for key, scale in objectives.latency_scale.items()},
        "exponent": objectives.exponent,
        "batch": objectives.batch,
        "latencies": kinds,
        "devices": {name: list(others) for name, others in devices.items()},
        "about": dict(about),
        "strategy": strategy,
    }
    names = [*(f"{name}.json" for name in kinds), *(f"{name}.safetensors" for name in kinds if kinds[name] == PROFILE)]
    document["files"] = {name: file_digest(where / name) for name in ["accuracy.safetensors", *names]}
    # Last, so that a state is never there in part.
    write_text(where / FILE, json.dumps(document | {"sha256": _digest_of(document)}, indent=1) + "\n")


def load_run(folder: Path) -> PreviousRun:
    """Read what `save_run` wrote.

    Raises
    ------
    ValueError : `folder` is not that of a finished search, or its state is of another version.
    """
    path = folder / STATE / FILE
    if not path.exists():
        several = sorted(path.parent.parent.name for path in folder.glob(f"*/{STATE}/{FILE}"))
        hint = f"; it holds several, name one: {folder / several[0]}" if several else ""
        raise ValueError(f"{folder} is not the folder of a finished search whose state was kept{hint}")
    state = read_json(path, _State)
    _check_digests(state, path)
    space = recorded_space(state["space"], state["options"], path)
    latencies: dict[str, Predictor] = {}
    for key in latencies_of(state["latencies"]):
        name = plain_name(key.column())
        if state["latencies"][name] == PROFILE:
            profile = LatencyPredictor.load(path.parent / f"{name}.json")
            if profile.space.genes != space.genes:
                raise ValueError(f"{path.parent / name}.json is of another space")
            latencies[key.device] = profile
        else:
            latencies[key.device] = OperatorCosts.load(path.parent / f"{name}.json").of(name).for_space(space)
    alone = list(latencies) == [""]
    objectives = Objectives(
        space,
        AccuracyPredictor.load(path.parent / "accuracy.safetensors", space),
        latencies[""] if alone else latencies,
        state["confidence"],
        state["precision"],
        {key: state["latency_scale"][key.column()] for key in latencies_of(state["latency_scale"])},
        state.get("exponent", 0.0),
        state.get("batch", 1),
    )
    finalists = _rows(folder / "finalists.csv")
    names = [row["architecture"] for row in [*_rows(folder / "pareto.csv"), *finalists]]
    measured = {
        row["architecture"]: {
            column.removeprefix("measured_"): _number(value, folder / "finalists.csv", column)
            for column, value in row.items()
            if column.startswith("measured_") and value
        }
        for row in finalists
    }
    record = read_record(folder)
    space.parse(record["architecture"])
    proof = record["proof"]
    bounds = {
        key: _bound(record, key, folder)
        for key in latencies_of(proof, "bound_ms")
        if isinstance(sessions := proof.get(key.column("sessions_ms")), list) and len(sessions) >= SESSIONS
    }
    proved = (record["architecture"], bounds if record["status"] != "missed" else {})
    require_strategy(state["strategy"])
    devices = {name: tuple(others) for name, others in state["devices"].items()}
    return PreviousRun(
        objectives,
        devices,
        dict(state["about"]),
        np.stack([space.parse(name) for name in names]),
        measured,
        proved,
        state["strategy"],
    )


def answer_from(previous: PreviousRun, budget: Budget, seed: int = 0) -> Answer:
    """The most accurate network within `budget` by what a previous run knows; nothing is measured.

    Raises
    ------
    InfeasibleBudget : no network of the space can keep it.
    """
    objectives, space = previous.objectives, previous.objectives.space
    feasibility = check_feasibility(objectives, budget, seed)
    budget = feasibility.budget
    archive = run_strategy(
        previous.strategy,
        space,
        objectives.scorer(budget),
        rng=np.random.default_rng([seed, 1]),
        settings=QUICK,
        start=np.concatenate([feasibility.starts, previous.starts]),
    )
    limits = {latency: budget[latency].value for latency in budget.latencies}

    def too_slow(measured: Mapping[str, float]) -> bool:
        return any(measured.get(latency.column(), 0.0) > limit for latency, limit in limits.items())

    best = np.lexsort((archive.objectives[:, 0], archive.violation))[: len(previous.measured) + 1]
    rows = archive.population[best]
    names = space.format(rows)
    # The one that is worth most by prediction and was not measured to be too slow.
    kept = archive.violation[best] == 0
    pick = next((i for i, name in enumerate(names) if kept[i] and not too_slow(previous.measured.get(name, {}))), 0)
    name, row, met = names[pick], rows[pick : pick + 1], False
    chosen, bounds = previous.proved
    if limits and all(bounds.get(latency, np.inf) <= limit for latency, limit in limits.items()):
        proved, on_paper = space.parse(chosen)[None], budget.without(*limits)
        within = bool((on_paper.violations(objectives.costs(proved, on_paper)) <= 0).all())
        gain = float((objectives.worth(row, budget) - objectives.worth(proved, budget))[0])
        if within and gain <= GAIN:  # what is proved is worth more than what is predicted to be as good
            name, row, met = chosen, proved, True
    known = previous.measured.get(name, {})
    accuracy, accuracy_std = objectives.predicted_accuracy(row)
    predicted: dict[str, float | None] = {"accuracy": float(accuracy[0]), "accuracy_std": float(accuracy_std[0])}
    measured: dict[str, float | None] = {"accuracy": known.get("accuracy")}
    for key in objectives.latencies:
        mean, std = objectives.predicted_latency(row, key)
        chance = float(objectives.chance(mean, std, limits[key])[0]) if key in limits else None
        predicted |= {key.column(): float(mean[0]), key.column("latency_std_ms"): float(std[0])}
        predicted |= {key.column("chance"): chance}
        columns = [key.column(name) for name in ("latency_ms", "p10_ms", "p90_ms")]
        measured |= {column: known.get(column) for column in columns}
    costs = {key: int(value[0]) for key, value in objectives.on_paper(row).items()}
    return Answer(name, row[0], "met" if met else "predicted", predicted, measured, costs, budget)


def _check_digests(state: "_State", path: Path) -> None:
    """The state and its files are those that were written together."""
    if state["sha256"] != _digest_of({name: value for name, value in state.items() if name != "sha256"}):
        raise ValueError(f"{path} is damaged: its contents are not the ones that were saved; search again")
    for name, digest in state["files"].items():
        check_regular(path.parent / name)
        if file_digest(path.parent / name) != digest:
            raise ValueError(f"{path.parent / name} is damaged: it is not the file that {FILE} was written for")
    needed = {f"{name}.json" for name in state["latencies"]} | {"accuracy.safetensors"}
    if missing := needed - state["files"].keys():
        raise ValueError(f"{path}: files.{min(missing)} is missing")
    if wrong := state["latency_scale"].keys() - state["latencies"].keys():
        raise ValueError(f"{path}: latency_scale.{shown(min(wrong))} is of no latency")


def _digest_of(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _bound(record: SearchRecord, key: Latency, folder: Path) -> float:
    bound = record["proof"][key.column("bound_ms")]
    if not isinstance(bound, int | float):
        raise ValueError(f"{folder / RECORD}: proof.{shown(key.column('bound_ms'))} must be a number")
    return float(bound)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        rows = list(csv.DictReader(read_text(path).splitlines(), strict=True))
    except csv.Error as error:
        raise ValueError(f"{path} is not a table: {error}") from error
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values() or "architecture" not in row:
            raise ValueError(f"{path} is damaged in line {number}")
    if not rows:
        raise ValueError(f"{path} has no rows")
    return rows


def _number(text: str, path: Path, column: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = nan
    if not 0 <= found < inf:
        raise ValueError(f"{path} has a value that is no finite number in column {shown(column)}: {shown(text)}")
    return found
