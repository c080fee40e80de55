"""What is said of a run that did not come to its end: how it goes on.

After Ctrl-C the job itself says it, or it is said for it where it had to be ended within a long call of a library.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from nas.cli.verb import VERBS

KEPT = "what was finished is kept"
PLAIN = f"interrupted; {KEPT}"
_run: list[tuple[str, Path, list[str]]] = []
"""The verb, the folder and what is to be typed again of the run that is going on."""
_sweep: list[str] = []
"""What a sweep is gone on with."""


def note_run(verb: str, folder: Path, again: Sequence[str] = ()) -> None:
    """Remember what an interrupted run is gone on with; `again` are settings like ``model=my.network:make``."""
    _run[:] = [(verb, folder, list(again))]


def begin(sweep: Sequence[str] = ()) -> None:
    """Forget former runs; `sweep` are the words that a sweep is gone on with, whichever of its runs it is in."""
    _run.clear()
    _sweep[:] = [shlex.join(sweep)] if sweep else []


def how_to_go_on() -> str:
    """The end of a sentence; empty where the run cannot go on."""
    for command in _sweep:
        return f"; go on with: {command}"
    for verb, folder, again in _run:
        from nas.pipeline.settings import SETTINGS_FILE  # loaded by the run itself; `nas --help` needs to be quick

        if "resume" in VERBS[verb].flags and (folder / SETTINGS_FILE).exists():
            return f"; go on with: {shlex.join(['nas', verb, '--resume', str(folder), *again])}"
    return ""


def sentence() -> str:
    """What was interrupted, and how to go on where that can be."""
    return PLAIN + how_to_go_on()
