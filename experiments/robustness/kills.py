"""Runs that are killed and then typed again: is the result that of a run left alone?

At random moments, and before each single rename and removal of a file.
"""

import hashlib
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from experiments.robustness.forked import fork
from experiments.robustness.tiny import SEARCH, TRAIN, Trial, left_behind

VERBS = {
    "train": (("train", *TRAIN, "--out", "new"), ("supernet.safetensors", "splits.json")),
    "search": (("search", "--supernet", "t", *SEARCH, "--out", "new"), ("subnet.onnx", "pareto.csv", "finalists.csv")),
    "finetune": (("finetune", "s", "epochs=1", "threads=1", "--out", "new"), ("subnet.onnx",)),
    "export": (("export", "s", "--format", "onnx", "--precision", "float32,int8", "--out", "new"), ("subnet.onnx",)),
    # Latencies differ each time: what is compared is that a table is there.
    "measure": (("measure", "--device", "cpu", "--samples", "2", "--out", "new"), ()),
    "fit": (("fit", "--device", "mine", "--out", "new"), ("parity.png",)),
}
EVENTS = ("os.rename", "os.remove", "os.rmdir")


@dataclass(frozen=True)
class Alone:
    """A run that was left alone.

    Attributes
    ----------
    seconds : that it took.
    files : digests of what it made.
    steps : renames and removals below its folder and that for temporary files.
    """

    seconds: float
    files: list[str]
    steps: int


def digests(folder: Path, names: tuple[str, ...]) -> list[str]:
    """SHA-256 of each file; empty for one that is not there."""
    paths = [folder / name for name in names]
    return [hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in paths]


def run_alone(home: Path, work: Path, verb: str) -> Alone:
    """Run `verb` in a copy of `home`, and count its steps."""
    words, files = VERBS[verb]
    there, temporary, log = work / f"alone-{verb}", work / f"tmp-{verb}", work / f"steps-{verb}"
    shutil.copytree(home, there)
    began = time.monotonic()
    ended = fork(there, *words, temporary=temporary, before=_at_step(work, None, log)).end()
    assert ended.code == 0, ended.stderr
    found = Alone(time.monotonic() - began, digests(there / "new", files), len(log.read_bytes()))
    shutil.rmtree(there)
    shutil.rmtree(temporary)
    return found


def killed(home: Path, work: Path, numbers: Iterator[int], seed: str) -> Iterator[tuple[int, Trial]]:
    """Kills at a random moment, each followed by the same command."""
    alone: dict[str, Alone] = {}
    for number in numbers:
        verb = list(VERBS)[number % len(VERBS)]
        if verb not in alone:
            alone[verb] = run_alone(home, work, verb)
        moment = random.Random(f"{seed} {number}").uniform(0, alone[verb].seconds)
        yield number, _trial(home, work, verb, alone[verb], f"{verb} killed at a random moment", moment=moment)


def killed_at_steps(home: Path, work: Path, numbers: Iterator[int], seed: str) -> Iterator[tuple[int, Trial]]:
    """Kills before each rename and each removal, each followed by the same command; ends after the last."""
    steps = {verb: run_alone(home, work, verb) for verb in VERBS}
    points = [(verb, step) for verb, alone in steps.items() for step in range(alone.steps)]
    random.Random(seed).shuffle(points)  # of a study that is stopped, each verb has its share
    for number in numbers:
        if number >= len(points):
            return
        verb, step = points[number]
        kind = f"{verb} killed before a rename or removal (of {steps[verb].steps})"
        yield number, _trial(home, work, verb, steps[verb], kind, step=step)


def _trial(
    home: Path, work: Path, verb: str, alone: Alone, kind: str, moment: float | None = None, step: int | None = None
) -> Trial:
    words, files = VERBS[verb]
    there, temporary = work / "killed", work / "tmp"
    for folder in (there, temporary):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(home, there)
    first = fork(there, *words, temporary=temporary, before=_at_step(work, step))
    if moment is not None:
        time.sleep(moment)
        first.kill()
    said = first.end().stderr
    ended = fork(there, *words, temporary=temporary).end()
    same = digests(there / "new", files) == alone.files if files else None
    if verb == "measure":
        same = (there / "runs" / "devices" / "cpu" / "cpu.csv").is_file()
    left = left_behind(there) + [path.name for path in temporary.glob("nas-*")]  # torch leaves its own cache there
    about = f"step {step}" if moment is None else f"after {moment:.2f} of {alone.seconds:.2f} s"
    return Trial(kind, ended.code == 0 and ended.well, same, left, f"{about}: {said} / {ended.stderr}")


def _at_step(work: Path, stop: int | None, log: Path | None = None) -> Callable[[], None]:
    """What makes a process die before its step number `stop`, or write a byte to `log` at each step."""
    place, done = str(work), 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal done
        if event not in EVENTS:
            return
        path = os.path.abspath(os.fsdecode(arguments[0])) if isinstance(arguments[0], str | bytes) else place
        if not path.startswith(place):
            return
        if done == stop:
            os.kill(os.getpid(), signal.SIGKILL)
        done += 1
        if log is not None:
            with log.open("ab") as file:
                file.write(b".")

    return lambda: sys.addaudithook(hook) if stop is not None or log is not None else None
