"""Files that are wrong in some way, and every command that reads them."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from experiments.robustness.mutations import mutate
from experiments.robustness.tiny import COMMANDS, NOT_READ, Trial, call, left_behind


def malformed(home: Path, work: Path, n: int, rng: random.Random) -> Iterator[Trial]:
    """`n` mutated files, each read by one command."""
    there = work / "input"
    for _ in range(n):
        name = rng.choice(list(COMMANDS))
        words, folders = COMMANDS[name]
        shutil.rmtree(there, ignore_errors=True)
        shutil.copytree(home, there)
        files = sorted(p for folder in folders for p in (there / folder).rglob("*") if p.suffix not in NOT_READ)
        done = mutate(rng.choice([path for path in files if path.is_file()]), rng)
        try:
            ended = call(there, *words)
            well, said = ended.well, ended.stderr
        except BaseException as error:
            well, said = False, f"{type(error).__name__}: {error}"
        yield Trial("malformed file", well, None, left_behind(there), f"nas {name}, {done}: {said}")
