"""Ending a run between two steps instead of in the middle of one."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

PATIENCE_S = 1.0
"""Who types Ctrl-C should not wait for the end of a long step."""


class Interruption:
    """While entered, SIGINT and SIGTERM are noted, and obeyed between two steps, or after a while within one.

    A second one is obeyed at once. Outside the main thread, where Python allows no signal handlers, nothing is noted.

    Parameters
    ----------
    patience_s : the while, in seconds; None where a step must not be left half done.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, patience_s: float | None = PATIENCE_S) -> None:
        self.noted: int | None = None
        self._patience_s = patience_s
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.noted = number
        self._restore()
        if self._patience_s is not None:
            signal.signal(signal.SIGALRM, lambda *_: self.obey())
            signal.setitimer(signal.ITIMER_REAL, self._patience_s)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def obey(self) -> None:
        """Raise what the noted signal, if any, means: KeyboardInterrupt, or SystemExit as a shell counts it."""
        if self.noted == signal.SIGINT:
            raise KeyboardInterrupt
        if self.noted is not None:
            raise SystemExit(128 + self.noted)
