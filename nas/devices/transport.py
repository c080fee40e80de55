"""Ways to a device. A transport carries files there, runs the agent there, and hands back its events."""

import json
import os
import queue
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from nas.errors import Failure

Events = Generator[dict[str, Any], None, None]
"""A generator, so that closing it ends what runs on the device."""
PIECE_BYTES = 1 << 20
SSH_FAILED = 255
"""What ssh exits with when the connection, not the far command, is to blame."""
AGENT = Path(__file__).with_name("agent.py")


class DeviceUnavailable(Failure):
    """The device cannot be reached, lacks its runtime, or went silent (exit code 1)."""


class Transport(ABC):
    """A way to a device."""

    @abstractmethod
    def run(self, job: Mapping[str, Any], models: Mapping[str, Path], *, silence_s: float, limit_s: float) -> Events:
        """Measure `models` (key -> local file) there and yield the agent's events as they come.

        Raises
        ------
        DeviceUnavailable : one sentence on what is missing; events that came before it stand.
        """


def stream_events(command: Sequence[str], *, stdin: bytes, silence_s: float, limit_s: float, where: str) -> Events:
    """Run `command`, feed it `stdin`, yield the JSON lines it prints; it never outlives this call.

    Raises
    ------
    DeviceUnavailable : it reported an error, ended early, was silent or ran too long.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise DeviceUnavailable(f"{where}: the program {command[0]} is not installed") from None
    lines: queue.Queue[str | None] = queue.Queue()
    stderr: list[str] = []
    threads = [
        threading.Thread(target=_pump_lines, args=(process, lines), daemon=True),
        threading.Thread(target=_pump_words, args=(process, stderr), daemon=True),
        threading.Thread(target=_feed, args=(process, stdin, lines), daemon=True),
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + limit_s
    try:
        while (line := _next_line(lines, silence_s, end, where)) is not None:
            event = _parse_event(line)
            if not line.strip():
                continue
            if event is None:
                stderr.append(line)
            elif event["event"] == "error":
                raise DeviceUnavailable(f"{where}: {event['message']}")
            else:
                yield event
        code = process.wait(timeout=10)
        threads[1].join(timeout=1)
        if code != 0:
            raise DeviceUnavailable(f"{where}: {_last_words(stderr, code)}")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _feed(process: "subprocess.Popen[bytes]", content: bytes, lines: "queue.Queue[str | None]") -> None:
    """Write stdin piece by piece; each piece that is taken is a sign of life."""
    assert process.stdin is not None
    with suppress(OSError), process.stdin:
        for start in range(0, len(content), PIECE_BYTES):
            process.stdin.write(content[start : start + PIECE_BYTES])
            process.stdin.flush()
            lines.put("")


def _pump_lines(process: "subprocess.Popen[bytes]", lines: "queue.Queue[str | None]") -> None:
    for line in process.stdout or ():
        lines.put(line.decode(errors="replace"))
    lines.put(None)


def _pump_words(process: "subprocess.Popen[bytes]", words: list[str]) -> None:
    for line in process.stderr or ():
        words.append(line.decode(errors="replace"))


def _next_line(lines: "queue.Queue[str | None]", silence_s: float, end: float, where: str) -> str | None:
    left = end - time.monotonic()
    try:
        return lines.get(timeout=max(0.0, min(silence_s, left)))
    except queue.Empty:
        if left < silence_s:
            raise DeviceUnavailable(f"{where}: not done in time, given up") from None
        raise DeviceUnavailable(f"{where}: no sign of life for {silence_s:.0f} s, given up") from None


def _parse_event(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _last_words(stderr: Sequence[str], code: int) -> str:
    words = [line.strip() for line in stderr if line.strip()]
    if code < 0 and not words:
        return f"stopped by signal {-code}"
    reason = words[-1] if words else "it said nothing"
    return reason.removeprefix("ssh: ") if code == SSH_FAILED else f"ended with code {code}: {reason}"
