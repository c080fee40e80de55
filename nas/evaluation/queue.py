"""Subnets waiting to be evaluated, shared by a search and any number of workers through an Optuna storage.

A study holds the subnets of one supernet, a trial each: the genes as parameters, the values accuracy (a fraction)
and MACs, so that ``optuna-dashboard`` shows the front. The search decides which subnets are evaluated and waits for
all of them, so its result does not depend on who evaluates how many. Whoever evaluates says so every few seconds;
a trial whose worker has fallen silent counts as failed and is queued again.

Optuna: A Next-generation Hyperparameter Optimization Framework (KDD 2019), https://arxiv.org/abs/1907.10902.
SQLite serves several processes of one machine; several machines share PostgreSQL.
"""

import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from nas.errors import Failure, MissingExtra
from nas.progress import Progress
from search_spaces import Population, SearchSpace

HEARTBEAT_S, GRACE_S = 10, 60
POLL_S = 0.5
_MARK = "shrinkwrap-nas"
_WAIT_FOR_LOCK_S = 60
_ATTEMPTS = 5

# What Optuna says of every trial is not for users of a search.
optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class SupernetIdentity:
    """What a worker must have, to find the same accuracies as everyone else.

    Attributes
    ----------
    folder : where the search found the supernet.
    weights : SHA-256 of its weights.
    data : fingerprint of its images and their splits.
    """

    folder: str
    weights: str
    data: str

    @property
    def study(self) -> str:
        """The name of its study."""
        return f"weights {self.weights[:12]}, images {self.data[:8]}"

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
    """A subnet that this process has taken on: the number of its trial and its name."""

    number: int
    architecture: str


class EvaluationQueue:
    """The study of one supernet.

    Parameters
    ----------
    storage : as `open_storage` made it.
    study : of the storage.
    """

    def __init__(self, storage: RDBStorage, study: optuna.Study) -> None:
        self._storage, self._study = storage, study
        self._study_id = storage.get_study_id_from_name(study.study_name)

    @classmethod
    def of(cls, url: str, supernet: SupernetIdentity) -> Self:
        """The queue of a supernet, made where it is not there yet.

        Raises
        ------
        ValueError, Failure, MissingExtra : see `open_storage`.
        """
        storage = open_storage(url)
        study = optuna.create_study(
            storage=storage, study_name=supernet.study, directions=["maximize", "minimize"], load_if_exists=True
        )
        with _experimental():
            study.set_metric_names(["accuracy", "MACs"])
        study.set_user_attr(_MARK, asdict(supernet))
        return cls(storage, study)

    @classmethod
    def all(cls, storage: RDBStorage) -> list[Self]:
        """Every queue of a storage, the newest first; studies of other programs are passed over."""
        names = [s.study_name for s in sorted(storage.get_all_studies(), key=lambda s: -s._study_id)]
        queues = (cls(storage, optuna.load_study(storage=storage, study_name=name)) for name in names)
        return [queue for queue in queues if _MARK in queue._study.user_attrs]

    @property
    def supernet(self) -> SupernetIdentity:
        """Whose subnets these are."""
        return SupernetIdentity(**self._study.user_attrs[_MARK])

    def __call__(
        self,
        space: SearchSpace,
        population: Population,
        evaluate: Callable[[Population], float],
        progress: Progress | None = None,
    ) -> Iterator[tuple[str, float]]:
        """Have all of `population` evaluated, taking part in it, and yield each name and accuracy once known.

        Parameters
        ----------
        space : of the population.
        population : int array of shape (n, n_genes), canonical, each row once.
        evaluate : the accuracy of one genotype, shape (n_genes,).
        progress : called with the number known and of all.
        """
        wanted = dict(zip(space.format(population), population, strict=True))
        missing = set(wanted)
        while True:
            self._fail_silent()
            trials = self._study.get_trials(deepcopy=False)
            for trial in trials:
                name = _architecture(trial)
                if trial.state == TrialState.COMPLETE and name in missing:
                    missing.remove(name)
                    yield name, trial.values[0]
            if progress is not None:
                progress(len(wanted) - len(missing), len(wanted))
            if not missing:
                return
            alive = {_architecture(trial) for trial in trials if not trial.state.is_finished()}
            self.request(space, np.array([wanted[name] for name in wanted if name in missing and name not in alive]))
            if (claim := self.claim(missing)) is None:
                time.sleep(POLL_S)
                continue
            with self.held(claim):
                accuracy = evaluate(wanted[claim.architecture])
            self.finish(claim, accuracy, int(space.costs(wanted[claim.architecture][None]).macs[0]))

    def request(self, space: SearchSpace, population: Population) -> None:
        """Queue subnets, shape (n, n_genes)."""
        for row in population:
            values = {gene.name: gene.labels or gene.values for gene in space.genes}
            self._study.add_trial(
                optuna.create_trial(
                    state=TrialState.WAITING,
                    params={name: values[name][choice] for name, choice in zip(values, row, strict=True)},
                    distributions={name: CategoricalDistribution(choices) for name, choices in values.items()},
                    user_attrs={"architecture": space.format(row)},
                )
            )

    def waiting(self) -> bool:
        """Whether anybody's help is needed."""
        self._fail_silent()
        return bool(self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def claim(self, among: set[str] | None = None) -> Claim | None:
        """Take on the first subnet that waits (`among` some); None where none does."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            claim = Claim(trial.number, _architecture(trial))
            if among is not None and claim.architecture not in among:
                continue
            # The first sign of life comes before the claim: whatever kills this process, somebody will notice.
            self._storage.record_heartbeat(self._id(claim))
            try:
                if self._storage.set_trial_state_values(self._id(claim), TrialState.RUNNING):
                    worker = f"{socket.gethostname()}:{os.getpid()}"
                    self._storage.set_trial_user_attr(self._id(claim), "worker", worker)
                    return claim
            except UpdateFinishedTrialError:
                continue
        return None

    @contextmanager
    def held(self, claim: Claim) -> Iterator[None]:
        """Show signs of life while a subnet is evaluated; hand it back where that fails."""
        done = Event()

        def beat() -> None:
            while not done.wait(HEARTBEAT_S):
                with suppress(StorageInternalError):  # the database may be away for a moment
                    self._storage.record_heartbeat(self._id(claim))

        thread = Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            self._tell(claim, TrialState.FAIL, None)
            raise
        finally:
            done.set()
            thread.join()

    def finish(self, claim: Claim, accuracy: float, macs: int) -> None:
        """Tell everyone the accuracy; one that had been given up in the meantime is dropped."""
        self._tell(claim, TrialState.COMPLETE, (accuracy, float(macs)))

    def _tell(self, claim: Claim, state: TrialState, values: tuple[float, float] | None) -> None:
        with suppress(UpdateFinishedTrialError):
            self._storage.set_trial_state_values(self._id(claim), state, values)

    def _id(self, claim: Claim) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, claim.number)

    def _fail_silent(self) -> None:
        with _experimental():
            fail_stale_trials(self._study)


def open_storage(url: str) -> RDBStorage:
    """Connect to the database of `url`; its tables are made where they are missing.

    Raises
    ------
    ValueError : not a URL of a database.
    MissingExtra : its driver is not installed.
    Failure : the database does not answer.
    """
    if "://" not in url:
        raise ValueError(f"--storage takes the URL of a database, like sqlite:///runs/nas.db; got {url!r}")
    scheme, _, rest = url.partition("://")
    options: dict[str, Any] = {}
    if scheme == "sqlite":
        Path(rest.removeprefix("/")).parent.mkdir(parents=True, exist_ok=True)
        options = {"connect_args": {"timeout": _WAIT_FOR_LOCK_S}}
    elif scheme in ("postgresql", "postgres"):
        url = f"postgresql+psycopg://{rest}"
    for attempt in range(_ATTEMPTS):
        try:
            with _experimental():
                return RDBStorage(url, options, heartbeat_interval=HEARTBEAT_S, grace_period=GRACE_S)
        except (ArgumentError, NoSuchModuleError) as error:
            raise ValueError(f"--storage {url} is not the URL of a database: {error}") from error
        except ImportError as error:
            raise MissingExtra("psycopg", "postgres") from error
        except DBAPIError as error:
            # Two that make the tables at the same moment get in each other's way; a moment later they are there.
            if attempt == _ATTEMPTS - 1:
                reason = str(error.orig).strip().splitlines()[0]
                raise Failure(f"the storage {url.rpartition('@')[2]} does not answer: {reason}") from error
            time.sleep(0.2 * 2**attempt)
    raise AssertionError


@contextmanager
def _experimental() -> Iterator[None]:
    """What Optuna warns may change is no news to who runs a search."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def _architecture(trial: FrozenTrial) -> str:
    return str(trial.user_attrs["architecture"])
