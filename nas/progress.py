"""The one channel for messages and progress of long work."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

Progress = Callable[[int, int], None]
"""Called with the number of steps done and the number of all steps."""
Track = Callable[[str], AbstractContextManager[Progress]]
"""Takes a title; gives a context in which progress is reported by calling a `Progress`."""


@dataclass(frozen=True)
class Listener:
    """Where messages and progress go; by default nothing is shown.

    Attributes
    ----------
    say : shows a sentence about what happens next.
    track : shows the progress of a piece of work; see `Track`.
    """

    say: Callable[[str], None] = lambda sentence: None
    track: Track = lambda title: nullcontext(lambda done, total: None)


SILENT = Listener()
PRINTING = Listener(say=lambda sentence: print(sentence, file=sys.stderr, flush=True))
"""Prints each sentence to stderr, and no progress."""


def counted(n: float, thing: str) -> str:
    """``1 network``, ``1,200 networks``, ``6.6 epochs``."""
    return f"{n:,.10g} {thing}{'' if n == 1 else 's'}"
