"""Ending a run between two steps instead of in the middle of one, and soon in any case."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

PATIENCE_S = 1.0
"""Who types Ctrl-C should not wait for the end of a long step."""
LIMIT_S = 1.8
"""After Ctrl-C nothing lasts longer, whatever it is."""


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

    @contextmanager
    def whole(self) -> Iterator[None]:
        """While entered, what is being done is not left half done: it has all the time that it needs."""
        patience_s, self._patience_s = self._patience_s, None
        if self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            yield
        finally:
            self._patience_s = patience_s

    def obey(self) -> None:
        """Raise what the noted signal, if any, means: KeyboardInterrupt, or SystemExit as a shell counts it."""
        if self.noted == signal.SIGINT:
            raise KeyboardInterrupt
        if self.noted is not None:
            raise SystemExit(128 + self.noted)


def end_soon(code: int, sentence: Callable[[], str]) -> threading.Event:
    """From now on, Ctrl-C ends this process after `LIMIT_S` at the latest.

    Python obeys a signal between two of its own operations. One call of a library (a backward pass, the fit of a
    forest, an import on a busy machine) may last for minutes; what is written whole or not at all is then given up.

    Parameters
    ----------
    code : the exit code.
    sentence : gives what is printed where the process had to be ended.

    Returns
    -------
    Set once Ctrl-C was typed.
    """
    noted = threading.Event()
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)  # written to at once, by the handler below Python's

    def watch() -> None:
        while os.read(read, 1)[0] != signal.SIGINT:
            pass
        noted.set()
        time.sleep(LIMIT_S)
        os.write(2, f"{sentence()}\n".encode(errors="backslashreplace"))
        os._exit(code)

    def obey(number: int, frame: FrameType | None) -> None:
        noted.set()
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, obey)
    threading.Thread(target=watch, daemon=True).start()
    return noted


def end_now(code: int) -> None:
    """End without what an interpreter does at its end, which takes seconds on a busy machine."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
