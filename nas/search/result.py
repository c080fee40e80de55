"""The result of a search: the chosen network, the tables that it was chosen by, and their files.

``result.json`` holds the chosen network; ``pareto.csv`` the front, ``cloud.csv`` random networks for comparison,
``finalists.csv`` predicted and measured figures side by side, ``convergence.csv`` the best accuracy known
after so many candidates. Accuracies are fractions, latencies milliseconds.
"""

import json
import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from latency_tables.files import write_text
from nas.search.budget import Budget
from nas.search.evolution.archive import Archive, total_violation
from nas.search.evolution.pareto import front
from nas.search.feasibility import Feasibility
from nas.search.finalists.measurements import EVALUATED, measured_columns
from nas.search.finalists.proof import Verdict, describe
from nas.search.latency import ONLY_DEVICE, Latency, latencies_of
from nas.search.latency_breakdown import latency_breakdown
from nas.search.objectives import Objectives
from nas.search.record import FILE
from search_spaces import Population

_PACKAGES = ("shrinkwrap-nas", "numpy", "scikit-learn", "torch", "onnx", "onnxruntime")
_CLOUD = 2000  # random networks, enough to show where the space lies
OF_AN_ANSWER = (FILE, "report.html", "state/state.json")
"""What reads the other files of a run folder, or was made of them."""


@dataclass
class SearchResult:
    """The chosen network and how it was found; accuracies are fractions, latencies milliseconds.

    Attributes
    ----------
    genotype : (n_genes,), the chosen network.
    architecture : its readable name.
    status : ``met`` by measurement, ``predicted`` only, or ``missed`` when measured.
    predicted : accuracy, accuracy_std, latency_ms, latency_std_ms and the chance to keep the latency budget. Where
        several devices share the network, what belongs to one of them has its name: ``latency_ms@pixel``.
    measured : accuracy, latency_ms, p10_ms, p90_ms, those of its slowest session; None where not measured.
    proof : sessions_ms, latency in each of the processes in which the network was measured; spread, the relative
        standard deviation of a network's latency between sessions; bound_ms, what the next session is taken to keep;
        stopped, why there were no more rounds.
    costs : macs, params, weight_bytes, peak_activation_bytes.
    budgets : one record a limit: flag, device, key, typed, limit, value, source (``measured``, ``predicted`` or
        ``paper``) and met.
    feasibility : the table of min, middle and max net, as records.
    latency_breakdown : what each part of the network adds to its predicted latency; see `nas.search.latency_breakdown`.
    candidates : networks that were evaluated by prediction.
    front, cloud, finalists, convergence : tables; see the files of the same names.
    about : further facts for the record, ready for JSON. The report shows: test_accuracy (a fraction) and test_images
        (how many); labelled (False where no accuracy could be judged); exports (of each file, what
        `nas.export.checked.export_checked` found); files (what: file name); classes; data; predictors (which: its held-
        out error in words); accuracy_predictor (its errors near the front and overall, and how the rounds of
        evaluations went); command (as typed); notes (sentences).
    """

    space: dict[str, Any]
    device: str | None
    genotype: Population
    architecture: str
    status: str
    confidence: float
    seed: int
    predicted: dict[str, float | None]
    measured: dict[str, float | None]
    costs: dict[str, int]
    budgets: list[dict[str, Any]]
    feasibility: list[dict[str, Any]]
    candidates: int
    rounds: int
    search_seconds: float
    versions: dict[str, str]
    interrupted: bool
    front: pd.DataFrame = field(repr=False)
    cloud: pd.DataFrame = field(repr=False)
    finalists: pd.DataFrame = field(repr=False)
    convergence: pd.DataFrame = field(repr=False)
    proof: dict[str, Any] = field(default_factory=dict)
    latency_breakdown: list[dict[str, Any]] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)

    FILES = {
        "front": "pareto.csv",
        "cloud": "cloud.csv",
        "finalists": "finalists.csv",
        "convergence": "convergence.csv",
    }

    @property
    def devices(self) -> list[str]:
        """Names of the devices that share the network; one empty name where it is for one device, or for none."""
        return [latency.device for latency in latencies_of(self.predicted)]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the tables, ready for ``result.json``."""
        record = {key: value for key, value in vars(self).items() if key not in (*self.FILES, "about")}
        return record | {"genotype": self.genotype.tolist()} | self.about

    def write(self, folder: Path) -> None:
        """Write the tables and, last, ``result.json`` into `folder`."""
        self.write_tables(folder)
        write_text(folder / FILE, json.dumps(self.to_dict(), indent=2) + "\n")

    def write_tables(self, folder: Path) -> None:
        """Write the tables into `folder`, which no record calls finished yet."""
        for table, name in self.FILES.items():
            write_text(folder / name, getattr(self, table).to_csv(index=False))


def forget_answer(folder: Path) -> None:
    """Let `folder` be that of a search without an answer: before files of another one come beside an earlier record."""
    for name in OF_AN_ANSWER:
        (folder / name).unlink(missing_ok=True)


def assemble(
    objectives: Objectives,
    feasibility: Feasibility,
    verdict: Verdict,
    searches: list[Archive],
    whole: Archive | None,
    *,
    seed: int,
    device: str | None,
    seconds: float,
) -> SearchResult:
    """Make the result of a search.

    Parameters
    ----------
    searches : what each round's search evaluated.
    whole : what the search for the whole front evaluated.
    seconds : time spent searching.
    """
    archives = [*searches, whole] if whole is not None else searches
    space, budget = objectives.space, feasibility.budget
    genotype = verdict.population[verdict.winner]
    row = verdict.finalists.iloc[verdict.winner]
    front_table, cloud = _landscape(objectives, archives, budget, seed)
    predicted = {key: _number(row[f"predicted_{key}"]) for key in ("accuracy", "accuracy_std")}
    measured = {"accuracy": _number(row[EVALUATED])}
    for key in objectives.latencies or (ONLY_DEVICE,):
        names = [key.column("latency_ms"), key.column("latency_std_ms")]
        mean, std = (_number(row.get(f"predicted_{name}")) for name in names)
        chance = None
        if key in budget:
            chance = float(objectives.chance(np.array([mean]), np.array([std]), budget[key].value)[0])
        predicted |= dict(zip([*names, key.column("chance")], (mean, std, chance), strict=True))
        measured |= {column.removeprefix("measured_"): _number(row[column]) for column in measured_columns(key)}
    costs = {key: int(row[key]) for key in space.costs(genotype[None])._fields}
    return SearchResult(
        space={"name": space.name, "options": space.options, "size": space.size},
        device=device,
        genotype=genotype,
        architecture=str(row["architecture"]),
        status=verdict.status,
        confidence=objectives.confidence,
        seed=seed,
        predicted=predicted,
        measured=measured,
        costs=costs,
        budgets=budget.judged(predicted, measured, costs, missed=verdict.status == "missed"),
        feasibility=feasibility.rows,
        candidates=sum(map(len, archives)),
        rounds=verdict.rounds,
        search_seconds=round(seconds, 3),
        versions=_versions(),
        interrupted=any(archive.interrupted for archive in archives),
        front=front_table,
        cloud=cloud,
        finalists=verdict.finalists,
        proof=verdict.proof,
        latency_breakdown=latency_breakdown(objectives, genotype),
        # What is minimised where latency counts too is no accuracy.
        convergence=pd.DataFrame(searches[0].convergence(), columns=["candidates", "predicted_accuracy"]).assign(
            predicted_accuracy=lambda t: (
                -t["predicted_accuracy"].where(np.isfinite(t["predicted_accuracy"]) & (objectives.exponent == 0))
            )
        ),
    )


def _landscape(
    objectives: Objectives, archives: list[Archive], budget: Budget, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The front of everything evaluated, and random networks to show where the space lies, within the other limits."""
    score = objectives.front_scorer(budget)

    def within(population: Population) -> tuple[Population, NDArray[np.float64]]:
        keep = total_violation(score.violations(population)) == 0
        return population[keep], score.objectives(population)[keep]

    # Predicted again, because the predictors may have been fitted to measurements since.
    # An archive is empty where the search was stopped before its first generation.
    population, scores = within(np.concatenate([archive.population for archive in archives if len(archive)]))
    table = describe(objectives, population[front(scores)]).drop(columns="round")
    _, cloud = within(objectives.space.sample(_CLOUD, np.random.default_rng(seed)))
    names = [key.column("predicted_latency_ms") if isinstance(key, Latency) else key for key in objectives.front_costs]
    return table, pd.DataFrame({"predicted_accuracy": -cloud[:, 0]} | dict(zip(names, cloud.T[1:], strict=True)))


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
