"""A disk that is full at a random moment: one sentence, and after room was made the same result."""

import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from experiments.robustness.kills import VERBS, digests
from experiments.robustness.tiny import Trial, left_behind, run, start

MEGABYTES = 24
TRIED = ("train", "search", "finetune")


def full(home: Path, work: Path, n: int, rng: random.Random) -> Iterator[Trial]:
    """`n` runs on a file system of a few megabytes that something else fills meanwhile."""
    disk = work / "disk"
    disk.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(disk)]
    if subprocess.run(mounted, check=False).returncode:
        print("a small file system cannot be mounted here: full disks are left out")
        return
    try:
        alone: dict[str, tuple[float, list[str]]] = {}
        for number in range(n):
            verb = TRIED[number % len(TRIED)]
            words, files = VERBS[verb]
            there = disk / "home"
            if verb not in alone:
                shutil.copytree(home, there)
                began = time.monotonic()
                ended = run(there, *words, timeout_s=600)
                assert ended.code == 0, ended.stderr
                alone[verb] = time.monotonic() - began, digests(there / "new", files)
                shutil.rmtree(there)
            seconds, expected = alone[verb]
            shutil.copytree(home, there)
            timer = threading.Timer(rng.uniform(0, seconds), _fill, [disk / "filler"])
            timer.start()
            process = start(there, *words)
            _, said = process.communicate(timeout=600)
            timer.join()
            well = process.returncode in (0, 1, 2) and "Traceback" not in said and "NAS_DEBUG" not in said
            (disk / "filler").unlink()
            ended = run(there, *words, timeout_s=600)
            same = ended.code == 0 and digests(there / "new", files) == expected
            yield Trial("disk full", well, same, left_behind(there), said + ended.stderr)
            shutil.rmtree(there)
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def _fill(path: Path) -> None:
    with path.open("wb") as file:
        try:
            while True:
                os.write(file.fileno(), bytes(4096))
        except OSError:
            return
