"""A whole search within a budget that can be kept: evolution, the Pareto front, finalists measured, and the files.

Everything that needs weights or a device comes in as a function, so the search runs anywhere the
predictors do. A search is a function of its seed, its predictors and what was measured; measurements are
kept in ``measurements.csv``, and the rest takes about a second, so a killed search resumes by starting
again in its folder.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from latency_tables.files import read_json, shown, write_text
from nas.errors import BudgetMissed
from nas.progress import SILENT, Listener
from nas.search.budget import Budget
from nas.search.evolution.archive import Archive
from nas.search.evolution.settings import EvolutionSettings
from nas.search.evolution.strategies import DEFAULT, require_strategy, run_strategy
from nas.search.feasibility import Feasibility
from nas.search.finalists.measurements import Ledger, measured_columns
from nas.search.finalists.proof import Evaluate, Measure, Refit, StandardError, verify
from nas.search.finalists.proposals import Evaluated
from nas.search.latency import Latency, by_latency
from nas.search.objectives import OBJECTIVES, Objectives, check_objective
from nas.search.record import IDENTITY, SESSIONS
from nas.search.result import SearchResult, assemble, forget_answer
from search_spaces import Population

MEASUREMENTS = "measurements.csv"
"""File of a run folder: what was measured of finalists."""


@dataclass(frozen=True)
class SearchSettings:
    """How thorough a search is.

    Attributes
    ----------
    evolution : for the best network within the budget; run again after each round of measurements.
    front : for the whole front, which is searched by ``nsga2``.
    finalists : networks measured in a round.
    rounds : rounds at most.
    sessions : fresh processes in which the winner must have kept a latency budget.
    slack : share of a latency budget that may stay unused without another round; see `verify`.
    strategy : name of the strategy that searches for the best network; see `nas.search.evolution.strategies`.
    objective : what networks are chosen by, one of `nas.search.objectives.OBJECTIVES`; two searches that differ in it
        do not share a folder.
    """

    evolution: EvolutionSettings = EvolutionSettings()
    front: EvolutionSettings = EvolutionSettings(evaluations=10_000, parents=100, children=100)
    finalists: int = 8
    rounds: int = 4
    sessions: int = SESSIONS
    slack: float = 0.02
    strategy: str = DEFAULT
    objective: str = "accuracy"

    def __post_init__(self) -> None:
        for name in ("finalists", "rounds", "sessions"):
            if getattr(self, name) < 1:
                raise ValueError(f"search setting {name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.slack < 1:
            raise ValueError(f"search setting slack must be at least 0 and below 1, got {self.slack}")
        require_strategy(self.strategy)
        check_objective(self.objective, OBJECTIVES)


def run_search(
    objectives: Objectives,
    feasibility: Feasibility,
    *,
    seed: int = 0,
    settings: SearchSettings = SearchSettings(),
    folder: Path | None = None,
    record: bool = True,
    device: str | None = None,
    measure: Measure | Mapping[str, Measure] | None = None,
    evaluate: Evaluate | None = None,
    losses: Evaluate | None = None,
    error: StandardError = lambda accuracy: 0.0,
    refit: Refit | Mapping[str, Refit] | None = None,
    given: Population | None = None,
    evaluated: Evaluated | None = None,
    origin: Mapping[str, Any] | None = None,
    listener: Listener = SILENT,
) -> SearchResult:
    """Find the network that is worth most within a budget and prove it where `measure` is given.

    What a network is worth is its accuracy, and its latency where `objectives` has an exponent.

    Parameters
    ----------
    objectives : space, predictors and confidence. Its predictors may be refitted on the way.
    feasibility : of the budget with these predictors; see `check_feasibility`.
    seed : of all randomness.
    settings : see `SearchSettings`.
    folder : where ``result.json``, the tables and the measurements go; a killed run of the same search in it is
        continued.
    record : whether ``result.json`` is written also where the budget is kept. If not, the caller does it
        (`SearchResult.write`) when all is done that belongs to the search; that of an earlier answer is removed.
    device : the device's name, for the record.
    measure, evaluate, losses, error, refit : see `nas.search.finalists.proof`; None leaves that step out. Where
        several devices share the network, `measure` and `refit` are mappings by the device's name; those not named are
        predicted only.
    given : (n, n_genes), networks that are finalists whatever is predicted of them.
    evaluated : networks of known accuracy, of which the best that are likely to keep the budget are finalists too.
    origin : JSON-able facts besides these that the accuracies and latencies kept in `folder` follow from; two searches
        that differ in one do not share a folder.
    listener : is told in a sentence what happens next.

    Raises
    ------
    BudgetMissed : no finalist kept it when measured; the files are written before this is raised.
    KeyboardInterrupt : the same after Ctrl-C, when another round might still have found one, and after Ctrl-C before
        there is a network that could be returned or anything is measured; nothing is written.
    ValueError : `folder` holds another search, or the latency is limited but there is no latency predictor.
    """
    budget = feasibility.budget
    if folder is not None:
        space = objectives.space
        identity = {"space": space.name, "space_options": space.options} | dict(origin or {})
        identity |= {"confidence": objectives.confidence, "precision": objectives.precision}
        identity |= identity_of(budget, seed, settings, device)
        check_folder(folder, identity)
        write_text(folder / IDENTITY, json.dumps(identity, indent=2, sort_keys=True) + "\n")
    searches: list[Archive] = []
    seconds, fresh = 0.0, True

    def search(confidence: float, aim: Budget) -> Archive:
        nonlocal seconds
        listener.say(f"searching {settings.evolution.evaluations:,} candidates for {aim}")
        started = time.perf_counter()
        rng = _generator(seed, 2 + len(searches))
        score = replace(objectives, confidence=confidence).scorer(aim)
        searches.append(
            run_strategy(
                settings.strategy,
                objectives.space,
                score,
                rng=rng,
                settings=settings.evolution,
                start=feasibility.starts,
            )
        )
        seconds += time.perf_counter() - started
        return searches[-1]

    def propose(confidence: float, aims: Mapping[Latency, float]) -> Archive:
        """Search with the predictors as they are; the first time, what was just found with them."""
        nonlocal fresh
        if fresh:
            fresh = False
            return first
        return search(confidence, budget.moved(aims))

    def announced(key: Latency, function: Measure) -> Measure:
        def measured(population: Population) -> Any:
            listener.say(f"measuring {len(population)} finalists on {key.device or device}")
            return function(population)

        return measured

    first = search(objectives.confidence, budget)
    if first.interrupted and not len(first):
        raise KeyboardInterrupt
    whole = None
    if not first.interrupted:
        whole = run_strategy(
            "nsga2",
            objectives.space,
            objectives.front_scorer(budget),
            rng=_generator(seed, 1),
            settings=settings.front,
            start=feasibility.starts,
        )
    # After Ctrl-C the best so far is returned at once; measurements would take minutes.
    stopped = whole is None or whole.interrupted
    verdict = verify(
        objectives,
        budget,
        propose,
        Ledger(None if folder is None else folder / MEASUREMENTS),
        measure={} if stopped else {key: announced(key, each) for key, each in by_latency(measure).items()},
        evaluate=None if stopped else evaluate,
        losses=losses,
        error=error,
        refit=by_latency(refit),
        n_finalists=settings.finalists,
        rounds=settings.rounds,
        sessions=settings.sessions,
        slack=settings.slack,
        given=given,
        evaluated=evaluated,
    )
    result = assemble(objectives, feasibility, verdict, searches, whole, seed=seed, device=device, seconds=seconds)
    missed = verdict.status == "missed"
    if missed and result.interrupted:
        raise KeyboardInterrupt  # a round that was left out might have kept it
    if folder is not None and (record or missed):
        forget_answer(folder)
        result.write(folder)
    elif folder is not None and not result.interrupted:
        forget_answer(folder)
        result.write_tables(folder)
    if missed:
        raise BudgetMissed(_missed(result, budget))
    return result


def _generator(seed: int, stream: int) -> np.random.Generator:
    return np.random.default_rng([seed, stream])


def identity_of(budget: Budget, seed: int, settings: SearchSettings, device: str | None) -> dict[str, Any]:
    """What is known of a search before anything is learnt, and must be the same where a killed one is continued."""
    return {
        "budget": {limit.column: limit.typed for limit in budget.limits},
        "seed": seed,
        "device": device,
        "settings": asdict(settings),
    }


def check_folder(folder: Path, identity: Mapping[str, Any]) -> None:
    """Refuse to mix two searches in one folder.

    Parameters
    ----------
    identity : what is known of the search; facts that it or the folder does not have are not compared.

    Raises
    ------
    ValueError : `folder` holds another search.
    """
    path = folder / IDENTITY
    if not path.exists():
        return
    there, own = read_json(path, dict[str, Any]), json.loads(json.dumps(identity))
    if changed := [key for key in own if key in there and there[key] != own[key]]:
        raise ValueError(
            f"{folder} holds another search (it differs in {shown(', '.join(changed))}); leave --out or --resume out "
            "to begin a search of its own"
        )


def _missed(result: SearchResult, budget: Budget) -> str:
    """Says by how much: by the limit that even the network that came closest is over, or furthest over."""
    measured = [latency for latency in budget.latencies if latency.column("bound_ms") in result.proof]
    bounds = {latency: float(result.proof[latency.column("bound_ms")]) for latency in measured}
    latency = max(measured, key=lambda latency: bounds[latency] / budget[latency].value)
    limit, closest = budget[latency], float(result.measured[latency.column()] or 0.0)
    took = result.finalists[measured_columns(latency)[0]]
    others = " while keeping the other devices' limits" if len(measured) > 1 else ""
    tried, where = f"none of the {len(result.finalists)} finalists", limit.device or result.device
    shown, needed = limit.shown(limit.value), limit.as_limit(bounds[latency])
    ask = "ask for at least" if limit.throughput is None else "ask for at most"
    if closest > limit.value:
        return (
            f"{tried} kept {shown} when measured on {where}{others}: they took {took.min():.3g} to {took.max():.3g} "
            f"ms; {ask} {needed}, or give the search more rounds"
        )
    return (
        f"{tried} is sure to keep {shown} on {where} whenever it is measured{others}: the closest took {closest:.3g} "
        f"ms, and repeated measurements call for {needed}; {ask} that, or give the search more rounds"
    )
