"""Phones: the listing and the benchmarks' output as text, and the whole way through a real adbd in a namespace.

The real part needs root, `adb`, `ip` and an `adbd` (Debian: bookworm-backports) in the PATH or named by NAS_ADBD.
"""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from nas.devices.adb import choose_phone, parse_benchmark
from nas.devices.device import Device
from nas.devices.protocol import Protocol
from nas.devices.spec import DeviceSpec
from nas.devices.transport import DeviceUnavailable
from search_spaces import get_space

SPACE = get_space("mobilenet_v3_small_images")
HEAD = "List of devices attached\n"
ADBD = os.environ.get("NAS_ADBD") or shutil.which("adbd")
NETWORK = "10.77.{}.{}"

# Prints what TFLite's benchmark_model prints; times an ONNX model, so that it runs without a phone's binaries.
RUNNER = """
import argparse, time
import numpy, onnxruntime
parser = argparse.ArgumentParser()
for flag, kind in (("--graph", str), ("--num_threads", int), ("--num_runs", int)):
    parser.add_argument(flag, type=kind)
asked = parser.parse_args()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = asked.num_threads
session = onnxruntime.InferenceSession(asked.graph, options)
image = {"images": numpy.zeros(session.get_inputs()[0].shape, "float32")}
session.run(None, image)
start = time.perf_counter()
for _ in range(asked.num_runs):
    session.run(None, image)
us = 1e6 * (time.perf_counter() - start) / asked.num_runs
print(f"Inference timings in us: Init: 5685, First inference: 1535, Warmup (avg): 1535, Inference (avg): {us:.6g}")
"""


@pytest.mark.parametrize(
    ("listing", "serial", "error", "message"),
    [
        (HEAD, "", DeviceUnavailable, "no phone is attached"),
        (HEAD + "R58\tunauthorized\n", "", DeviceUnavailable, "R58 does not trust this computer yet"),
        (HEAD + "R58\toffline\n", "", DeviceUnavailable, "R58 is offline"),
        (
            HEAD + "R58\tdevice\nZX1\tdevice\n",
            "",
            ValueError,
            "several phones are attached: R58, ZX1; write serial: R58",
        ),
        (HEAD + "R58\tdevice\n", "ZX1", DeviceUnavailable, r"ZX1 is not attached \(attached: R58\)"),
    ],
)
def test_what_stands_in_the_way(listing: str, serial: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        choose_phone(listing, serial)


def test_the_right_phone_is_chosen() -> None:
    assert choose_phone("* daemon started successfully\n" + HEAD + "R58\tdevice\n") == "R58"
    assert choose_phone(HEAD + "R58\tunauthorized\nZX1\tdevice\n", "ZX1") == "ZX1"


def test_benchmarks_are_read_in_milliseconds() -> None:
    tflite = "Inference timings in us: Init: 5685, First inference: 2535, Warmup (avg): 1535, Inference (avg): 1489.5"
    assert parse_benchmark(f"STARTED!\n{tflite}\n", "phone") == pytest.approx(1.4895)
    assert parse_benchmark("  net  min =    4.10  max =    4.80  avg =    4.33", "phone") == 4.33
    assert parse_benchmark("Average inference time cost total: 7.25 ms\n", "phone") == 7.25
    with pytest.raises(DeviceUnavailable, match="phone: the benchmark printed no latency but 'Segmentation fault'"):
        parse_benchmark("loading\nSegmentation fault\n", "phone")
    with pytest.raises(DeviceUnavailable, match="printed no latency but nothing"):
        parse_benchmark("", "phone")


def test_a_command_must_say_where_the_model_goes() -> None:
    with pytest.raises(ValueError, match="must say where the model goes"):
        DeviceSpec("phone", transport="adb", command="bench --all")


class Phone(NamedTuple):
    serial: str
    adbd: subprocess.Popen[bytes]


def start_phone(number: int, stack: ExitStack) -> Phone:
    """An adbd in a network namespace of its own, as a phone on the network."""
    space, here, there = f"nas-phone{number}", f"nas-veth{number}", f"nas-eth{number}"
    near, far = NETWORK.format(number, 1), NETWORK.format(number, 2)

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    ip("netns", "add", space)
    stack.callback(subprocess.run, ["ip", "netns", "del", space], check=False)
    ip("link", "add", here, "type", "veth", "peer", "name", there)
    ip("link", "set", there, "netns", space)
    ip("addr", "add", f"{near}/30", "dev", here)
    ip("link", "set", here, "up")
    ip("-n", space, "addr", "add", f"{far}/30", "dev", there)
    ip("-n", space, "link", "set", there, "up")
    assert ADBD is not None
    adbd = subprocess.Popen(["ip", "netns", "exec", space, ADBD], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    stack.callback(adbd.wait)
    stack.callback(adbd.kill)
    serial = f"{far}:5555"
    for _ in range(50):
        said = subprocess.run(["adb", "connect", serial], capture_output=True, text=True, timeout=20, check=False)
        if "connected" in said.stdout:
            subprocess.run(["adb", "-s", serial, "wait-for-device"], timeout=20, check=True)
            return Phone(serial, adbd)
        time.sleep(0.1)
    raise OSError(said.stdout)


@pytest.fixture(scope="module")
def phones(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Phone]]:
    if ADBD is None or os.geteuid() != 0 or not all(map(shutil.which, ("adb", "ip"))):
        pytest.skip("needs root, adb, ip, and an adbd in the PATH or named by NAS_ADBD")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as environment:
        environment.setenv("ANDROID_ADB_SERVER_PORT", "5987")
        environment.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        stack.callback(subprocess.run, ["adb", "kill-server"], capture_output=True, check=False)
        try:
            found = [start_phone(number, stack) for number in (1, 2)]
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no adbd in a network namespace here: {error}")
        yield found


def device(serial: str, tmp_path: Path, command: bool = False, **protocol: float) -> Device:
    far = tmp_path / "far"
    far.mkdir(exist_ok=True)
    runner = tmp_path / "runner.py"
    runner.write_text(RUNNER)
    line = (
        f"{sys.executable} {runner} --graph={{model}} --num_threads={{threads}} --num_runs={{runs}}" if command else ""
    )
    spec = DeviceSpec("phone", transport="adb", serial=serial, python=sys.executable, folder=str(far), command=line)
    settings = {"rounds": 10, "runs": 2, "batch_of_nets": 2} | protocol
    return Device(spec, folder=tmp_path / "table", protocol=Protocol(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("command", [False, True], ids=["agent", "benchmark"])
def test_measuring_over_adb_leaves_nothing_there(phones: list[Phone], command: bool, tmp_path: Path) -> None:
    there = device(phones[0].serial, tmp_path, command, rounds=5)
    table = there.measure(SPACE, np.stack([SPACE.min, SPACE.max]))
    assert table.rows["latency_ms"].between(0.01, 100).all()
    assert table.card.transport == "adb"
    assert table.card.chip
    assert list((tmp_path / "far").iterdir()) == []


def test_two_phones_need_a_serial(phones: list[Phone], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="several phones are attached"):
        device("", tmp_path).probe()
    assert device(phones[1].serial, tmp_path).probe()["machine"]["cores"] == os.cpu_count()


def test_a_phone_without_the_program_says_so(phones: list[Phone], tmp_path: Path) -> None:
    there = device(phones[0].serial, tmp_path)
    there.spec = DeviceSpec(
        "phone", transport="adb", serial=phones[0].serial, folder=str(tmp_path / "far"), command="no_bench {model}"
    )
    with pytest.raises(DeviceUnavailable, match="phone .*no_bench.*not found"):
        there.measure(SPACE, SPACE.min[None])


def test_an_unplugged_phone_loses_nothing_measured(phones: list[Phone], tmp_path: Path) -> None:
    """Runs last: the second phone does not come back."""
    there = device(phones[1].serial, tmp_path, rounds=3000, seconds=60)
    device(phones[1].serial, tmp_path).measure(SPACE, SPACE.min[None])
    unplug = threading.Timer(3, phones[1].adbd.kill)
    unplug.start()
    with pytest.raises(DeviceUnavailable, match="phone"):
        there.measure(SPACE, np.stack([SPACE.min, SPACE.max]))
    unplug.join()
    known = there.table.read()
    assert known is not None
    assert len(known) >= 1
