"""Evaluations shared with workers in processes of their own, which come, are killed, and go."""

import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import TrialState

from nas.cli.main import main
from nas.data import DataSettings, load_data
from nas.errors import Failure
from nas.evaluation import queue
from nas.evaluation import storage as database
from nas.evaluation.accuracy import Evaluation, evaluate_subnets
from nas.evaluation.cache import EvaluatedSubnets
from nas.evaluation.queue import EvaluationQueue
from nas.evaluation.storage import Database
from nas.evaluation.trained import TrainedSupernet
from nas.evaluation.worker import work
from nas.progress import Listener
from nas.supernet import Supernet, load_supernet
from nas.supernet.storage import save_supernet
from search_spaces import get_space

DATA = {"name": "digits", "resolution": 16}


def supernet_folder(folder: Path, seed: int = 0) -> Path:
    """An untrained supernet for the digits, as a training run leaves one: its subnets differ all the same."""
    torch.manual_seed(seed)
    data = load_data(DataSettings(**DATA))
    options = {"depths": (1, 2), "kernels": (3, 5), "expansions": (2, 3), "width_mult": 0.5, "resolutions": (16,)}
    supernet = Supernet(get_space("mobilenet_v3_small_images", **options, num_classes=10))
    save_supernet(folder, supernet, {"data": {"fingerprint": data.fingerprint}, "data_settings": DATA})
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return supernet_folder(tmp_path_factory.mktemp("runs") / "train")


@pytest.fixture
def storage(tmp_path, monkeypatch) -> str:
    monkeypatch.setattr(queue, "HEARTBEAT_S", 1)
    monkeypatch.setattr(database, "HEARTBEAT_S", 1)
    monkeypatch.setattr(database, "GRACE_S", 3)
    return f"sqlite:///{tmp_path}/new/nas.db"


def sample(folder: Path, n: int, seed: int = 0) -> np.ndarray:
    """Subnets; another seed gives ones that no other test has evaluated."""
    space = load_supernet(folder)[0].space
    return space.sample(n, np.random.default_rng(seed))


def trials(storage: str, *states: TrialState) -> list[optuna.trial.FrozenTrial]:
    (queue,) = EvaluationQueue.all(Database(storage))
    return queue._study.get_trials(states=states or None)


def worker(trial: optuna.trial.FrozenTrial) -> int | None:
    """The process that took a trial on."""
    return int(trial.user_attrs["worker"].split(":")[1]) if "worker" in trial.user_attrs else None


def start_worker(storage: str, seconds: float) -> multiprocessing.Process:
    """A worker in a process of its own that takes so long for an evaluation and ends with how many it did."""

    def run() -> None:
        quick = EvaluatedSubnets.evaluate

        def slow(self: EvaluatedSubnets, genotype: np.ndarray) -> Evaluation:
            time.sleep(seconds)
            return quick(self, genotype)

        EvaluatedSubnets.evaluate = slow  # type: ignore[method-assign]
        sys.exit(work(storage))

    process = multiprocessing.get_context("fork").Process(target=run, daemon=True)
    process.start()
    return process


def wait_for(condition, seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def test_a_killed_worker_changes_nothing_but_time(folder, storage):
    population = sample(folder, 8)
    trained = TrainedSupernet.open(folder, storage=storage)
    expected = evaluate_subnets(trained.supernet, population, trained.data).round(6)
    (queue,) = EvaluationQueue.all(Database(storage))
    queue.request(trained.space, population[:7])
    doomed = start_worker(storage, seconds=600)
    wait_for(lambda: doomed.pid in map(worker, trials(storage)))
    helper = start_worker(storage, seconds=0.2)
    wait_for(lambda: helper.pid in map(worker, trials(storage)))
    doomed.kill()
    found = trained.evaluated(population)
    helper.terminate()
    helper.join(60)
    np.testing.assert_array_equal(found, expected)
    done = trials(storage, TrialState.COMPLETE)
    assert sorted(t.user_attrs["architecture"] for t in done) == sorted(trained.space.format(population))
    (lost,) = trials(storage, TrialState.FAIL)
    assert worker(lost) == doomed.pid
    assert helper.exitcode == sum(worker(t) == helper.pid for t in done)
    # The local table knows them all, so a search without the storage evaluates none of them again.
    alone = TrainedSupernet.open(folder).evaluated
    alone.evaluate = None  # type: ignore[assignment]
    np.testing.assert_array_equal(alone(population), expected)


def test_a_worker_that_is_asked_to_stop_finishes_what_it_has_in_hand(folder, storage, monkeypatch):
    trained = TrainedSupernet.open(folder, storage=storage)
    (queue,) = EvaluationQueue.all(Database(storage))
    queue.request(trained.space, sample(folder, 5))

    def asked_to_stop(self, genotype):
        signal.raise_signal(signal.SIGTERM)
        return Evaluation(0.5, 1.2)

    monkeypatch.setattr(EvaluatedSubnets, "evaluate", asked_to_stop)
    assert work(storage) == 1
    assert [t.values[0] for t in trials(storage, TrialState.COMPLETE)] == [0.5]
    assert len(trials(storage, TrialState.WAITING)) == 4


def test_a_worker_with_another_supernet_refuses(folder, storage, tmp_path):
    trained = TrainedSupernet.open(folder, storage=storage)
    (queue,) = EvaluationQueue.all(Database(storage))
    queue.request(trained.space, sample(folder, 1))
    other = supernet_folder(tmp_path / "other", seed=1)
    with pytest.raises(ValueError, match=r"not the one that is searched .* --supernet"):
        work(storage, other, idle_s=1)
    save_supernet(folder.parent / "moved", trained.supernet, load_supernet(folder)[1])
    assert work(storage, folder.parent / "moved", idle_s=1) == 1


def test_a_worker_refuses_when_the_folder_has_changed_since(storage, tmp_path):
    folder = supernet_folder(tmp_path / "run")
    trained = TrainedSupernet.open(folder, storage=storage)
    (queue,) = EvaluationQueue.all(Database(storage))
    queue.request(trained.space, sample(folder, 1))
    supernet_folder(folder, seed=1)
    with pytest.raises(ValueError, match="not the one that is searched"):
        work(storage, idle_s=1)


def test_a_search_whose_supernet_is_gone_does_not_end_a_worker(folder, storage, tmp_path):
    gone = supernet_folder(tmp_path / "gone", seed=1)
    for place in (folder, gone):
        trained = TrainedSupernet.open(place, storage=storage)
        EvaluationQueue.all(Database(storage))[0].request(trained.space, sample(place, 2))
    shutil.rmtree(gone)
    said: list[str] = []
    assert work(storage, idle_s=2, listener=Listener(say=said.append)) == 2
    assert [line for line in said if "left out" in line] == [said[0]]
    assert str(gone) in said[0]
    with pytest.raises(ValueError, match="gone is no trained supernet"):
        work(storage, idle_s=1)


def test_a_supernet_that_searches_found_in_two_places_is_read_from_either(folder, storage, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    for place in (folder, copy):
        trained = TrainedSupernet.open(place, storage=storage)
    (queue,) = EvaluationQueue.all(Database(storage))
    queue.request(trained.space, sample(folder, 2))
    assert queue.folders == [str(copy), str(folder)]
    shutil.rmtree(copy)
    assert work(storage, idle_s=1) == 2


def test_images_that_are_named_keep_the_other_settings_of_the_training(folder, storage):
    trained = TrainedSupernet.open(folder, storage=storage)
    (queue,) = EvaluationQueue.all(Database(storage))
    queue.request(trained.space, sample(folder, 2))
    words = ["worker", "--storage", storage, "--supernet", str(folder), "--data", "digits", "idle_s=1"]
    assert main(words) == 0
    assert not queue.waiting()


def test_a_failed_evaluation_is_handed_back(folder, storage):
    trained = TrainedSupernet.open(folder, storage=storage)
    (queue,) = EvaluationQueue.all(Database(storage))
    queue.request(trained.space, sample(folder, 1))
    claim = queue.claim()
    assert claim is not None
    with pytest.raises(MemoryError), queue.held(claim):
        raise MemoryError
    assert not queue.waiting()
    assert len(trained.evaluated(sample(folder, 1))) == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [("runs/nas.db", "takes the URL"), ("nonsense://x", "not the URL of a database"), ("sqlite://:x@", "URL")],
)
def test_mistakes_are_one_sentence(url, message):
    with pytest.raises(ValueError, match=message):
        Database(url)


def lock(path: str, seconds: float) -> threading.Thread:
    """Hold the write lock of a SQLite database for a while, as a backup or another program does."""
    taken = threading.Event()

    def hold() -> None:
        connection = sqlite3.connect(path.removeprefix("sqlite:///"), isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        taken.set()
        time.sleep(seconds)
        connection.execute("ROLLBACK")
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(10)
    return thread


def test_a_locked_database_is_waited_for(folder, storage):
    said: list[str] = []
    trained = TrainedSupernet.open(folder, storage=storage, listener=Listener(say=said.append))
    population = sample(folder, 3, seed=1)
    holding = lock(storage, 4)
    found = trained.evaluated(population)
    holding.join()
    assert (trained.evaluated.losses(population) > 0).all()
    np.testing.assert_array_equal(found, evaluate_subnets(trained.supernet, population, trained.data).round(6))
    (waiting,) = [line for line in said if "does not answer" in line]
    assert re.search(r"the storage sqlite:///.* does not answer; trying for 120 s \(.*locked\)", waiting)


def test_many_may_open_a_new_database_at_once_and_some_be_killed(tmp_path):
    url, rng = f"sqlite:///{tmp_path / 'new.db'}", random.Random(0)
    start = time.monotonic() + 0.2

    def opening() -> int:
        if (pid := os.fork()) == 0:
            code = 1
            try:
                time.sleep(max(0.0, start - time.monotonic()))
                Database(url)
                code = 0
            finally:
                os._exit(code)
        return pid

    victims, others = [opening() for _ in range(3)], [opening() for _ in range(6)]
    time.sleep(0.2)
    for victim in victims:
        time.sleep(rng.uniform(0, 0.2))
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in others] == [0] * len(others)


def test_a_database_that_stays_away_ends_in_one_sentence(folder, storage, monkeypatch):
    trained = TrainedSupernet.open(folder, storage=storage)
    monkeypatch.setattr(database, "WAIT_S", 2)
    holding = lock(storage, 8)
    began = time.monotonic()
    with pytest.raises(Failure, match=r"the storage sqlite:///.* has not answered for 2 s: .*locked"):
        trained.evaluated(sample(folder, 1, seed=2))
    assert time.monotonic() - began < 6
    holding.join()


def test_waiting_ends_when_it_is_interrupted(folder, storage):
    waiting = Database(storage)

    def interrupted() -> None:
        raise KeyboardInterrupt

    waiting.between_tries = interrupted
    holding = lock(storage, 5)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        waiting.wait_for(lambda: optuna.create_study(storage=waiting.storage))
    assert time.monotonic() - began < 3
    holding.join()


def test_a_storage_that_no_search_has_used_is_said(folder, storage):
    said: list[str] = []
    assert work(storage, idle_s=0, listener=Listener(say=said.append)) == 0
    assert said == [f"no search has used the storage {storage} yet; waiting 0 s for one"]
    TrainedSupernet.open(folder, storage=storage)
    assert work(storage, idle_s=0, listener=Listener(say=said.append)) == 0
    assert len(said) == 1


@pytest.mark.skipif(find_spec("MySQLdb") is not None, reason="mysqlclient is installed here")
def test_a_driver_that_is_not_installed_is_named():
    with pytest.raises(Failure, match="needs the Python package mysqlclient, which is not installed") as caught:
        Database("mysql://user:secret@host/nas")
    assert "secret" not in str(caught.value)


@pytest.mark.skipif(find_spec("psycopg") is None, reason="needs the extra postgres")
def test_a_host_that_does_not_answer_is_given_up_soon():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # accepts connections and sends nothing
        url = f"postgresql://user@127.0.0.1:{silent.getsockname()[1]}/nas"
        began = time.monotonic()
        with pytest.raises(Failure, match="has not answered for 3 s"):
            Database(url)
        assert time.monotonic() - began < 15


def test_workers_evaluate_what_the_search_is_for(folder, storage):
    trained = TrainedSupernet.open(folder, storage=storage, objective="balanced_accuracy")
    (queue,) = EvaluationQueue.all(Database(storage))
    population = sample(folder, 2)
    queue.request(trained.space, population)
    assert work(storage, idle_s=1) == 2
    expected = evaluate_subnets(trained.supernet, population, trained.data, "balanced_accuracy").round(6)
    assert sorted(t.values[0] for t in trials(storage, TrialState.COMPLETE)) == sorted(expected)


def test_what_several_searches_asked_for_is_evaluated_once(folder, storage):
    trained = TrainedSupernet.open(folder, storage=storage)
    (queue,) = EvaluationQueue.all(Database(storage))
    population = sample(folder, 2)
    for _ in range(3):  # at the same time, so that none saw what the others asked for
        queue.request(trained.space, population)
    first = queue.claim()
    assert first is not None
    with queue.held(first):
        assert work(storage, idle_s=1) == 1  # the other one
    assert not queue.waiting()
    queue.finish(first, Evaluation(0.5, 1.2), 1)
    queue.request(trained.space, population[:1])
    assert queue.claim() is None
    done = trials(storage, TrialState.COMPLETE)
    assert sorted(t.user_attrs["architecture"] for t in done) == sorted(trained.space.format(population))
