"""What is said after Ctrl-C: by the job itself, or for it where it had to be ended within a long call of a library."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from nas.cli.verb import VERBS

PLAIN = "interrupted; what was finished is kept"
_run: list[tuple[str, Path, list[str]]] = []
"""The verb, the folder and what is to be typed again of the run that is going on."""


def note_run(verb: str, folder: Path, again: Sequence[str] = ()) -> None:
    """Remember what an interrupted run is gone on with; `again` are settings like ``model=my.network:make``."""
    _run[:] = [(verb, folder, list(again))]


def sentence() -> str:
    """What was interrupted, and how to go on where that can be."""
    for verb, folder, again in _run:
        from nas.pipeline.settings import SETTINGS_FILE  # loaded by the run itself; `nas --help` needs to be quick

        if "resume" in VERBS[verb].flags and (folder / SETTINGS_FILE).exists():
            return f"{PLAIN}; go on with: {shlex.join(['nas', verb, '--resume', str(folder), *again])}"
    return PLAIN
