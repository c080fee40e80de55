"""Ctrl-C at random moments: does a run end within two seconds, with one sentence, and go on to the same result?"""

import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from experiments.robustness.kills import VERBS, Alone, digests, run_alone
from experiments.robustness.tiny import Trial, left_behind, run, start

LIMIT_S = 2.0
IMPORTS_S = 4.0
"""A process of its own takes so much longer than a fork of one that has imported everything."""


def interrupted(home: Path, work: Path, numbers: Iterator[int], seed: str) -> Iterator[tuple[int, Trial]]:
    """Interrupts, each followed by the same command; `Trial.well` is whether two seconds were enough."""
    alone: dict[str, Alone] = {}
    for number in numbers:
        verb = list(VERBS)[number % len(VERBS)]
        words, files = VERBS[verb]
        if verb not in alone:
            alone[verb] = run_alone(home, work, verb)
        there = work / "interrupted"
        shutil.rmtree(there, ignore_errors=True)
        shutil.copytree(home, there)
        process = start(there, *words)
        time.sleep(random.Random(f"{seed} {number}").uniform(0.3, alone[verb].seconds + IMPORTS_S))
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
        took = time.monotonic() - began
        raw = "Traceback" in said or process.returncode not in (0, 1)
        ended = run(there, *words)
        same = ended.code == 0 and digests(there / "new", files) == alone[verb].files
        about = f"{took:.2f} s, exit code {process.returncode}: {said} / {ended.stderr}"
        yield number, Trial("Ctrl-C at a random moment", took < LIMIT_S and not raw, same, left_behind(there), about)
