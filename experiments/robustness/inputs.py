"""Files that are wrong in some way, and every command that reads them."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from experiments.robustness.forked import fork
from experiments.robustness.mutations import mutate
from experiments.robustness.tiny import COMMANDS, NOT_READ, Trial, left_behind

SLOW = ("finetune", "search --resume", "search --supernet", "train --resume")
"""Commands that take seconds where the file does no harm; the others are tried five times as often."""


def malformed(home: Path, work: Path, numbers: Iterator[int], seed: str) -> Iterator[tuple[int, Trial]]:
    """Mutated files, each read by one command."""
    there = work / "input"
    for number in numbers:
        rng = random.Random(f"{seed} {number}")
        (name,) = rng.choices(list(COMMANDS), [1 if name in SLOW else 5 for name in COMMANDS])
        words, folders = COMMANDS[name]
        shutil.rmtree(there, ignore_errors=True)
        shutil.copytree(home, there)
        files = sorted(p for folder in folders for p in (there / folder).rglob("*") if p.suffix not in NOT_READ)
        done = mutate(rng.choice([path for path in files if path.is_file()]), rng)
        ended = fork(there, *words, temporary=work / "tmp").end()
        said = f"nas {name}, {done}, exit code {ended.code}: {ended.stderr}"
        yield number, Trial("malformed file", ended.well, None, left_behind(there), said)
