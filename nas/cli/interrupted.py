"""What is said after Ctrl-C: by the job itself, or for it where it had to be ended within a long call of a library."""

import shlex
from pathlib import Path

from nas.cli.verb import VERBS

PLAIN = "interrupted; what was finished is kept"
_run: list[tuple[str, Path]] = []
"""The verb and the folder of the run that is going on."""


def note_run(verb: str, folder: Path) -> None:
    """Remember what an interrupted run is gone on with."""
    _run[:] = [(verb, folder)]


def sentence() -> str:
    """What was interrupted, and how to go on where that can be."""
    for verb, folder in _run:
        if "resume" in VERBS[verb].flags:
            return f"{PLAIN}; go on with: nas {verb} --resume {shlex.quote(str(folder))}"
    return PLAIN
