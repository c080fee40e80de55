"""Who is told how long work goes; by default nobody."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

Progress = Callable[[int, int], None]
"""Called with the number of things done and of all that there are to do."""
Track = Callable[[str], AbstractContextManager[Progress]]
"""Takes what is being done; gives a context in which its progress can be reported."""


@dataclass(frozen=True)
class Listener:
    """Who is told how it goes.

    Attributes
    ----------
    say : takes a sentence about what happens next.
    track : takes what is being done; gives a context in which progress can be reported.
    """

    say: Callable[[str], None] = lambda sentence: None
    track: Track = lambda title: nullcontext(lambda done, total: None)


SILENT = Listener()
