"""Runs of ``nas`` as forks of a process that has imported everything: a trial then takes its work's time alone."""

import importlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from experiments.robustness.tiny import Ended
from nas.cli.main import main
from nas.cli.verb import VERBS

IMPORTED = ("torch", "torchvision", "onnx", "onnxruntime", "optuna", "sklearn.gaussian_process", "matplotlib.figure")
LIMIT_S = 900


@dataclass
class Fork:
    """A run in a process of its own.

    Attributes
    ----------
    pid : of the process.
    folder : the run was started in.
    said : file of what it printed on stderr.
    code : its exit code, below zero for a signal; None while it runs.
    """

    pid: int
    folder: Path
    said: Path
    code: int | None = None

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def kill(self) -> None:
        """Send SIGKILL and wait for its end."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def end(self) -> Ended:
        """Wait for its end; one that lasts longer than `LIMIT_S` is killed."""
        until = time.monotonic() + LIMIT_S
        while self.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        self.kill()
        assert self.code is not None
        text = self.said.read_text(encoding="utf-8", errors="replace")
        self.said.unlink()
        return Ended(self.code, "", text)


def warm() -> None:
    """Import what a run needs, once; no thread is started."""
    for name in (*IMPORTED, *(f"nas.cli.verbs.{verb}" for verb in VERBS)):
        importlib.import_module(name)


def fork(folder: Path, *words: str, temporary: Path, before: Callable[[], None] = lambda: None) -> Fork:
    """Start ``nas`` with `words` in `folder`.

    Parameters
    ----------
    temporary : folder for its temporary files, made where it is not there.
    before : called in the new process first.
    """
    temporary.mkdir(exist_ok=True)
    handle, name = tempfile.mkstemp(prefix="said-")
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        os.close(handle)
        return Fork(pid, folder, Path(name))
    code = 70
    try:
        for stream, target in ((os.open(os.devnull, os.O_RDWR), (0, 1)), (handle, (2,))):
            for each in target:
                os.dup2(stream, each)
        os.chdir(folder)
        os.environ["TMPDIR"], tempfile.tempdir = str(temporary), None
        before()
        code = main(words)
    finally:
        sys.stderr.flush()
        os._exit(code)
