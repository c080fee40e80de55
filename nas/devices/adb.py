"""A phone behind adb: the runtime's own benchmark program there, or the agent where the phone has Python.

A benchmark program is given as a command line, e.g. for TFLite's (https://ai.google.dev/edge/litert/models/measurement)
``/data/local/tmp/benchmark_model --graph={model} --num_threads={threads} --num_runs={runs}``. It is started once
for each network and round, so networks are interleaved as everywhere.
"""

import re
import shlex
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latency_tables.files import shown
from nas.devices.agent import MIN_ROUNDS
from nas.devices.ssh import far_command, pack
from nas.devices.transport import DeviceUnavailable, Events, Transport, run_program, stream_events, telling_line

FOLDER = "/data/local/tmp"
"""Where the user of adb may write and run programs on every phone."""
ANSWER_S = 20.0
_N = r"([-+.\w]+)"
# What benchmark programs print of one network, and how many milliseconds their unit is.
_REPORTS = tuple(
    (re.compile(pattern), unit_ms)
    for pattern, unit_ms in (
        (rf"Inference timings in us:.*Inference \(avg\):\s*{_N}", 1e-3),  # TFLite's benchmark_model
        (rf"Average inference timings in us:.*(?:Inference|no stats):\s*{_N}", 1e-3),  # older ones
        (rf"min =\s*\S+\s+max =\s*\S+\s+avg =\s*{_N}", 1.0),  # benchncnn
        (rf"max =\s*\S+\s*ms\s+min =\s*\S+\s*ms\s+avg =\s*{_N}\s*ms", 1.0),  # MNN's benchmark
        (rf"Average inference time cost(?: total)?:\s*{_N} ms", 1.0),  # onnxruntime_perf_test
        (rf"Latency:[ \t]*\n(?:.*\n){{0,3}}?.*(?:Average|AVG):\s*{_N} ms", 1.0),  # OpenVINO's benchmark_app
        (rf"Latency:[ \t]*{_N} ms", 1.0),  # older ones
    )
)
_PLACEHOLDER = re.compile(r"\{(model|threads|runs|resolution)\}")
_FIXED_SIDE = re.compile(r"shape=\[(\d+)")
_PROGRAM = re.compile(r"[\w./+-]+")
_SCRATCH = "shrinkwrap-nas-"
_WORDS_ALLOWED = 200


@dataclass(frozen=True)
class Adb(Transport):
    """Measures on a phone.

    Attributes
    ----------
    serial : which phone; empty where only one is attached.
    command : the benchmark's command line, see `nas.devices.spec.DeviceSpec`; empty
        runs the agent.
    python : the interpreter there, for the agent.
    folder : there, in which a temporary folder is made and removed; it must be there.
    """

    serial: str = ""
    command: str = ""
    python: str = "python3"
    folder: str = FOLDER

    def address(self) -> str:
        """See `Transport.address`."""
        return self.serial or self._phone()

    def run(self, job: Mapping[str, Any], models: Mapping[str, Path], *, silence_s: float, limit_s: float) -> Events:
        """See `Transport.run`."""
        serial = self._phone()
        names = {key: f"{key}{path.suffix}" for key, path in models.items()}
        if self.command:
            yield from self._benchmark(
                serial, job, {names[key]: path for key, path in models.items()}, names, silence_s
            )
            return
        content = pack({**job, "models": names}, {names[key]: path for key, path in models.items()})
        yield from stream_events(
            ["adb", "-s", serial, "shell", "-T", far_command(self.python, self.folder)],
            stdin=content,
            silence_s=silence_s,
            limit_s=limit_s,
            where=f"phone {serial}",
        )

    def _phone(self) -> str:
        return choose_phone(run_program(["adb", "devices"], limit_s=ANSWER_S, where="adb"), self.serial)

    def _benchmark(
        self, serial: str, job: Mapping[str, Any], files: Mapping[str, Path], names: Mapping[str, str], silence_s: float
    ) -> Events:
        """The agent's events, made here from what the benchmark program prints."""
        where = f"phone {serial}"
        phone = ["-s", serial]
        yield {"event": "start", "machine": describe_phone(phone, where), "runtime_version": "", "cores": None}
        if not files:
            self._check_program(phone, where)
            return
        sides = {name: self._side(path, where) for name, path in files.items()} if job["runtime"] == "ncnn" else {}
        scratch = f"{self.folder.rstrip('/')}/{_SCRATCH}{uuid.uuid4().hex[:8]}"
        runs = job["runs"] if "{runs}" in self.command else 1
        end, made = time.monotonic() + job["limit_s"], False
        try:
            _shell(phone, shlex.join(["mkdir", "--", scratch]), where)
            made = True
            with suppress(DeviceUnavailable):  # left there when the phone was unplugged, a day ago or earlier
                old = ["-maxdepth", "1", "-name", f"{_SCRATCH}*", "-mtime", "+0"]
                _shell(phone, shlex.join(["find", self.folder, *old, "-exec", "rm", "-rf", "--", "{}", "+"]), where)
            for name, path in files.items():
                run_program(["adb", *phone, "push", str(path), f"{scratch}/{name}"], limit_s=silence_s, where=where)
            number, began = 0, time.monotonic()
            while number < job["rounds"] and (number < MIN_ROUNDS or time.monotonic() < end):
                ms = {}
                for key, name in names.items():
                    values = {"model": shlex.quote(f"{scratch}/{name}"), "resolution": sides.get(name, "")}
                    ms[key] = self._time(phone, values, job, where, silence_s)
                yield {"event": "round", "ms": ms, "runs": dict.fromkeys(names, runs), "waited": 0.0}
                number += 1
                # Starting a program costs more than running a network: as many rounds as the time allows.
                spent = (time.monotonic() - began) / len(names)
                if number >= MIN_ROUNDS and spent + spent / number > job["seconds"]:
                    break
                if time.monotonic() > end + job["limit_s"]:
                    raise DeviceUnavailable(f"{where}: not done in time, given up")
            yield {"event": "end", "load_average": _load_average(phone, where)}
        finally:
            if made:
                with suppress(DeviceUnavailable):  # the phone may be gone
                    _shell(phone, shlex.join(["rm", "-rf", "--", scratch]), where)

    def _time(
        self, phone: Sequence[str], values: Mapping[str, str], job: Mapping[str, Any], where: str, silence_s: float
    ) -> float:
        values = {**values, "threads": str(job["threads"]), "runs": str(job["runs"])}
        command = _PLACEHOLDER.sub(lambda match: values[match[1]], self.command)
        return parse_benchmark(_shell(phone, command, where, silence_s), where)

    def _check_program(self, phone: Sequence[str], where: str) -> None:
        """See that the command's program is there, as far as its first word tells."""
        program = next((word for word in self.command.split() if not re.match(r"\w+=", word)), "")
        if _PROGRAM.fullmatch(program) and not _shell(phone, f"command -v {program} || true", where).strip():
            raise DeviceUnavailable(f"{where}: there is no program {program} that can be run; put it there (adb push)")

    def _side(self, path: Path, where: str) -> str:
        """Side in pixels of the images that an ncnn network reads, as its third line says."""
        words = path.read_bytes().partition(b"\0")[0].decode().split("\n")[2].split()
        side = next(word for word in words if word.startswith("0=")).removeprefix("0=")
        fixed = _FIXED_SIDE.search(self.command)
        if fixed and fixed[1] != side:
            raise ValueError(
                f"{where}: its command times every network at {fixed[1]} pixels, this network reads {side}; write "
                "shape=[{resolution},{resolution},3] in its card"
            )
        return side


def choose_phone(listing: str, serial: str = "") -> str:
    """The serial number to use, from the output of ``adb devices``.

    Without a serial number, it is the only phone that lets us in, whatever else is attached.

    Raises
    ------
    ValueError : several phones that let us in and no serial number given.
    DeviceUnavailable : no phone, not this one, or it does not let us in.
    """
    states = dict(line.split("\t", 1) for line in listing.splitlines() if "\t" in line)
    if serial and serial not in states:
        attached = shown(", ".join(states) or "none", _WORDS_ALLOWED)
        raise DeviceUnavailable(f"phone {serial} is not attached (attached: {attached})")
    if not states:
        raise DeviceUnavailable("no phone is attached; plug it in and switch on USB debugging")
    usable = [phone for phone, state in states.items() if state.split()[:1] == ["device"]]
    if not serial and len(usable) > 1:
        raise ValueError(f'several phones are attached: {", ".join(usable)}; write serial: "{usable[0]}" in its card')
    if not serial and usable:
        return usable[0]
    chosen = serial or next(iter(states))
    if chosen in usable:
        return chosen
    raise DeviceUnavailable(f"phone {shown(chosen)} {_obstacle(states[chosen])}")


def _obstacle(state: str) -> str:
    if state.startswith("no permissions"):
        return (
            "cannot be opened by this user: install its udev rule (package android-sdk-platform-tools-common on Debian "
            "and Ubuntu), join the group plugdev, and plug it in again"
        )
    if state.startswith("unauthorized"):
        return "does not trust this computer yet; unlock it and accept its question"
    return f"is {shown(state)}; plug it in again"


def parse_benchmark(text: str, where: str) -> float:
    """Average milliseconds of one inference, from what a benchmark program prints.

    TFLite's, ncnn's, MNN's, onnxruntime's and OpenVINO's are read.

    Raises
    ------
    DeviceUnavailable : no latency in it (quotes the line that says why), more than one, or one that cannot be.
    """
    found = [(match[1], unit_ms) for pattern, unit_ms in _REPORTS for match in pattern.finditer(text)]
    if not found:
        said = telling_line(text.splitlines())
        raise DeviceUnavailable(f"{where}: the benchmark printed no latency but {repr(said) if said else 'nothing'}")
    if len(found) > 1:
        raise DeviceUnavailable(
            f"{where}: the benchmark printed {len(found)} latencies where one is expected; its command must run the "
            "network {model} alone"
        )
    ((number, unit_ms),) = found
    try:
        latency_ms = float(number) * unit_ms
    except ValueError:
        latency_ms = float("nan")
    if not 0 < latency_ms < float("inf"):
        raise DeviceUnavailable(f"{where}: the benchmark printed a latency of {shown(number)}, which is impossible")
    return latency_ms


def describe_phone(phone: Sequence[str], where: str) -> dict[str, Any]:
    """What is known of the phone that may change a latency."""
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
    lines = _shell(phone, script, where).splitlines()
    said = {key: shown(value, _WORDS_ALLOWED) for key, _, value in (line.partition("=") for line in lines)}
    product = " ".join(filter(None, (said.get("maker"), said.get("model"))))
    chip = " ".join(filter(None, (product, f"({said['soc']})" if said.get("soc") else ""))) or said.get(
        "architecture", ""
    )
    cores = said.get("cores", "")
    return {
        "cpu": chip,
        "cores": int(cores) if cores.isascii() and cores.isdigit() else None,
        "governor": said.get("governor", ""),
        "system": f"Android {said['android']}" if said.get("android") else "",
        "load_average": _load_average(phone, where),
    }


def _load_average(phone: Sequence[str], where: str) -> float | None:
    """Of the last minute, None where the phone does not say."""
    with suppress(ValueError, IndexError):
        return float(_shell(phone, "cat /proc/loadavg 2>/dev/null || true", where).split()[0])
    return None


def _shell(phone: Sequence[str], command: str, where: str, limit_s: float = ANSWER_S) -> str:
    """What a command line prints on the phone."""
    return run_program(["adb", *phone, "shell", command], limit_s=limit_s, where=where)
