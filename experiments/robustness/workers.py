"""Three workers that share a database, two of them killed again and again: is the result that of a search alone?

Meanwhile the database is away for a few seconds: SQLite locked by another program, PostgreSQL restarted.
"""

import os
import random
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from experiments.robustness.forked import Fork, fork
from experiments.robustness.kills import digests
from experiments.robustness.tiny import SEARCH, Trial, left_behind

KILLS = 20
AWAY_S = 4
WORDS = ("search", "--supernet", "t", *SEARCH, "evaluations=60", "--out", "new")
FILES = ("finalists.csv", "pareto.csv", "convergence.csv", "cloud.csv")
"""What is compared; the network's own files hold the command, which names the database."""


def on_sqlite(home: Path, work: Path, numbers: Iterator[int], seed: str) -> Iterator[tuple[int, Trial]]:
    """Searches whose workers share SQLite."""
    expected = _alone(home, work)
    for number in numbers:
        there = work / "sqlite"

        def lock(path: Path = there / "nas.db") -> None:
            with sqlite3.connect(path, timeout=30) as other:
                other.execute("BEGIN EXCLUSIVE")
                time.sleep(AWAY_S)

        rng = random.Random(f"{seed} {number}")
        yield number, _one("SQLite", home, there, "sqlite:///nas.db", rng, expected, lock)


def on_postgresql(home: Path, work: Path, numbers: Iterator[int], seed: str) -> Iterator[tuple[int, Trial]]:
    """Searches whose workers share PostgreSQL."""
    expected = _alone(home, work)
    for number in numbers:
        with postgresql() as server:
            if server is None:
                return
            url, restart = server
            rng = random.Random(f"{seed} {number}")
            yield number, _one("PostgreSQL", home, work / "postgresql", url, rng, expected, restart)


def _copy(home: Path, there: Path) -> Path:
    shutil.rmtree(there, ignore_errors=True)
    shutil.copytree(home, there)
    for path in (there / "t").glob("accuracy.csv"):  # nothing of the supernet is evaluated yet
        path.unlink()
    return there


def _alone(home: Path, work: Path) -> list[str]:
    there = _copy(home, work / "alone")
    ended = fork(there, *WORDS, temporary=work / "tmp").end()
    assert ended.code == 0, ended.stderr
    return digests(there / "new", FILES)


def _one(
    name: str,
    home: Path,
    there: Path,
    url: str,
    rng: random.Random,
    expected: list[str],
    disturb: Callable[[], None],
) -> Trial:
    """A search with `KILLS` kills; after half of them the database is away."""
    _copy(home, there)
    temporary = there / "tmp"

    def start_worker() -> Fork:
        return fork(there, "worker", "--storage", url, "idle_s=300", "threads=1", temporary=temporary)

    search = fork(there, *WORDS, "--storage", url, temporary=temporary)
    workers = [start_worker() for _ in range(3)]
    done = 0
    while search.poll() is None and done < KILLS:
        time.sleep(rng.uniform(0.3, 3))
        if done == KILLS // 2:
            disturb()
        victim = done % 2
        workers[victim].kill()
        workers[victim].end()
        workers[victim] = start_worker()
        done += 1
    survivor = workers[2].poll() is None
    ended = search.end()
    said = ended.stderr
    for each in workers:
        each.kill()
        said += f" / worker: {each.end().stderr}"
    same = digests(there / "new", FILES) == expected
    kind = f"search on {name}, {done} kills of two of three workers, database away once"
    return Trial(kind, ended.code == 0 and ended.well and survivor, same, left_behind(there), said)


@contextmanager
def postgresql() -> Iterator[tuple[str, Callable[[], None]] | None]:
    """The URL of a PostgreSQL of its own on the loopback device, and what restarts it; None where it is not installed.

    It has a password, like those that people share.
    """
    folders = [os.path.dirname(path) for path in map(shutil.which, ("pg_ctl",)) if path]
    folders += [str(path) for path in Path("/usr/lib/postgresql").glob("*/bin")]
    if not folders or find_spec("psycopg") is None:
        print("PostgreSQL or psycopg is not installed: left out")
        yield None
        return
    user = "postgres" if os.getuid() == 0 else None  # it refuses to run as root
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        secret = Path(place) / "password"
        secret.write_text("pass-of-the-test\n")
        if user is not None:
            for path in (place, secret):
                shutil.chown(path, user)

        def control(program: str, *words: str) -> None:
            command = [f"{folders[-1]}/{program}", "-D", f"{place}/data", *words]
            subprocess.run(command, user=user, check=True, cwd=place, stdout=subprocess.DEVNULL)

        control("initdb", "--auth=scram-sha-256", "--username=nas", "--no-sync", "--pwfile", str(secret))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = f"-k {place} -p {port} -c listen_addresses=127.0.0.1"
        control("pg_ctl", "-w", "-l", f"{place}/log", "-o", options, "start")

        def restart() -> None:
            control("pg_ctl", "-m", "immediate", "stop")
            time.sleep(AWAY_S)
            control("pg_ctl", "-w", "-l", f"{place}/log", "-o", options, "start")

        try:
            yield f"postgresql://nas:pass-of-the-test@127.0.0.1:{port}/postgres", restart
        finally:
            control("pg_ctl", "-m", "immediate", "stop")
