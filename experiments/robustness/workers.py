"""Three workers that share a database, two of them killed again and again: is the result that of a search alone?"""

import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from experiments.robustness.kills import digests
from experiments.robustness.tiny import SEARCH, Trial, left_behind, run, start

SLOWER = ("evaluations=40",)
FILES = ("subnet.onnx", "finalists.csv", "evaluations.csv")


def shared(home: Path, work: Path, kills: int, rng: random.Random) -> Iterator[Trial]:
    """One search on SQLite and one on PostgreSQL, with so many kills each."""
    # A supernet of which nothing is evaluated yet.
    for path in (home / "t").glob("accuracy.csv"):
        path.unlink()
    words = ("search", "--supernet", "t", *SEARCH, *SLOWER, "--out", "new")
    there = Path(shutil.copytree(home, work / "alone"))
    ended = run(there, *words, timeout_s=600)
    assert ended.code == 0, ended.stderr
    expected = digests(there / "new", FILES)
    yield _one("workers on SQLite", home, work / "sqlite", words, "sqlite:///nas.db", kills, rng, expected)
    with postgresql() as url:
        if url is not None:
            yield _one("workers on PostgreSQL", home, work / "postgresql", words, url, kills, rng, expected)


def _one(
    name: str,
    home: Path,
    there: Path,
    words: tuple[str, ...],
    url: str,
    kills: int,
    rng: random.Random,
    expected: list[str],
) -> Trial:
    shutil.copytree(home, there)
    worker = ("worker", "--storage", url, "idle_s=20", "threads=1")
    workers = [start(there, *worker) for _ in range(3)]
    search = start(there, *words, "--storage", url)
    done = 0
    while search.poll() is None and done < kills:
        time.sleep(rng.uniform(0.3, 3))
        victim = rng.randrange(2)
        workers[victim].kill()
        workers[victim].communicate()
        workers[victim] = start(there, *worker)
        done += 1
    try:
        _, said = search.communicate(timeout=600)
    finally:
        search.kill()
        for each in workers:
            each.kill()
            each.communicate()
    same = digests(there / "new", FILES) == expected
    return Trial(f"{name}, {done} kills", search.returncode == 0, same, left_behind(there), said)


@contextmanager
def postgresql() -> Iterator[str | None]:
    """The URL of a PostgreSQL of its own, reached by a socket in a temporary folder; None where none is installed."""
    folders = [os.path.dirname(path) for path in map(shutil.which, ("initdb",)) if path]
    folders += [str(path) for path in Path("/usr/lib/postgresql").glob("*/bin")]
    if not folders or find_spec("psycopg") is None:
        print("PostgreSQL or psycopg is not installed: left out")
        yield None
        return
    user = "postgres" if os.getuid() == 0 else None  # it refuses to run as root
    with tempfile.TemporaryDirectory() as place:
        if user is not None:
            shutil.chown(place, user)

        def control(program: str, *words: str) -> None:
            command = [f"{folders[-1]}/{program}", "-D", f"{place}/data", *words]
            subprocess.run(command, user=user, check=True, cwd=place, stdout=subprocess.DEVNULL)

        control("initdb", "--auth=trust", "--username=nas", "--no-sync")
        options = f"-k {place} -c listen_addresses=''"
        control("pg_ctl", "-w", "-l", f"{place}/log", "-o", options, "start")
        try:
            yield f"postgresql://nas@/postgres?host={place}"
        finally:
            control("pg_ctl", "-m", "immediate", "stop")
