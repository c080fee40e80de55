"""Proving the answer: a few finalists are measured on the device, and only one that holds can win.

What predictors say and what was measured stand in different columns, always. Every measurement and every
evaluation is written to the finalists' table as soon as it is known, keyed by architecture, so that a
killed search measures nothing twice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from latency_tables.files import write_text
from nas.search.archive import Archive, row_keys
from nas.search.budget import Budget
from nas.search.estimates import LATENCY, Estimator
from search_spaces import Population, SearchSpace

Measure = Callable[[Population], tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]
"""Median, p10 and p90 latency in milliseconds of n networks, each (n,)."""
Evaluate = Callable[[Population], NDArray[np.float64]]
"""Accuracy in [0, 1] of n networks with the supernet's weights on the search-validation split, (n,)."""
Refit = Callable[[Population, NDArray[np.float64]], None]
"""Teaches the latency predictor what was measured: networks and their milliseconds, all of them so far."""
Propose = Callable[[Population], Archive]
"""A fresh search with the predictors as they now are, given the networks measured so far."""

EVALUATED = "measured_accuracy"


def measured_columns(key: str = LATENCY) -> list[str]:
    """Columns of median, p10 and p90 of the latency `key` as measured."""
    device = key.removeprefix(LATENCY)
    return [f"measured_{name}_ms{device}" for name in ("latency", "p10", "p90")]


class Ledger:
    """What has been measured, by architecture: a CSV file that is rewritten, atomically, at every change.

    Parameters
    ----------
    path : the file, read if it is there; None keeps everything in memory.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._table = pd.DataFrame(dtype=np.float64)
        self._table.index.name = "architecture"
        if path is not None and path.exists():
            # Through text: pandas before 3 does not read back exactly the float that was written.
            self._table = pd.read_csv(path, index_col="architecture", dtype=str).astype(np.float64)

    def lookup(self, architectures: pd.Series, columns: list[str]) -> pd.DataFrame:
        """The measured `columns` of `architectures`, not-a-number where nothing is known yet."""
        return self._table.reindex(index=architectures, columns=columns).reset_index(drop=True)

    def record(self, architectures: pd.Series, columns: list[str], values: NDArray[np.float64]) -> None:
        """Keep `values` of shape (n_architectures, n_columns)."""
        new = [name for name in architectures if name not in self._table.index]
        known = self._table.reindex([*self._table.index, *new]).rename_axis("architecture")
        self._table = known.reindex(columns=list(dict.fromkeys([*known.columns, *columns])))
        self._table.loc[list(architectures), columns] = values
        if self.path is not None:
            write_text(self.path, self._table.to_csv())


@dataclass(frozen=True)
class Verdict:
    """What came of the finalists.

    Attributes
    ----------
    finalists : the table.
    population : int16 (n_finalists, n_genes), its genotypes.
    winner : row of the chosen network, or of the one that came closest.
    status : ``met`` (by measurement), ``predicted`` (nothing was measured), ``missed``.
    rounds : rounds of finalists.
    """

    finalists: pd.DataFrame
    population: Population
    winner: int
    status: str
    rounds: int


def choose_finalists(
    space: SearchSpace, archive: Archive, budget: Budget, n: int, exclude: Population, slack: float = 0.1
) -> Population:
    """The most accurate networks within the budget, unlike each other and with growing slack in latency.

    Predictions err alike for alike networks, so finalists differ in at least a twentieth of their genes; and
    one after the other leaves a little more room, the last `slack` of the limit, in case all are too slow.

    Returns
    -------
    int16 array of shape (at most n, n_genes).
    """
    candidates = ~np.isin(row_keys(archive.population), row_keys(exclude))
    if (candidates & archive.feasible).any():
        candidates &= archive.feasible
    else:  # after a correction everything known may be too slow: come as close as possible
        candidates &= archive.violation <= np.sort(archive.violation[candidates])[:n].max(initial=0)
    index = np.nonzero(candidates)[0]
    index = index[np.argsort(archive.objectives[index, 0], kind="stable")]
    rows = archive.population[index]
    latencies = np.flatnonzero([limit.metric.key == LATENCY for limit in budget.limits])
    room = -archive.scores.violations[np.ix_(index, latencies)].max(axis=1, initial=-1)
    distance = max(1, round(len(space.genes) / 20))
    unlike = np.ones(len(index), dtype=bool)
    free = np.ones(len(index), dtype=bool)
    chosen: list[int] = []
    for i in range(min(n, len(index))):
        roomy = room >= slack * i / max(1, n - 1)
        pick = next(int(np.argmax(m)) for m in (free & unlike & roomy, free & roomy, free & unlike, free) if m.any())
        chosen.append(pick)
        free[pick] = False
        unlike &= (rows != rows[pick]).sum(axis=1) >= distance
    return rows[chosen]


def verify(
    estimator: Estimator,
    budget: Budget,
    propose: Propose,
    ledger: Ledger,
    *,
    measure: Mapping[str, Measure],
    evaluate: Evaluate | None,
    refit: Mapping[str, Refit],
    n_finalists: int,
    rounds: int,
) -> Verdict:
    """Measure finalists round after round until one keeps the latency budget, on every device that has one.

    The winner is the most accurate finalist (evaluated where `evaluate` is given, else predicted) whose
    *measured* latency keeps the budget. After a round in which none does, the predictor learns from all
    measurements and cheaper networks are proposed. Without `measure` one round is chosen by prediction.

    Parameters
    ----------
    measure, refit : by the key of the latency. Where a limited one is not among them, its limit is kept by prediction
        alone, and the verdict says so.
    """
    population: Population = np.empty((0, len(estimator.space.genes)), dtype=np.int16)
    known = [column for key in estimator.latencies for column in measured_columns(key)] or measured_columns()
    limits = {key: budget[key].value if key in budget else np.inf for key in measure}
    proved = all(limit.key in measure for limit in budget.limits if limit.metric.key == LATENCY)
    finalists = pd.DataFrame()
    winner, status, played = 0, "predicted", 0
    for number in range(1, rounds + 1):
        proposals = choose_finalists(estimator.space, propose(population), budget, n_finalists, population)
        if not len(proposals):
            break
        played = number
        population = np.concatenate([population, proposals])
        entrants = describe(estimator, proposals, number)
        for key, function in measure.items():
            _measure(ledger, entrants["architecture"], proposals, key, function)
        _evaluate(ledger, entrants["architecture"], proposals, evaluate)
        entrants = entrants.join(ledger.lookup(entrants["architecture"], [*known, EVALUATED]))
        finalists = pd.concat([finalists, entrants], ignore_index=True) if len(finalists) else entrants
        accuracy = finalists[EVALUATED].fillna(finalists["predicted_accuracy"]).to_numpy()
        if not measure:
            winner = int(accuracy.argmax())
            break
        latencies = {key: finalists[measured_columns(key)[0]].to_numpy() for key in measure}
        load = np.max([latencies[key] / limit for key, limit in limits.items()], axis=0)
        if (load <= 1).any():
            winner, status = int(np.where(load <= 1, accuracy, -np.inf).argmax()), "met" if proved else "predicted"
            break
        winner, status = int(load.argmin()), "missed"
        for key, latency in latencies.items():
            if key in refit:
                refit[key](population, latency)
            _correct(estimator, population, key, latency)
    return Verdict(finalists, population, winner, status, played)


def describe(estimator: Estimator, population: Population, number: int = 0) -> pd.DataFrame:
    """A table of `population`: round, architecture, predictions with standard deviations, costs on paper."""
    accuracy, accuracy_std = estimator.predicted_accuracy(population)
    table = {
        "round": number,
        "architecture": estimator.space.format(population),
        "predicted_accuracy": accuracy,
        "predicted_accuracy_std": accuracy_std,
    }
    for key in estimator.latencies:
        device = key.removeprefix(LATENCY)
        mean, std = estimator.predicted_latency(population, key)
        table |= {f"predicted_latency_ms{device}": mean, f"predicted_latency_std_ms{device}": std}
    return pd.DataFrame(table | estimator.space.costs(population, estimator.precision)._asdict())


def _measure(ledger: Ledger, names: pd.Series, population: Population, key: str, measure: Measure) -> None:
    columns = measured_columns(key)
    missing = ledger.lookup(names, columns)[columns[0]].isna().to_numpy()
    if missing.any():
        ledger.record(names[missing], columns, np.stack(measure(population[missing]), axis=1))


def _evaluate(ledger: Ledger, names: pd.Series, population: Population, evaluate: Evaluate | None) -> None:
    if evaluate is None:
        return
    # One at a time: each takes seconds, and none must be lost when the search is stopped between two.
    for row in np.flatnonzero(ledger.lookup(names, [EVALUATED])[EVALUATED].isna()).tolist():
        accuracy = np.asarray(evaluate(population[row : row + 1]), dtype=np.float64)
        ledger.record(names.iloc[[row]], [EVALUATED], accuracy[:, None])


def _correct(estimator: Estimator, population: Population, key: str, latency_ms: NDArray[np.float64]) -> None:
    """Raise predictions that are still too low on what was measured, by their median error."""
    ratio = float(np.median(latency_ms / estimator.mean_latency(population, key)))
    estimator.latency_scale[key] = estimator.latency_scale.get(key, 1.0) * max(1.0, ratio)
