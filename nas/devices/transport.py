"""Ways to a device. A transport carries files there, runs the agent there, and hands back its events."""

import json
import os
import queue
import re
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from latency_tables.files import shown
from nas.errors import Failure

Events = Generator[dict[str, Any], None, None]
"""A generator, so that closing it ends what runs on the device."""
PIECE_BYTES = 1 << 20
END_S = 10
MAX_LINE = 1 << 18
MAX_PRINTED = 64 << 20
"""Bytes that a device may print in one process; a measurement prints some hundred thousand."""
MAX_MESSAGE = 300
KEPT_LINES, KEPT_BYTES, QUEUED_LINES = 100, 1_000, 100
SSH_FAILED = 255
"""What ssh exits with when the connection failed, not the command on the device."""
AGENT = Path(__file__).with_name("agent.py")
_ERROR = re.compile(r"error|fail|fatal|cannot|not found|denied|exception|abort", re.IGNORECASE)


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

    def address(self) -> str:
        """Which machine it leads to, where it has to look for one; empty where that is known.

        Raises
        ------
        DeviceUnavailable, ValueError : there is none, or there are several.
        """
        return ""


def stream_events(command: Sequence[str], *, stdin: bytes, silence_s: float, limit_s: float, where: str) -> Events:
    """Run `command`, feed it `stdin`, yield the JSON lines it prints; it never outlives this call.

    Raises
    ------
    DeviceUnavailable : it reported an error, ended early, was silent, ran too long or printed without end.
    """
    said: deque[str] = deque(maxlen=KEPT_LINES)
    with _started(command, where) as process:
        lines: queue.Queue[bytes | None] = queue.Queue(maxsize=QUEUED_LINES)
        threads = [
            threading.Thread(target=_read_lines, args=(process.stdout, lines.put), daemon=True),
            threading.Thread(target=_read_lines, args=(process.stderr, _keep(said)), daemon=True),
            threading.Thread(target=_feed, args=(process, stdin, lines), daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            yield from _events(lines, said, silence_s, time.monotonic() + limit_s, where)
            code = _code(process, where)
        finally:
            _kill(process)
            while not lines.empty():  # else the threads that fill it would wait for ever
                lines.get_nowait()
        threads[1].join(timeout=1)
        if code != 0:
            raise DeviceUnavailable(f"{where}: {_reason(list(said), code)}")


def run_program(command: Sequence[str], *, limit_s: float, where: str) -> str:
    """What `command` prints on stdout, and behind it what it prints on stderr; it never outlives this call.

    Raises
    ------
    DeviceUnavailable : it is not installed, failed, ran longer than `limit_s` or printed without end.
    """
    with _started(command, where) as process:
        assert process.stdin is not None
        process.stdin.close()
        outputs = [bytearray(), bytearray()]
        threads = [
            threading.Thread(target=_read_output, args=(process, stream, output), daemon=True)
            for stream, output in zip((process.stdout, process.stderr), outputs, strict=True)
        ]
        for thread in threads:
            thread.start()
        end = time.monotonic() + limit_s
        for thread in threads:
            thread.join(timeout=max(0.0, end - time.monotonic()))
        if any(len(output) > MAX_PRINTED for output in outputs):
            raise DeviceUnavailable(f"{where}: printed more than {MAX_PRINTED >> 20} MiB, given up")
        if any(thread.is_alive() for thread in threads):
            raise DeviceUnavailable(f"{where}: no answer for {limit_s:.0f} s, given up")
        code = _code(process, where)
        stdout, stderr = (output.decode(errors="replace") for output in outputs)
        if code != 0:
            raise DeviceUnavailable(f"{where}: {_reason((stderr.strip() or stdout).splitlines(), code)}")
    return stdout + stderr


def telling_line(lines: Sequence[str]) -> str:
    """The line that says best what went wrong: the last one about an error, else the last one; empty without any."""
    words = [line.strip() for line in lines if line.strip()]
    errors = [line for line in words if _ERROR.search(line)]
    return shown((errors or words or [""])[-1], MAX_MESSAGE)


@contextmanager
def _started(command: Sequence[str], where: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process of its own group, which is killed in the end."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError:
        hint = "; Debian and Ubuntu have it as package adb" if command[0] == "adb" else ""
        raise DeviceUnavailable(f"{where}: the program {shown(command[0])} is not installed{hint}") from None
    except OSError as error:
        raise DeviceUnavailable(f"{where}: {shown(command[0])} cannot be run: {error.strerror}") from None
    try:
        yield process
    finally:
        _kill(process)


def _code(process: "subprocess.Popen[bytes]", where: str) -> int:
    try:
        return process.wait(timeout=END_S)
    except subprocess.TimeoutExpired:
        raise DeviceUnavailable(f"{where}: printed all it had to and did not end within {END_S} s, given up") from None


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _events(lines: "queue.Queue[bytes | None]", said: deque[str], silence_s: float, end: float, where: str) -> Events:
    printed = 0
    while (line := _next_line(lines, silence_s, end, where)) is not None:
        printed += len(line)
        if printed > MAX_PRINTED:
            raise DeviceUnavailable(f"{where}: printed more than {MAX_PRINTED >> 20} MiB, given up")
        event = _parse_event(line)
        if not line.strip():
            continue
        if event is None:
            _keep(said)(line)
        elif event["event"] == "error":
            raise DeviceUnavailable(f"{where}: {shown(str(event.get('message', 'an error')), MAX_MESSAGE)}")
        else:
            yield event


def _feed(process: "subprocess.Popen[bytes]", content: bytes, lines: "queue.Queue[bytes | None]") -> None:
    """Write stdin piece by piece; each piece that is taken shows that the device is alive."""
    assert process.stdin is not None
    with suppress(OSError), process.stdin:
        for start in range(0, len(content), PIECE_BYTES):
            process.stdin.write(content[start : start + PIECE_BYTES])
            process.stdin.flush()
            lines.put(b"")


def _read_lines(stream: IO[bytes] | None, take: Callable[[bytes | None], None]) -> None:
    """Hand on each line, in pieces where it is long, and None at the end."""
    with suppress(ValueError, OSError):  # closed while it was read
        while stream is not None and (line := stream.readline(MAX_LINE)):
            take(line)
    take(None)


def _keep(said: deque[str]) -> Callable[[bytes | None], None]:
    return lambda line: said.append(line[:KEPT_BYTES].decode(errors="replace")) if line is not None else None


def _read_output(process: "subprocess.Popen[bytes]", stream: IO[bytes] | None, output: bytearray) -> None:
    with suppress(ValueError, OSError):
        while stream is not None and (piece := stream.read1(PIECE_BYTES)):  # type: ignore[attr-defined]
            output += piece
            if len(output) > MAX_PRINTED:
                _kill(process)
                return


def _next_line(lines: "queue.Queue[bytes | None]", silence_s: float, end: float, where: str) -> bytes | None:
    left = end - time.monotonic()
    try:
        if left > 0:
            return lines.get(timeout=min(silence_s, left))
    except queue.Empty:
        if left >= silence_s:
            raise DeviceUnavailable(f"{where}: no answer for {silence_s:.0f} s, given up") from None
    raise DeviceUnavailable(f"{where}: not done in time, given up")


def _parse_event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _reason(lines: Sequence[str], code: int) -> str:
    reason = telling_line(lines)
    if code < 0 and not reason:
        return f"stopped by signal {-code}"
    reason = reason or "it printed nothing"
    return reason.removeprefix("ssh: ") if code == SSH_FAILED else f"ended with code {code}: {reason}"
