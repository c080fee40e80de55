"""A phone behind adb: the runtime's own benchmark program there, or the agent where the phone has Python.

A benchmark program is given as a command line, e.g. for TFLite's (https://ai.google.dev/edge/litert/models/measurement)
``/data/local/tmp/benchmark_model --graph={model} --num_threads={threads} --num_runs={runs}``. It is started once
for each network and round, so networks are interleaved as everywhere.
"""

import re
import shlex
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.devices.agent import MIN_ROUNDS
from nas.devices.ssh import UNPACK_AND_RUN, pack
from nas.devices.transport import DeviceUnavailable, Events, Transport, stream_events

FOLDER = "/data/local/tmp"
"""Where the user of adb may write and run programs on every phone."""
ANSWER_S = 20.0
# What benchmark programs print, and how many milliseconds their unit is.
_REPORTS = (
    (re.compile(r"Inference timings in us:.*Inference \(avg\):\s*([\d.eE+]+)"), 1e-3),  # TFLite benchmark_model
    (re.compile(r"min =\s*[\d.]+\s+max =\s*[\d.]+\s+avg =\s*([\d.]+)"), 1.0),  # benchncnn
    (re.compile(r"Average inference time cost(?: total)?:\s*([\d.]+) ms"), 1.0),  # onnxruntime_perf_test
)


@dataclass(frozen=True)
class Adb(Transport):
    """Measures on a phone.

    Attributes
    ----------
    serial : which phone; empty where only one is attached.
    command : the benchmark's command line with ``{model}``, ``{threads}`` and ``{runs}`` to fill in; empty
        runs the agent.
    python : the interpreter there, for the agent.
    folder : there, in which a temporary folder is made.
    """

    serial: str = ""
    command: str = ""
    python: str = "python3"
    folder: str = FOLDER

    def run(self, job: Mapping[str, Any], models: Mapping[str, Path], *, silence_s: float, limit_s: float) -> Events:
        """See `Transport.run`."""
        serial = choose_phone(_adb(["devices"], "adb"), self.serial)
        names = {key: f"{key}{path.suffix}" for key, path in models.items()}
        if self.command:
            yield from self._benchmark(
                serial, job, {names[key]: path for key, path in models.items()}, names, silence_s
            )
            return
        content = pack({**job, "models": names}, {names[key]: path for key, path in models.items()})
        far_command = shlex.join([self.python, "-c", UNPACK_AND_RUN, self.folder])
        yield from stream_events(
            ["adb", "-s", serial, "shell", "-T", far_command],
            stdin=content,
            silence_s=silence_s,
            limit_s=limit_s,
            where=f"phone {serial}",
        )

    def _benchmark(
        self, serial: str, job: Mapping[str, Any], files: Mapping[str, Path], names: Mapping[str, str], silence_s: float
    ) -> Events:
        """The agent's events, made here from what the benchmark program prints."""
        where = f"phone {serial}"
        phone = ["-s", serial]
        yield {"event": "start", "machine": describe_phone(phone, where), "runtime_version": "", "cores": None}
        if not files:
            return
        scratch = f"{self.folder}/shrinkwrap-nas-{uuid.uuid4().hex[:8]}"
        runs = job["runs"] if "{runs}" in self.command else 1
        end = time.monotonic() + job["limit_s"]
        try:
            _adb([*phone, "shell", "mkdir", "-p", scratch], where)
            for name, path in files.items():
                _adb([*phone, "push", str(path), f"{scratch}/{name}"], where, silence_s)
            number, began = 0, time.monotonic()
            while number < job["rounds"] and (number < MIN_ROUNDS or time.monotonic() < end):
                ms = {key: self._time(phone, f"{scratch}/{name}", job, where, silence_s) for key, name in names.items()}
                yield {"event": "round", "ms": ms, "runs": dict.fromkeys(names, runs), "waited": 0.0}
                number += 1
                # Starting a program costs more than running a network: as many rounds as the time allows.
                spent = (time.monotonic() - began) / len(names)
                if number >= MIN_ROUNDS and spent + spent / number > job["seconds"]:
                    break
            yield {"event": "end", "load_average": _load_average(phone, where)}
        finally:
            _try_adb([*phone, "shell", "rm", "-rf", scratch])

    def _time(self, phone: Sequence[str], model: str, job: Mapping[str, Any], where: str, silence_s: float) -> float:
        command = self.command.format(model=model, threads=job["threads"], runs=job["runs"])
        return parse_benchmark(_adb([*phone, "shell", command], where, silence_s), where)


def choose_phone(listing: str, serial: str = "") -> str:
    """The serial number to use, from the output of ``adb devices``.

    Raises
    ------
    ValueError : several phones and no serial number given.
    DeviceUnavailable : no phone, not this one, or it does not let us in.
    """
    states = dict(line.split("\t", 1) for line in listing.splitlines() if "\t" in line)
    if serial and serial not in states:
        attached = ", ".join(states) or "none"
        raise DeviceUnavailable(f"phone {serial} is not attached (attached: {attached})")
    if not states:
        raise DeviceUnavailable("no phone is attached; plug it in and switch on USB debugging")
    if not serial and len(states) > 1:
        raise ValueError(
            f"several phones are attached: {', '.join(states)}; write serial: {next(iter(states))} in its card"
        )
    chosen = serial or next(iter(states))
    state = states[chosen].split()[0]
    if state == "unauthorized":
        raise DeviceUnavailable(f"phone {chosen} does not trust this computer yet; unlock it and accept its question")
    if state != "device":
        raise DeviceUnavailable(f"phone {chosen} is {state}; plug it in again")
    return chosen


def parse_benchmark(text: str, where: str) -> float:
    """Average milliseconds of one inference, from what TFLite's, ncnn's or onnxruntime's benchmark prints.

    Raises
    ------
    DeviceUnavailable : nothing of the kind in it; quotes its last line.
    """
    for pattern, milliseconds in _REPORTS:
        if match := pattern.search(text):
            return float(match[1]) * milliseconds
    lines = [line for line in text.splitlines() if line.strip()]
    raise DeviceUnavailable(f"{where}: the benchmark printed no latency but {repr(lines[-1]) if lines else 'nothing'}")


def describe_phone(phone: Sequence[str], where: str) -> dict[str, Any]:
    """What of the phone may move a latency."""
    asked = {
        "maker": "getprop ro.product.manufacturer",
        "model": "getprop ro.product.model",
        "soc": "getprop ro.soc.model",
        "android": "getprop ro.build.version.release",
        "cores": "nproc",
        "governor": "cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
        "architecture": "uname -m",
    }
    script = "; ".join(f"echo {key}=$({command} 2>/dev/null)" for key, command in asked.items())
    said = dict(line.split("=", 1) for line in _adb([*phone, "shell", script], where).splitlines() if "=" in line)
    product = " ".join(filter(None, (said.get("maker"), said.get("model"))))
    chip = " ".join(filter(None, (product, f"({said['soc']})" if said.get("soc") else ""))) or said.get(
        "architecture", ""
    )
    return {
        "cpu": chip,
        "cores": int(said.get("cores") or 0),
        "governor": said.get("governor", ""),
        "system": f"Android {said['android']}" if said.get("android") else "",
        "load_average": _load_average(phone, where),
    }


def _load_average(phone: Sequence[str], where: str) -> float | None:
    words = _adb([*phone, "shell", "cat /proc/loadavg 2>/dev/null || true"], where).split()
    return float(words[0]) if words else None


def _adb(arguments: Sequence[str], where: str, timeout_s: float = ANSWER_S) -> str:
    try:
        done = subprocess.run(["adb", *arguments], capture_output=True, timeout=timeout_s, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise DeviceUnavailable("the program adb is not installed; Debian and Ubuntu have it as package adb") from None
    except subprocess.TimeoutExpired:
        raise DeviceUnavailable(f"{where}: no answer for {timeout_s:.0f} s, given up") from None
    output = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        words = (done.stderr.decode(errors="replace") or output).strip().splitlines()
        raise DeviceUnavailable(f"{where}: {words[-1] if words else f'ended with code {done.returncode}'}")
    return output + done.stderr.decode(errors="replace")


def _try_adb(arguments: Sequence[str]) -> None:
    """For cleaning up after a phone that may be gone."""
    try:
        _adb(arguments, "")
    except DeviceUnavailable:
        return
