"""The proof that a budget holds: finalists are measured repeatedly, and only one that keeps it each time is chosen.

A round proposes finalists, some with the confidence asked for and some aimed close below the limit, and measures them.
The best are measured again in fresh processes until the next measurement of the best one can be bounded
(`nas.search.finalists.measurements`). Then the latency predictor is fitted to everything measured; while part of the
budget is unused and a better network is predicted, another round follows.

Predicted and measured figures never share a column. Every measurement and every evaluation is written to a file as
soon as it is known, so that a killed search measures nothing twice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas.search.budget import Budget
from nas.search.evolution.archive import Archive, row_keys, total_violation
from nas.search.finalists.measurements import EVALUATED, LOSS, Ledger, Sessions, measured_columns
from nas.search.finalists.proposals import Evaluated, choose_evaluated, choose_finalists
from nas.search.latency import ONLY_DEVICE, CostKey, Latency
from nas.search.objectives import Objectives
from search_spaces import Population

Measure = Callable[[Population], tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]
"""Latency, p10 and p90 in milliseconds of n networks, each (n,), in a fresh process on the device."""
Evaluate = Callable[[Population], NDArray[np.float64]]
"""Accuracy in [0, 1] of n networks with the supernet's weights on the search-validation split, (n,)."""
StandardError = Callable[[float], float]
"""Standard error of an accuracy, both fractions."""
Refit = Callable[[Population, NDArray[np.float64]], None]
"""Fits the latency predictor to all measurements so far: networks and their milliseconds."""
Propose = Callable[[float, Mapping[Latency, float]], Archive]
"""A search with the predictors as they now are: with a chance (0.5 to 1) to keep latencies in ms."""

AIMED = 0.6
"""Chance to keep the limit of the finalists that are aimed close below it; the others have the confidence asked for."""
GAIN = 0.0005
"""Predicted accuracy worth another round; a search-validation split of 5,000 images resolves ten times as much."""
_TRACE = 1e-9  # far below what one image changes
CONTENDERS = 3
"""Of the best networks, how many are measured again together: if the first fails, the next is already measured."""


@dataclass(frozen=True)
class Verdict:
    """The finalists, and the chosen one.

    Attributes
    ----------
    finalists : the table; measured latencies are those of a network's slowest session.
    population : int16 (n_finalists, n_genes), its genotypes.
    winner : row of the chosen network, or of the one that came closest.
    status : ``met`` (by measurement), ``predicted`` (nothing was measured), ``missed``.
    rounds : rounds of finalists.
    proof : why there were no more rounds, and how the winner was measured; see `SearchResult.proof`.
    """

    finalists: pd.DataFrame
    population: Population
    winner: int
    status: str
    rounds: int
    proof: dict[str, Any]


def verify(
    objectives: Objectives,
    budget: Budget,
    propose: Propose,
    ledger: Ledger,
    *,
    measure: Mapping[Latency, Measure],
    evaluate: Evaluate | None,
    losses: Evaluate | None = None,
    error: StandardError = lambda accuracy: 0.0,
    refit: Mapping[Latency, Refit],
    n_finalists: int,
    rounds: int,
    sessions: int = 3,
    slack: float = 0.02,
    given: Population | None = None,
    evaluated: Evaluated | None = None,
) -> Verdict:
    """Measure finalists round after round until the best of those that keep the latency budget is good enough.

    The winner is the most accurate finalist (evaluated where `evaluate` is given, else predicted) that kept the
    budget in each of at least `sessions` processes and is sure to keep it in the next, on every device that has one.
    Of those whose accuracy is within one standard error of the highest, it is the one of the lowest loss, where
    `losses` is given. Without `measure` one round is chosen by prediction.

    Parameters
    ----------
    losses : of networks that `evaluate` was just asked for; on few images a loss tells the better one sooner than
        accuracy does, see `nas.evaluation.calibrated_loss`. Where one is not known (not a number), accuracy decides.
    error : the standard error of an accuracy on these images; see `nas.evaluation.confusion`.
    measure, refit : by latency. Where a limited one is not among them, its limit is kept by prediction alone, and the
        verdict says so.
    slack : share of the budget, beyond the margin for the next session, that may stay unused without another round.
    given : networks that are finalists whatever is predicted of them, measured and evaluated in the first round. Such a
        one can win where it keeps all limits.
    evaluated : networks of known accuracy; the best that are likely to keep the limits are finalists too, a quarter of
        each round.
    """
    finalists = _Finalists(
        objectives, budget, ledger, measure, evaluate, losses, error, refit, sessions, given, evaluated
    )
    winner, rounds_done, stopped = None, 0, "as many rounds as allowed"
    for number in range(1, rounds + 1):
        proposals = finalists.proposals(propose, n_finalists, winner)
        if number == 1:
            proposals = finalists.with_given(proposals)
        if not len(proposals):
            stopped = "it was stopped by hand" if finalists.interrupted else "there are no further networks to propose"
            break
        if winner is not None:
            # Both by the predictors as they are now.
            now, best = (objectives.worth(p, budget).max() for p in (finalists.population[[winner]], proposals))
            now = max(now, finalists.worth_before(winner))
            if best <= now + GAIN and not finalists.better_is_known:
                stopped = "no network within the budget is predicted to be more accurate"
                break
        rounds_done = number
        finalists.add_round(proposals, number, winner)
        if not measure:
            winner, stopped = finalists.best(), "nothing was measured"
            break
        winner = finalists.prove()
        finalists.learn()
        if winner is not None and not finalists.limits:
            stopped = "without a limit on a measured latency the most accurate is known"
            break
        if winner is not None and 1 - finalists.share_of_limit()[winner] <= slack:
            stopped = "the budget is used up to the margin that measuring again calls for"
            break
    row = finalists.closest() if winner is None else winner
    proved = all(latency in measure for latency in budget.latencies)
    status = "missed" if winner is None else "met" if measure and proved else "predicted"
    return Verdict(
        finalists.table(), finalists.population, row, status, rounds_done, finalists.proof(row) | {"stopped": stopped}
    )


class _Finalists:
    """The finalists so far, with their measurements and evaluations."""

    def __init__(
        self,
        objectives: Objectives,
        budget: Budget,
        ledger: Ledger,
        measure: Mapping[Latency, Measure],
        evaluate: Evaluate | None,
        losses: Evaluate | None,
        error: StandardError,
        refit: Mapping[Latency, Refit],
        enough: int,
        given: Population | None,
        evaluated: Evaluated | None,
    ) -> None:
        self.objectives, self.budget, self.ledger = objectives, budget, ledger
        self.measure, self.evaluate, self.losses, self.refit = measure, evaluate, losses, refit
        self.error = error
        self.given = np.empty((0, len(objectives.space.genes)), dtype=np.int16) if given is None else given
        self.barred = row_keys(self.given)
        if given is not None:
            over = objectives.scorer(budget.without(*measure)).violations(given)
            self.barred = self.barred[total_violation(over) > 0]
        self.limits = {key: budget[key].value for key in measure if key in budget}
        self.enough = enough if self.limits else 1  # without a limit there is nothing to hold
        self.population: Population = np.empty((0, len(objectives.space.genes)), dtype=np.int16)
        self.described = pd.DataFrame()
        self.accuracy, self.loss = np.empty(0), np.empty(0)
        self.sessions = {key: Sessions() for key in measure}
        self.evaluated = evaluated if evaluate is not None else None
        self.better_is_known = False
        self.number = 0
        self.interrupted = False

    def proposals(self, propose: Propose, n: int, incumbent: int | None) -> Population:
        """Up to `n` networks for the next round; half of them aimed close to the limits where that can be measured."""
        space, objectives, budget = self.objectives.space, self.objectives, self.budget
        aims = {key: ms / (1 + float(self.sessions[key].margin(self.enough))) for key, ms in self.limits.items()}
        confident = None if self.interrupted else propose(objectives.confidence, aims)
        if confident is None or (confident.interrupted and len(self.population)):
            self.interrupted = True
            return self.population[:0]
        can_aim = bool(aims) and all(latency in aims for latency in budget.latencies)
        likely = replace(objectives, confidence=AIMED) if can_aim else objectives
        best = self._best_evaluated(likely, budget.moved(aims), n // 4, incumbent)
        known, n = np.concatenate([self.population, best]), n - len(best)
        if not can_aim:
            return np.concatenate([best, choose_finalists(space, confident, budget, n, known, measured=self.measure)])
        predicted = [objectives.predicted_latency(confident.population[[confident.best]], key) for key in aims]
        width = max(float(std[0] / mean[0]) for mean, std in predicted)
        choose = partial(choose_finalists, space, budget=budget, measured=self.measure)
        first = np.concatenate([best, choose(confident, n=n - n // 2, exclude=known, slack=2 * width)])
        known = np.concatenate([self.population, first])
        aimed = propose(AIMED, aims)
        if aimed.interrupted and not len(self.population):
            raise KeyboardInterrupt  # measuring what is known by now would take minutes
        if aimed.interrupted:
            self.interrupted = True
            return self.population[:0]
        return np.concatenate([first, choose(aimed, n=n // 2, exclude=known, slack=width / 2)])

    def _best_evaluated(self, likely: Objectives, budget: Budget, n: int, incumbent: int | None) -> Population:
        """The best `n` networks, of those evaluated before, that are worth more than the incumbent."""
        if self.evaluated is None:
            return self.population[:0]
        worth = -np.inf if incumbent is None else float(self._judged(np.array([incumbent]))[0]) + GAIN
        best = choose_evaluated(likely, self.evaluated, budget, n, self.population, worth)
        self.better_is_known = bool(len(best))
        return best

    def worth_before(self, row: int) -> float:
        """What a finalist is worth that was chosen by its evaluation before the search, whatever is predicted of it."""
        if self.evaluated is None or not np.isin(row_keys(self.population[[row]]), row_keys(self.evaluated.population)):
            return -np.inf
        return float(self._judged(np.array([row]))[0])

    def with_given(self, proposals: Population) -> Population:
        """The proposals, and the given networks before them; where nothing is measured, those that keep the limits."""
        given = self.given[~np.isin(row_keys(self.given), row_keys(proposals))]
        if not self.measure:
            given = given[~np.isin(row_keys(given), self.barred)]
        return np.concatenate([given, proposals])

    def add_round(self, proposals: Population, number: int, incumbent: int | None) -> None:
        """Add a round's finalists and measure them together with the best network so far."""
        first = len(self.population)
        self.population = np.concatenate([self.population, proposals])
        described = describe(self.objectives, proposals, number)
        self.described = pd.concat([self.described, described], ignore_index=True) if first else described
        unknown = np.full(len(proposals), np.nan)
        self.accuracy, self.loss = np.concatenate([self.accuracy, unknown]), np.concatenate([self.loss, unknown])
        rows = np.arange(first, len(self.population))
        if self.measure:
            self._session(rows if incumbent is None else np.append(rows, incumbent))
        else:
            self._evaluate(rows)

    def share_of_limit(self) -> NDArray[np.float64]:
        """The bound on each network's next measurement, as a share of the limit that it is closest to, (n,)."""
        shares = [self.sessions[key].bound_ms(self.enough) / limit for key, limit in self.limits.items()]
        return np.asarray(np.max([np.zeros(len(self.population)), *shares], axis=0))

    def closest(self) -> int:
        """Row of the network whose bound is closest to its limit, or furthest below."""
        return int(np.where(self._may_win(), self.share_of_limit(), np.inf).argmin())

    def prove(self) -> int | None:
        """Measure the best candidates again until the best of all has enough sessions; None if none is left."""
        while True:
            within = np.flatnonzero((self.share_of_limit() <= 1) & self._may_win())
            # Those that cannot win too: they are what the chosen one is compared with.
            given = np.flatnonzero(np.isin(row_keys(self.population), row_keys(self.given)))
            self._evaluate(np.union1d(within, given))
            if not len(within):
                return None
            order = within[np.argsort(-self._judged(within), kind="stable")]
            times = next(iter(self.sessions.values())).n
            if times[order[0]] >= self.enough:
                return int(order[0])
            leading = order[:CONTENDERS]
            self._session(leading[times[leading] < self.enough])

    def learn(self) -> None:
        """Fit the predictors to all measurements, and scale them so that their median error is zero."""
        for key, sessions in self.sessions.items():
            if key not in self.objectives.latencies:
                continue
            latency = sessions.mean_ms
            if key in self.refit:
                self.refit[key](self.population, latency)
            ratio = float(np.median(latency / self.objectives.mean_latency(self.population, key)))
            self.objectives.latency_scale[key] = self.objectives.latency_scale.get(key, 1.0) * ratio

    def best(self) -> int:
        """Row of the finalist that is worth most."""
        rows = np.flatnonzero(self._may_win())
        return int(rows[self._judged(rows).argmax()]) if len(rows) else 0

    def table(self) -> pd.DataFrame:
        """Predicted and measured figures of all finalists, side by side."""
        table = self.described.copy()
        for key in self.objectives.latencies or (ONLY_DEVICE,):
            table[measured_columns(key)] = self.sessions[key].slowest() if key in self.sessions else np.nan
        table["sessions"] = next((sessions.n for sessions in self.sessions.values()), 0)
        table[EVALUATED], table[LOSS] = self.accuracy, self.loss
        return table

    def proof(self, row: int) -> dict[str, Any]:
        """How network `row` was measured; see `SearchResult.proof`."""
        found: dict[str, Any] = {}
        for key, sessions in self.sessions.items():
            own = sessions.ms[row]
            found[key.column("sessions_ms")] = own[np.isfinite(own)].tolist()
            found[key.column("spread")] = sessions.spread if (sessions.n > 1).any() else None
            found[key.column("bound_ms")] = float(sessions.bound_ms(self.enough)[row])
        return found

    def _may_win(self) -> NDArray[np.bool_]:
        """All but given networks that exceed a limit which is not measured, (n,)."""
        return ~np.isin(row_keys(self.population), self.barred)

    def _judged(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """What networks are worth (see `Objectives.worth`) by what is known best of them, shape as of `rows`."""
        accuracy, loss = self.accuracy[rows], self.loss[rows]
        evaluated = np.isfinite(accuracy)
        accuracy = np.where(evaluated, accuracy, self.described["predicted_accuracy"].to_numpy()[rows])
        if evaluated.any() and np.isfinite(loss[evaluated]).all():
            known = accuracy[evaluated]
            accuracy[evaluated] = ordered_by_loss(known, loss[evaluated], self.error(float(known.max())))
        if not self.objectives.exponent:
            return accuracy
        latencies: dict[CostKey, NDArray[np.float64]] = {
            key: (
                self.sessions[key].bound_ms(self.enough)
                if key in self.sessions
                else self.described[key.column("predicted_latency_ms")].to_numpy()
            )[rows]
            for key in self.budget.latencies
        }
        return self.objectives.weighed(accuracy, latencies, self.budget)

    def _session(self, rows: NDArray[np.intp]) -> None:
        self.number += 1
        names = self.described["architecture"].iloc[rows].tolist()
        for key, measure in self.measure.items():
            columns = measured_columns(key)
            found = self.ledger.lookup(self.number, names, columns)
            if np.isnan(found).any():
                found = np.stack(measure(self.population[rows]), axis=1)
                self.ledger.record(self.number, names, columns, found)
            self.sessions[key].add(len(self.population), rows, found)

    def _evaluate(self, rows: NDArray[np.intp]) -> None:
        if self.evaluate is None:
            return
        # One at a time: each takes seconds, and none must be lost when the search is stopped between two.
        for row in rows[np.isnan(self.accuracy[rows])].tolist():
            name, one = [self.described["architecture"].iloc[row]], self.population[row : row + 1]
            if np.isnan(self.ledger.lookup(0, name, [EVALUATED])).any():
                found = np.asarray(self.evaluate(one), dtype=np.float64)
                loss = np.full(1, np.nan) if self.losses is None else self.losses(one)
                self.ledger.record(0, name, [EVALUATED, LOSS], np.stack([found, loss], axis=1))
            self.accuracy[row], self.loss[row] = self.ledger.lookup(0, name, [EVALUATED, LOSS])[0]


def ordered_by_loss(accuracy: NDArray[np.float64], loss: NDArray[np.float64], error: float) -> NDArray[np.float64]:
    """Accuracies, those that chance may have put behind the highest in the order of their losses.

    Of these the network of the k-th lowest loss gets the k-th highest accuracy, and of equal ones a trace less than the
    one before it, so that the loss decides between them too.

    Parameters
    ----------
    accuracy, loss : of networks on the same images, (n,).
    error : standard error of the highest accuracy; those within it are put in order.
    """
    alike = np.flatnonzero(accuracy >= accuracy.max() - error)
    found = accuracy.copy()
    found[alike[np.argsort(loss[alike], kind="stable")]] = -np.sort(-accuracy[alike]) - _TRACE * np.arange(len(alike))
    return found


def describe(objectives: Objectives, population: Population, number: int = 0) -> pd.DataFrame:
    """A table of `population`: round, architecture, predictions with standard deviations, costs on paper."""
    accuracy, accuracy_std = objectives.predicted_accuracy(population)
    table = {
        "round": number,
        "architecture": objectives.space.format(population),
        "predicted_accuracy": accuracy,
        "predicted_accuracy_std": accuracy_std,
    }
    for key in objectives.latencies:
        mean, std = objectives.predicted_latency(population, key)
        table |= {key.column("predicted_latency_ms"): mean, key.column("predicted_latency_std_ms"): std}
    return pd.DataFrame(table | objectives.on_paper(population))
