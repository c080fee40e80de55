"""A disk that is full at a random moment: one sentence, and after room was made the same result."""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from experiments.robustness.forked import fork
from experiments.robustness.kills import VERBS, Alone, digests, run_alone
from experiments.robustness.tiny import Trial, left_behind

MEGABYTES = 24
TRIED = ("train", "search", "finetune", "export", "fit")


def full(home: Path, work: Path, numbers: Iterator[int], seed: str) -> Iterator[tuple[int, Trial]]:
    """Runs on a file system of a few megabytes that something else fills meanwhile."""
    disk = work / "disk"
    disk.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(disk)]
    if subprocess.run(mounted, check=False).returncode:
        print("a small file system cannot be mounted here: full disks are left out")
        return
    alone: dict[str, Alone] = {}
    there, filler, temporary = disk / "home", disk / "filler", disk / "tmp"
    try:
        for number in numbers:
            verb = TRIED[number % len(TRIED)]
            words, files = VERBS[verb]
            if verb not in alone:
                alone[verb] = run_alone(home, work, verb)
            shutil.copytree(home, there)
            moment = random.Random(f"{seed} {number}").uniform(0, alone[verb].seconds)
            run = fork(there, *words, temporary=temporary)
            time.sleep(moment)
            _fill(filler)
            while run.poll() is None:  # whatever is removed is filled again
                _fill(filler)
                time.sleep(0.01)
            first = run.end()
            filler.unlink()
            second = fork(there, *words, temporary=temporary).end()
            same = second.code == 0 and digests(there / "new", files) == alone[verb].files
            left = left_behind(there) + [path.name for path in temporary.glob("nas-*")]
            said = f"{verb} after {moment:.2f} s, exit code {first.code}: {first.stderr} / {second.stderr}"
            yield number, Trial("disk full", first.well, same, left, said)
            shutil.rmtree(there)
            shutil.rmtree(temporary)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def _fill(path: Path) -> None:
    """Take what room there is."""
    with path.open("ab") as file:
        for size in (1 << 20, 4096):
            with suppress(OSError):
                while True:
                    os.write(file.fileno(), bytes(size))
