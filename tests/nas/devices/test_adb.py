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
from dataclasses import replace
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
QUICK = Protocol(rounds=5, runs=2)
SEVEN_MS = "echo Average inference time cost: 7.5 ms"

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
            HEAD + "R58\tno permissions (user in plugdev group); see [x]\n",
            "",
            DeviceUnavailable,
            "install its udev rule",
        ),
        (
            HEAD + "R58\tdevice\nZX1\tdevice\n",
            "",
            ValueError,
            'several phones are attached: R58, ZX1; write serial: "R58"',
        ),
        (HEAD + "R58\tdevice\n", "ZX1", DeviceUnavailable, r"ZX1 is not attached \(attached: R58\)"),
    ],
)
def test_what_stands_in_the_way(listing: str, serial: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        choose_phone(listing, serial)


def test_the_right_phone_is_chosen() -> None:
    assert choose_phone("* daemon started successfully\n" + HEAD + "R58\tdevice\n") == "R58"
    for state in ("unauthorized", "offline", "no permissions (missing udev rules?)", "recovery"):
        assert choose_phone(HEAD + f"R58\t{state}\nZX1\tdevice\n") == "ZX1"
        assert choose_phone(HEAD + f"R58\t{state}\nZX1\tdevice\n", "ZX1") == "ZX1"


def test_benchmarks_are_read_in_milliseconds() -> None:
    tflite = "Inference timings in us: Init: 5685, First inference: 2535, Warmup (avg): 1535, Inference (avg): 1489.5"
    assert parse_benchmark(f"STARTED!\n{tflite}\n", "phone") == pytest.approx(1.4895)
    assert parse_benchmark("  net  min =    4.10  max =    4.80  avg =    4.33", "phone") == 4.33
    assert parse_benchmark("Average inference time cost total: 7.25 ms\n", "phone") == 7.25
    with pytest.raises(DeviceUnavailable, match="phone: the benchmark printed no latency but 'Segmentation fault'"):
        parse_benchmark("loading\nSegmentation fault\n", "phone")
    with pytest.raises(DeviceUnavailable, match="printed no latency but nothing"):
        parse_benchmark("", "phone")
    older = (
        "count=15 first=66753 avg=66767.6\nAverage inference timings in us: Warmup: 76605.9, Init: 9933, {}: 66767.6"
    )
    for word in ("no stats", "Inference"):
        assert parse_benchmark(older.format(word), "phone") == pytest.approx(66.7676)
    mnn = "MNN benchmark\n[ - ] net.mnn    max =   28.126 ms  min =   25.999 ms  avg = 26.595 ms"
    assert parse_benchmark(mnn, "phone") == 26.595
    openvino = (
        "[ INFO ] Count: 1062 iterations\n[ INFO ] Latency:\n[ INFO ]    Median:   9.34 ms\n[ INFO ]    {}: 9.45 ms\n"
    )
    for word in ("Average", "AVG"):
        assert parse_benchmark(openvino.format(word) + "[ INFO ]    Min:  8.9 ms\n", "phone") == 9.45
    assert parse_benchmark("Count: 100 iterations\nLatency:    5.43 ms\nThroughput: 180 FPS", "phone") == 5.43


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  net  min =    0.00  max =    0.00  avg =    0.00", "a latency of 0.00, which is impossible"),
        ("Average inference time cost: nan ms", "a latency of nan, which is impossible"),
        ("Average inference time cost: inf ms", "which is impossible"),
        ("Average inference time cost: -3 ms", "which is impossible"),
        ("Average inference time cost: 1.2.3 ms", "which is impossible"),
        (
            "  squeezenet  min = 5.0  max = 5.1  avg = 5.0\n   mobilenet  min = 9.0  max = 9.1  avg = 9.0\n",
            "printed 2 latencies where one is expected",
        ),
        ("ERROR: file model.tflite is no flatbuffer\nbye\n", "no latency but 'ERROR: file model.tflite is no flatb"),
        ("x" * 10**6, "printed no latency but 'xxx"),
    ],
)
def test_benchmarks_that_cannot_be_believed(text: str, message: str) -> None:
    with pytest.raises(DeviceUnavailable, match=message) as caught:
        parse_benchmark(text, "phone")
    assert len(str(caught.value)) < 400


class Recorded(NamedTuple):
    """A program called adb that records its arguments."""

    log: Path
    far: Path


@pytest.fixture
def fake_adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """Its shell is the one here, as a phone's is behind adb: the words are joined and read again."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/adb"
    program.write_text(
        f"""#!/bin/sh
printf '%s\\n' "$*" >> {tmp_path}/log
case "$*" in
    devices) printf 'List of devices attached\\nemulator-5554\\toffline\\nR58\\tdevice\\n' ;;
    *" push "*) cp "$4" "$5" ;;
    *" shell "*) shift 3; exec sh -c "$*" ;;
esac
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    far = tmp_path / "My Files #"
    far.mkdir()
    (far / "precious").write_text("mine")
    return Recorded(tmp_path / "log", far)


def test_only_what_was_made_is_removed_whatever_the_folder_is_called(fake_adb: Recorded, tmp_path: Path) -> None:
    (tmp_path / "My").mkdir()
    command = """test -f {model} && echo '{print}' | awk '{print "Average inference time cost: 7.5 ms"}'"""
    spec = DeviceSpec("phone", transport="adb", folder=str(fake_adb.far), command=command)
    device = Device(spec, folder=tmp_path / "table", protocol=Protocol(rounds=5, runs=2))
    assert device.measure(SPACE, SPACE.min[None]).rows["latency_ms"].tolist() == [7.5]
    assert [path.name for path in fake_adb.far.iterdir()] == ["precious"]
    assert (tmp_path / "My").is_dir()
    assert device.table.read() is not None


def test_a_folder_that_is_not_there_is_named_and_nothing_removed(fake_adb: Recorded, tmp_path: Path) -> None:
    folder = f"{tmp_path}/zz {tmp_path}/My Files #"
    spec = DeviceSpec("phone", transport="adb", folder=folder, command="bench {model}")
    with pytest.raises(DeviceUnavailable, match="mkdir: .*zz"):
        Device(spec, folder=tmp_path / "table").measure(SPACE, SPACE.min[None])
    assert (fake_adb.far / "precious").exists()
    assert "rm " not in fake_adb.log.read_text()


def test_several_phones_are_a_mistake_of_the_user(fake_adb: Recorded, tmp_path: Path) -> None:
    program = tmp_path / "bin/adb"
    program.write_text(program.read_text().replace("offline", "device"))
    with pytest.raises(
        ValueError, match='several phones are attached: emulator-5554, R58; write serial: "emulator-5554"'
    ):
        Device(DeviceSpec("phone", transport="adb"), folder=tmp_path / "table").probe()


def test_a_benchmark_that_prints_without_end_is_given_up(fake_adb: Recorded, tmp_path: Path) -> None:
    spec = DeviceSpec("phone", transport="adb", folder=str(fake_adb.far), command="yes {model}")
    with pytest.raises(DeviceUnavailable, match="printed more than 64 MiB"):
        Device(spec, folder=tmp_path / "table").measure(SPACE, SPACE.min[None])


def test_a_benchmark_that_never_returns_is_given_up(fake_adb: Recorded, tmp_path: Path) -> None:
    spec = DeviceSpec("phone", transport="adb", folder=str(fake_adb.far), command="sleep 60 # {model}")
    start = time.monotonic()
    with pytest.raises(DeviceUnavailable, match="no answer for 1 s"):
        Device(spec, folder=tmp_path / "table", protocol=Protocol(silence_s=1)).measure(SPACE, SPACE.min[None])
    assert time.monotonic() - start < 20


def test_a_command_must_say_where_the_model_goes() -> None:
    with pytest.raises(ValueError, match="must say where the model goes"):
        DeviceSpec("phone", transport="adb", command="bench --all")


def test_what_an_unplugged_phone_kept_is_removed_a_day_later(fake_adb: Recorded, tmp_path: Path) -> None:
    for name, days in (("shrinkwrap-nas-old", 2), ("shrinkwrap-nas-new", 0), ("holiday", 2)):
        (fake_adb.far / name).mkdir()
        (fake_adb.far / name / "net0.tflite").touch()
        then = time.time() - 86_400 * days
        os.utime(fake_adb.far / name, (then, then))
    spec = DeviceSpec("phone", transport="adb", folder=str(fake_adb.far), command=f"{SEVEN_MS} {{model}}")
    Device(spec, folder=tmp_path / "table", protocol=QUICK).measure(SPACE, SPACE.min[None])
    assert {path.name for path in fake_adb.far.iterdir()} == {"precious", "shrinkwrap-nas-new", "holiday"}


def test_a_phone_is_one_machine_by_a_card_with_and_one_without_its_serial(fake_adb: Recorded, tmp_path: Path) -> None:
    for name, serial in (("phone", ""), ("phone2", "R58")):
        command = f"{SEVEN_MS} {{model}}"
        spec = DeviceSpec(name, transport="adb", serial=serial, folder=str(fake_adb.far), command=command)
        Device(spec, folder=tmp_path / "tables" / name, protocol=QUICK).measure(SPACE, SPACE.min[None])
    assert len(list((tmp_path / "tables").glob(".adb*.lock"))) == 1


def test_a_phone_without_its_benchmark_is_noticed_before_anything_is_measured(fake_adb: Recorded) -> None:
    def probe(command: str) -> None:
        Device(DeviceSpec("phone", transport="adb", command=command)).probe()

    for program in ("/data/local/tmp/no_bench", "no_bench"):
        with pytest.raises(DeviceUnavailable, match=f"phone R58: there is no program {program} that can be run"):
            probe(f"LD_LIBRARY_PATH=/x {program} {{model}}")
    for command in ("LD_LIBRARY_PATH=/x sh {model}", "cd /x && ./no_bench {model}", "(no_bench {model})"):
        probe(command)


def test_ncnns_benchmark_is_told_the_resolution_of_each_network(fake_adb: Recorded, tmp_path: Path) -> None:
    space = get_space(SPACE.name, resolutions=[32, 64])
    command = "echo {model} min = 1 max = 1 avg = {resolution}"
    spec = DeviceSpec(
        "phone", transport="adb", runtime="ncnn", precision="float16", folder=str(fake_adb.far), command=command
    )
    both = np.stack([space.min, space.max])
    table = Device(spec, folder=tmp_path / "a", protocol=QUICK).measure(space, both)
    assert table.rows["latency_ms"].tolist() == [32, 64]
    fixed = replace(spec, command="echo {model} shape=[32,32,3] min = 1 max = 1 avg = 5")
    assert len(Device(fixed, folder=tmp_path / "b", protocol=QUICK).measure(SPACE, SPACE.min[None])) == 1
    with pytest.raises(ValueError, match=r"every network at 32 pixels, this network reads 64; write shape=\[{resol"):
        Device(fixed, folder=tmp_path / "b", protocol=QUICK).measure(space, both)


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
    assert device(phones[1].serial, tmp_path).probe().machine.cores == os.cpu_count()


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
