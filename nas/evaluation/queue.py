"""Subnets waiting to be evaluated, shared by a search and any number of workers through an Optuna storage.

A study holds the subnets of one supernet, a trial each: the genes as parameters, the values accuracy (a fraction)
and MACs, so that ``optuna-dashboard`` shows the front. The search decides which subnets are evaluated and waits for
all of them, so its result does not depend on who evaluates how many. Trials, their states, heartbeats and the
repetition of a dead worker's trial are Optuna's. Two things are done here that ``Study.optimize`` does otherwise: the
first heartbeat is recorded before a trial is taken, since a process killed between the two would leave a trial that is
never repeated; and nothing is evaluated that was not requested.

Optuna: A Next-generation Hyperparameter Optimization Framework (KDD 2019), https://arxiv.org/abs/1907.10902.
"""

import os
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from threading import Event, Thread
from typing import Any, Self

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from latency_tables.files import check_value
from nas.evaluation.accuracy import Evaluation
from nas.evaluation.storage import HEARTBEAT_S, WAIT_S, Database, ignore_experimental
from nas.progress import SILENT, Listener, Progress
from search_spaces import Population, SearchSpace

POLL_S = 0.5
_MARK = "shrinkwrap-nas"
_FOLDERS = "folders"
_LOSS = "calibrated loss"


@dataclass(frozen=True)
class SupernetIdentity:
    """What a worker must have, to find the same accuracies as everyone else.

    Attributes
    ----------
    folder : where the search found the supernet.
    weights : SHA-256 of its weights.
    data : fingerprint of its images and their splits.
    objective : what is evaluated, ``accuracy`` or ``balanced_accuracy``.
    """

    folder: str
    weights: str
    data: str
    objective: str = "accuracy"

    @property
    def study(self) -> str:
        """The name of its study."""
        what = "" if self.objective == "accuracy" else f", {self.objective.replace('_', ' ')}"
        return f"weights {self.weights[:12]}, images {self.data[:8]}{what}"

    def same_as(self, other: "SupernetIdentity") -> bool:
        """Whether weights and images are the same, wherever they lie and whatever is evaluated."""
        return (self.weights, self.data) == (other.weights, other.data)

    def check(self, other: "SupernetIdentity") -> None:
        """Refuse to work for `other` with this supernet.

        Raises
        ------
        ValueError : weights or images differ.
        """
        if self.weights != other.weights:
            raise ValueError(
                f"the supernet in {self.folder} (weights {self.weights[:8]}) is not the one that is searched "
                f"({other.folder}, weights {other.weights[:8]}); copy that folder here and name it with --supernet"
            )
        if self.data != other.data:
            raise ValueError(
                f"the images (fingerprint {self.data[:8]}) are not the ones of {other.folder} ({other.data[:8]}); "
                "copy those here and name them with --data"
            )


@dataclass(frozen=True)
class Claim:
    """A subnet that this process is evaluating: the number of its trial, its name, and the trial's key in Optuna."""

    number: int
    architecture: str
    trial_id: int


class EvaluationQueue:
    """The study of one supernet.

    Parameters
    ----------
    database : that holds the study.
    study : of the database.
    """

    def __init__(self, database: Database, study: optuna.Study) -> None:
        self._database, self._study = database, study
        self._storage = database.storage

    @classmethod
    def of(cls, url: str, supernet: SupernetIdentity, listener: Listener = SILENT) -> Self:
        """The queue of a supernet, made where it is not there yet.

        Raises
        ------
        ValueError, Failure, MissingExtra : see `Database`.
        """
        database = Database(url, listener, WAIT_S)

        def create() -> optuna.Study:
            study = optuna.create_study(
                storage=database.storage,
                study_name=supernet.study,
                directions=["maximize", "minimize"],
                load_if_exists=True,
            )
            with ignore_experimental():
                study.set_metric_names([supernet.objective, "MACs"])
            study.set_user_attr(_FOLDERS, list(dict.fromkeys([supernet.folder, *_folders(study.user_attrs)])))
            study.set_user_attr(_MARK, asdict(supernet))
            return study

        return cls(database, database.wait_for(create))

    @classmethod
    def all(cls, database: Database) -> list[Self]:
        """Every queue of a database, the newest first; studies of other programs are left out."""

        def load() -> list[optuna.Study]:
            names = [study.study_name for study in database.storage.get_all_studies()]
            studies = [optuna.load_study(storage=database.storage, study_name=name) for name in names]
            return [study for study in studies if _MARK in study.user_attrs]

        return [cls(database, study) for study in sorted(database.wait_for(load), key=lambda s: -s._study_id)]

    @property
    def supernet(self) -> SupernetIdentity:
        """Whose subnets these are.

        Raises
        ------
        ValueError : the storage holds something else in its place.
        """
        attributes = self._database.wait_for(lambda: self._study.user_attrs)
        return check_value(attributes[_MARK], SupernetIdentity, f"the study {self._study.study_name!r}")

    @property
    def folders(self) -> list[str]:
        """Where searches found the supernet, the latest first."""
        return _folders(self._database.wait_for(lambda: self._study.user_attrs))

    def __call__(
        self,
        space: SearchSpace,
        population: Population,
        evaluate: Callable[[Population], Evaluation],
        progress: Progress | None = None,
    ) -> Iterator[tuple[str, Evaluation]]:
        """Have all of `population` evaluated, taking part in it, and yield each name and evaluation once known.

        Parameters
        ----------
        space : of the population.
        population : int array of shape (n, n_genes), canonical, each row once.
        evaluate : of one genotype, shape (n_genes,).
        progress : called with the number known and of all.
        """
        wanted = dict(zip(space.format(population), population, strict=True))
        missing = set(wanted)
        lost = set(missing)  # had no trial at the last look; a dead worker's is repeated a moment after it has failed
        while True:
            self._repeat_stale()
            trials = self._trials()
            for trial in trials:
                name = _architecture(trial)
                if trial.state == TrialState.COMPLETE and name in missing:
                    missing.remove(name)
                    loss = trial.user_attrs.get(_LOSS)
                    yield name, Evaluation(trial.values[0], loss if isinstance(loss, float) else np.nan)
            if progress is not None:
                progress(len(wanted) - len(missing), len(wanted))
            if not missing:
                return
            without = missing - {_architecture(trial) for trial in trials if not trial.state.is_finished()}
            self.request(space, [row for name, row in wanted.items() if name in without & lost])
            lost = without
            if (claim := self.claim(missing)) is None:
                time.sleep(POLL_S)
                continue
            with self.held(claim):
                found = evaluate(wanted[claim.architecture])
            self.finish(claim, found, int(space.costs(wanted[claim.architecture][None]).macs[0]))

    def request(self, space: SearchSpace, population: Collection[Population]) -> None:
        """Queue subnets, each of shape (n_genes,)."""
        values = {gene.name: gene.labels or gene.values for gene in space.genes}
        for row in population:
            # As `Study.enqueue_trial`, but with all parameters in one write instead of one for each gene.
            trial = optuna.create_trial(
                state=TrialState.WAITING,
                params={name: values[name][choice] for name, choice in zip(values, row, strict=True)},
                distributions={name: CategoricalDistribution(choices) for name, choices in values.items()},
                user_attrs={"architecture": space.format(row)},
            )
            self._database.wait_for(lambda trial=trial: self._study.add_trial(trial))  # type: ignore[misc]

    def waiting(self) -> bool:
        """Whether a subnet waits for a worker."""
        self._repeat_stale()
        return bool(self._trials(TrialState.WAITING))

    def claim(self, among: Collection[str] | None = None) -> Claim | None:
        """Take the first subnet that waits (`among` some); None where none does."""
        return self._database.wait_for(lambda: self._claim(among))

    def _claim(self, among: Collection[str] | None) -> Claim | None:
        trials = self._study.get_trials(deepcopy=False)
        taken = {_architecture(trial) for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.RUNNING)}
        for trial in trials:
            claim = Claim(trial.number, _architecture(trial), trial._trial_id)
            if trial.state != TrialState.WAITING or not claim.architecture:
                continue
            if claim.architecture in taken:  # another search asked for the same subnet at the same time
                with suppress(UpdateFinishedTrialError):
                    self._storage.set_trial_state_values(claim.trial_id, TrialState.FAIL)
                continue
            if among is not None and claim.architecture not in among:
                continue
            self._storage.record_heartbeat(claim.trial_id)  # before the trial is taken; see above
            with suppress(UpdateFinishedTrialError):
                if self._storage.set_trial_state_values(claim.trial_id, TrialState.RUNNING):
                    worker = f"{socket.gethostname()}:{os.getpid()}"
                    self._storage.set_trial_user_attr(claim.trial_id, "worker", worker)
                    return claim
        return None

    @contextmanager
    def held(self, claim: Claim) -> Iterator[None]:
        """Record heartbeats while a subnet is evaluated; where that fails, it is given back to the queue."""
        done = Event()

        def beat() -> None:
            while not done.wait(HEARTBEAT_S):
                with suppress(StorageInternalError):  # the database is away; the next heartbeat may reach it
                    self._storage.record_heartbeat(claim.trial_id)

        thread = Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            with suppress(StorageInternalError):
                self._tell(claim, TrialState.FAIL)
            raise
        finally:
            done.set()
            thread.join(timeout=1)

    def finish(self, claim: Claim, found: Evaluation, macs: int) -> None:
        """Store the evaluation, unless the trial was given up in the meantime."""
        if not np.isnan(found.loss):
            self._database.wait_for(lambda: self._note(claim, _LOSS, found.loss))
        self._database.wait_for(lambda: self._tell(claim, TrialState.COMPLETE, (found.accuracy, float(macs))))

    def _note(self, claim: Claim, name: str, value: float) -> None:
        with suppress(UpdateFinishedTrialError):
            self._storage.set_trial_user_attr(claim.trial_id, name, value)

    def _tell(self, claim: Claim, state: TrialState, values: tuple[float, float] | None = None) -> None:
        with suppress(UpdateFinishedTrialError):
            self._study.tell(claim.number, values, state, skip_if_finished=True)

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._database.wait_for(lambda: self._study.get_trials(deepcopy=False, states=states or None))

    def _repeat_stale(self) -> None:
        with ignore_experimental():
            self._database.wait_for(lambda: fail_stale_trials(self._study))


def _folders(attributes: Mapping[str, Any]) -> list[str]:
    """Those of a study; an earlier version wrote the latest alone."""
    mark = attributes.get(_MARK)
    latest = [mark["folder"]] if isinstance(mark, dict) and "folder" in mark else []
    return list(dict.fromkeys(map(str, [*latest, *attributes.get(_FOLDERS, [])])))


def _architecture(trial: FrozenTrial) -> str:
    """Empty for a trial that somebody else put into the study."""
    return str(trial.user_attrs.get("architecture", ""))
