"""The smallest runs that are real: what a search, a training and a device leave behind."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nas.cli.main import main

NAS = str(Path(sys.executable).with_name("nas"))
TRAIN = (
    *("--data", "digits", "space.depths=[1]", "space.kernels=[3]", "space.width_mult=0.5", "data.resolution=16"),
    *("recipe.epochs=1", "recipe.batch_size=128", "threads=1"),
)
SEARCH = ("evaluations=5", "candidates=200", "finalists=2", "--device", "pixel", "--macs", "90%")
TABLE = """space,architecture,latency_ms
mobilenet_v3_small_images,r32-k5e4_k5e4_k5e4-k5e4_k5e4_k5e4-k5e4_k5e4_k5e4-k5e4_k5e4_k5e4-k5e4_k5e4_k5e4,3.1
mobilenet_v3_small_images,r32-k3e2-k3e2-k3e2-k3e2-k3e2,0.8
mobilenet_v3_small_images,r32-k3e3_k3e3-k3e3_k3e3-k3e3_k3e3-k3e3_k3e3-k3e3_k3e3,1.9
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def well(self) -> bool:
        """Done, or refused in a sentence: no traceback, no name of an exception."""
        raw = "Traceback" in self.stderr or "NAS_DEBUG=1 shows where" in self.stderr
        return self.code in (0, 1, 2, 3, 4) and not raw and (self.code == 0 or bool(self.stderr.strip()))


def call(folder: Path, *words: str) -> Ended:
    """Run ``nas`` with `words` in this process, as if in `folder`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    return Ended(code, out.getvalue(), err.getvalue())


def start(folder: Path, *words: str, **environment: str | None) -> "subprocess.Popen[str]":
    """Start ``nas`` with `words` in `folder`; a variable that is None is left out of its environment."""
    changed = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(
        [NAS, *words],
        cwd=folder,
        env={name: value for name, value in changed.items() if value is not None},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, *words: str, timeout_s: float = 600, **environment: str | None) -> Ended:
    """Run ``nas`` with `words` in a process of its own."""
    process = start(folder, *words, **environment)
    try:
        out, err = process.communicate(timeout=timeout_s)
    finally:
        process.kill()
    return Ended(process.returncode, out, err)


def make_home(home: Path, do: Callable[..., Ended] = run) -> Path:
    """A folder in which a supernet was trained, a network found, and a device measured elsewhere taken in.

    `do` runs a command in a folder: `run`, or `call`, which does without new processes.
    """
    (home / "mine.csv").write_text(TABLE)
    for words in (
        ("measure", "--device", "mine", "--import", "mine.csv"),
        ("train", *TRAIN, "--out", "t"),
        ("search", "--supernet", "t", *SEARCH, "--out", "s"),
    ):
        ended = do(home, *words)
        assert ended.code == 0, ended.stderr
    return home


COMMANDS = {
    "report": (("report", "s"), ("s",)),
    "export": (("export", "s", "--out", "e"), ("s", "t")),
    "search --from": (("search", "--from", "s", "--macs", "80%", "--out", "f"), ("s",)),
    "search --resume": (("search", "--resume", "s"), ("s", "t")),
    "search --supernet": (("search", "--supernet", "t", *SEARCH, "--out", "again"), ("t",)),
    "finetune": (("finetune", "s", "epochs=1", "threads=1", "--out", "tuned"), ("s", "t")),
    "evaluate": (("evaluate", "t", "random=0"), ("t",)),
    "train --resume": (("train", "--resume", "t"), ("t",)),
    "fit": (("fit", "--device", "mine", "--out", "fitted"), ("runs/devices",)),
    "devices": (("devices", "--json"), ("runs/devices",)),
}
"""What is typed in a home, and the folders in it whose files it reads."""
NOT_READ = (".png", ".html", ".lock", ".onnx")


@dataclass(frozen=True)
class Trial:
    """One thing that was tried.

    Attributes
    ----------
    kind : what was tried.
    well : whether it ended in a result, or in a sentence.
    same : whether the result is the one of a run left alone; None where that is not asked.
    left : names of files that should not be there.
    said : what the command said.
    """

    kind: str
    well: bool
    same: bool | None
    left: list[str]
    said: str


def left_behind(folder: Path) -> list[str]:
    """Temporary files in a folder that no process works in any more."""
    return [path.name for path in folder.rglob("*") if path.name.endswith(".partial") or path.name == ".in_use.json"]
