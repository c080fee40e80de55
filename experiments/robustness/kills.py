"""Runs that are killed at random moments and then typed again: is the result that of a run left alone?"""

import hashlib
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from experiments.robustness.tiny import SEARCH, TRAIN, Trial, left_behind, run, start

VERBS = {
    "train": (("train", *TRAIN, "--out", "new"), ("supernet.safetensors", "splits.json")),
    "search": (("search", "--supernet", "t", *SEARCH, "--out", "new"), ("subnet.onnx", "pareto.csv", "finalists.csv")),
    "finetune": (("finetune", "s", "epochs=1", "threads=1", "--out", "new"), ("subnet.onnx",)),
    "export": (("export", "s", "--format", "onnx", "--precision", "float32,int8", "--out", "new"), ("subnet.onnx",)),
    "fit": (("fit", "--device", "mine", "--out", "new"), ("parity.png",)),
}


def digests(folder: Path, names: tuple[str, ...]) -> list[str]:
    """SHA-256 of each file; empty for one that is not there."""
    paths = [folder / name for name in names]
    return [hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in paths]


def killed(home: Path, work: Path, n: int, rng: random.Random) -> Iterator[Trial]:
    """`n` kills, each followed by the same command."""
    alone: dict[str, tuple[float, list[str]]] = {}
    for number in range(n):
        verb = list(VERBS)[number % len(VERBS)]
        words, files = VERBS[verb]
        if verb not in alone:
            there = Path(shutil.copytree(home, work / f"alone-{verb}"))
            began = time.monotonic()
            ended = run(there, *words, timeout_s=600)
            assert ended.code == 0, ended.stderr
            alone[verb] = time.monotonic() - began, digests(there / "new", files)
            shutil.rmtree(there)
        seconds, expected = alone[verb]
        there = Path(shutil.copytree(home, work / f"kill-{number}"))
        temporary = work / f"tmp-{number}"
        temporary.mkdir()
        process = start(there, *words, TMPDIR=str(temporary))
        time.sleep(rng.uniform(0, seconds))
        process.kill()
        process.communicate()
        ended = run(there, *words, timeout_s=600, TMPDIR=str(temporary))
        same = digests(there / "new", files) == expected
        left = left_behind(there) + [path.name for path in temporary.iterdir()]
        yield Trial(f"{verb} killed", ended.code == 0 and ended.well, same, left, ended.stderr)
        shutil.rmtree(there)
        shutil.rmtree(temporary)
