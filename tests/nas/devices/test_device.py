"""Measuring for real on this machine, and on machines that misbehave."""

import os
import signal
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_board import FakeBoard

from latency_tables import table as tables
from nas.devices.device import Device
from nas.devices.protocol import Protocol
from nas.devices.spec import DeviceSpec
from nas.devices.transport import DeviceUnavailable, Events
from nas.errors import MissingExtra
from nas.export.layer_graph import network_layers
from nas.export.onnx_graph import onnx_graph
from nas.progress import Listener
from search_spaces import get_space

SPACE = get_space("mobilenet_v3_small_images")
QUICK = Protocol(rounds=5, runs=2, batch_of_nets=2)
CPU = DeviceSpec("cpu")


def population(n: int) -> np.ndarray:
    return SPACE.sample(n, np.random.default_rng(0))


def test_this_machine_is_measured_stored_and_not_measured_twice(tmp_path: Path) -> None:
    device = Device(CPU, folder=tmp_path, protocol=QUICK)
    seen: list[tuple[int, int]] = []
    rows = population(3)
    table = device.measure(SPACE, rows, progress=lambda done, total: seen.append((done, total)))
    assert table.rows["architecture"].tolist() == SPACE.format(rows)
    assert seen == [(0, 3), (2, 3), (3, 3)]
    assert (table.rows["p10_ms"] <= table.rows["latency_ms"]).all()
    assert (table.rows["latency_ms"] <= table.rows["p90_ms"]).all()
    assert table.rows["latency_ms"].between(0.01, 100).all()
    assert (table.rows["runs"] >= 10).all()
    conditions = table.card.conditions
    assert conditions["cores"] == os.cpu_count()
    assert len(conditions["pinned_to"]) == 1
    assert conditions["sessions"][0]["networks"] == 3
    assert {"noise", "drift", "repeatability", "waited", "load_average"} <= set(conditions["sessions"][0])
    assert isinstance(conditions["warnings"], list)

    again = Device(CPU, folder=tmp_path, transport=FakeBoard(vanish_after=0)).measure(SPACE, rows[::-1])
    assert again.rows["latency_ms"].tolist() == pytest.approx(table.rows["latency_ms"].tolist()[::-1], rel=1e-4)


def test_the_max_net_takes_longer_than_the_min_net(tmp_path: Path) -> None:
    device = Device(CPU, folder=tmp_path, protocol=Protocol(rounds=10, runs=4))
    rows = device.measure(SPACE, np.stack([SPACE.min, SPACE.max])).rows
    assert rows["latency_ms"][1] > 1.3 * rows["latency_ms"][0]


def test_exported_files_are_measured_with_the_conditions(tmp_path: Path) -> None:
    paths = []
    for i, genotype in enumerate(population(3)):
        paths.append(tmp_path / f"finalist{i}.onnx")
        paths[-1].write_bytes(onnx_graph(network_layers(SPACE, genotype)).SerializeToString())
    measured = Device(CPU, folder=tmp_path, protocol=QUICK).measure_models(paths)
    assert [m.latency_ms > 0 for m in measured.measurements] == [True] * 3
    assert measured.conditions["machine"]["cores"] == os.cpu_count()
    assert list(tmp_path.glob("*.csv")) == []
    with pytest.raises(ValueError, match=r"measures .onnx files, got net.tflite"):
        Device(CPU).measure_models([Path("net.tflite")])


def test_a_broken_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(DeviceUnavailable, match="this machine: onnxruntime cannot run net0"):
        Device(CPU, folder=tmp_path, protocol=QUICK).measure_models([tmp_path / "bad.onnx"])


def test_a_vanished_board_keeps_what_was_measured_and_the_next_call_continues(tmp_path: Path) -> None:
    board = FakeBoard()
    protocol = Protocol(rounds=20, batch_of_nets=2)
    device = Device(CPU, folder=tmp_path, protocol=protocol, transport=board)
    rows = population(5)
    device.measure(SPACE, rows[:2])

    board.vanish_after = 15  # three quarters of the rounds: these two networks count
    with pytest.raises(DeviceUnavailable, match="went away"):
        device.measure(SPACE, rows)
    assert len(tables.read_table(device.table.path)) == 4
    board.vanish_after = 3  # too few
    with pytest.raises(DeviceUnavailable, match="went away"):
        device.measure(SPACE, rows)
    assert len(tables.read_table(device.table.path)) == 4

    board.vanish_after, board.asked = None, []
    assert len(device.measure(SPACE, rows)) == 5
    assert board.asked == [1]


def test_measuring_afresh_replaces_rows(tmp_path: Path) -> None:
    board = FakeBoard()
    device = Device(CPU, folder=tmp_path, protocol=QUICK, transport=board)
    device.measure(SPACE, population(2))
    table = tables.read_table(device.table.path)
    tables.write_table(device.table.path, replace(table, rows=table.rows.assign(latency_ms=9.0, p90_ms=9.5)))
    assert (device.measure(SPACE, population(2)).rows["latency_ms"] == 9).all()
    assert (device.measure(SPACE, population(2), fresh=True).rows["latency_ms"] < 9).all()
    assert len(tables.read_table(device.table.path)) == 2
    assert len(board.asked) == 2
    names = list(tables.read_table(device.table.path).rows["architecture"])
    device.measure(SPACE, population(2)[:1], fresh=True)
    assert list(tables.read_table(device.table.path).rows["architecture"]) == names  # the last ones stay the last ones


def test_another_machine_does_not_mix_in(tmp_path: Path) -> None:
    Device(CPU, folder=tmp_path, protocol=QUICK, transport=FakeBoard(cpu="Old")).measure(SPACE, population(1))
    with pytest.raises(ValueError, match="was measured on Old, device cpu is now New"):
        Device(CPU, folder=tmp_path, protocol=QUICK, transport=FakeBoard(cpu="New")).measure(SPACE, population(2))
    assert len(tables.read_table(tmp_path / "cpu.csv")) == 1


def test_kill_minus_nine_loses_nothing_that_was_reported(tmp_path: Path) -> None:
    script = f"""
import numpy as np
from pathlib import Path
from nas.devices.device import Device
from nas.devices.protocol import Protocol
from nas.devices.spec import DeviceSpec
from search_spaces import get_space
space = get_space("mobilenet_v3_small_images")
device = Device(DeviceSpec("cpu"), folder=Path({str(tmp_path)!r}), protocol=Protocol(rounds=5, runs=2, batch_of_nets=1))
rows = space.sample(50, np.random.default_rng(0))
device.measure(space, rows, progress=lambda done, total: print(done, flush=True))
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        reported = next(int(line) for line in process.stdout if int(line) >= 2)
        process.send_signal(signal.SIGKILL)
    device = Device(CPU, folder=tmp_path, protocol=replace(QUICK, batch_of_nets=10))
    table = device.table.read()
    assert table is not None
    assert reported <= len(table) <= reported + 1
    assert len(device.measure(SPACE, population(50)[: len(table) + 1])) == len(table) + 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('import time; print(\'{"event": "start"}\', flush=True); time.sleep(60)', "no answer for 1 s"),
        ("import sys; sys.exit('ImportError: no such module')", "ended with code 1: ImportError: no such module"),
        ("import os; os.kill(os.getpid(), 9)", "stopped by signal 9"),
        ('print(\'{"event": "error", "message": "no runtime"}\')', "this machine: no runtime"),
        ("print('hello')", "device cpu stopped before it was done"),
    ],
)
def test_an_agent_that_misbehaves_ends_in_one_sentence(
    body: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = tmp_path / "agent.py"
    agent.write_text(body)
    monkeypatch.setattr("nas.devices.local.AGENT", agent)
    device = Device(CPU, folder=tmp_path, protocol=replace(QUICK, silence_s=1))
    start = time.monotonic()
    with pytest.raises(DeviceUnavailable, match=message):
        device.measure(SPACE, population(1))
    assert time.monotonic() - start < 20


class LyingBoard(FakeBoard):
    """Changes what the board says."""

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        self.changes = changes

    def run(self, job: Mapping[str, Any], models: Mapping[str, Path], *, silence_s: float, limit_s: float) -> Events:
        for event in super().run(job, models, silence_s=silence_s, limit_s=limit_s):
            kind = event["event"]
            if kind in self.changes:
                yield {**event, **self.changes[kind](event)}
            else:
                yield event


def _latency(value: Any) -> Any:
    return lambda event: {"ms": {**event["ms"], "net1": value}}


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {"round": _latency(value)}
            for value in (0, -1.5, float("nan"), float("inf"), "1", None, True, [1.0], 10**30)
        ),
        {"round": lambda event: {"ms": {}}},
        {"round": lambda event: {"ms": {**event["ms"], "net9": 1.0}}},
        {"round": lambda event: {"ms": [1.0]}},
        {"round": lambda event: {"runs": dict.fromkeys(event["runs"], 0)}},
        {"round": lambda event: {"waited": 7}},
        {"start": lambda event: {"machine": None}},
        {"start": lambda event: {"event": "begin"}},
        {"start": lambda event: {"cores": "all"}},
        {"round": _latency(1e-9)},  # beside networks of milliseconds
    ],
)
def test_what_cannot_be_is_never_stored(changes: dict[str, Any], tmp_path: Path) -> None:
    device = Device(CPU, folder=tmp_path, protocol=QUICK, transport=LyingBoard(**changes))
    with pytest.raises(DeviceUnavailable) as caught:
        device.measure(SPACE, population(2))
    assert len(str(caught.value)) < 400
    assert device.table.read() is None
    assert len(Device(CPU, folder=tmp_path, protocol=QUICK, transport=FakeBoard()).measure(SPACE, population(2))) == 2


def test_what_does_not_matter_is_not_needed(tmp_path: Path) -> None:
    machine = {"cpu": "x" * 10_000, "cores": None, "load_average": "high", "temperature": 40}
    board = LyingBoard(start=lambda event: {"machine": machine}, end=lambda event: {"load_average": "?"})
    device = Device(CPU, folder=tmp_path, protocol=QUICK, transport=board)
    table = device.measure(SPACE, population(2))
    assert table.card.conditions["sessions"][0]["load_average"] == []
    assert len(table.card.chip) <= 200
    assert len(device.measure(SPACE, population(3))) == 3


def test_a_device_that_reports_without_end_is_given_up(tmp_path: Path) -> None:
    class Endless(FakeBoard):
        def run(self, job: Mapping[str, Any], models: Mapping[str, Path], **limits: float) -> Events:
            yield from super().run({**job, "rounds": 10**9}, models, **limits)

    with pytest.raises(DeviceUnavailable, match="more than the 5 rounds"):
        Device(CPU, folder=tmp_path, protocol=QUICK, transport=Endless()).measure(SPACE, population(1))


SCRIPT = """
import sys, time
from pathlib import Path
import numpy as np
from nas.devices.device import Device
from nas.devices.protocol import Protocol
from nas.devices.spec import DeviceSpec
from nas.progress import Listener
from search_spaces import get_space
from tests.nas.devices.fake_board import FakeBoard

space = get_space("mobilenet_v3_small_images")
listener = Listener(say=lambda sentence: print(sentence, flush=True))
device = Device(
    DeviceSpec("cpu"), folder=Path(sys.argv[1]), protocol=Protocol(rounds=5, runs=2, batch_of_nets=1),
    transport=FakeBoard(), listener=listener,
)
device.measure(space, space.sample(20, np.random.default_rng(int(sys.argv[2]))))
"""


def test_two_processes_that_measure_one_device_lose_no_row(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path), seed], stdout=subprocess.PIPE, text=True, env=environment
        )
        for seed in ("1", "2", "3")
    ]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    table = tables.read_table(tmp_path / "cpu.csv")
    wanted = {name for seed in (1, 2, 3) for name in SPACE.format(SPACE.sample(20, np.random.default_rng(seed)))}
    assert set(table.rows["architecture"]) == wanted
    assert any("another process measures on cpu" in text for text in said)


def test_the_programs_of_a_foreign_card_are_shown_before_they_are_run_first(tmp_path: Path) -> None:
    spec = replace(CPU, python="./devices/run_me")
    said: list[str] = []

    def device(**changes: Any) -> Device:
        listener = Listener(say=said.append)
        return Device(
            replace(spec, **changes), folder=tmp_path, protocol=QUICK, transport=FakeBoard(), listener=listener,
            trusted=False,
        )  # fmt: skip

    device().measure(SPACE, population(1))
    assert len(said) == 1
    assert "./devices/run_me" in said[0]
    device().measure(SPACE, population(2))
    assert len(said) == 1
    device(transport="ssh", host="me@board").measure(SPACE, population(3))
    assert len(said) == 2
    assert "ssh me@board" in said[1]


def test_a_missing_interpreter_and_a_missing_runtime(tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable, match="the program /no/python is not installed"):
        Device(replace(CPU, python="/no/python")).probe()
    venv.create(tmp_path)
    with pytest.raises(DeviceUnavailable, match="onnxruntime is not installed for"):
        Device(replace(CPU, python=str(tmp_path / "bin" / "python"))).probe()
    assert Device(CPU).probe().machine.cores == os.cpu_count()


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.devices.runtimes.find_spec", lambda module: None)
    with pytest.raises(MissingExtra, match=r"pip install 'shrinkwrap-nas\[runtimes\]'"):
        Device(replace(CPU, runtime="ncnn")).probe()


def test_a_device_that_has_answered_is_not_asked_again(tmp_path: Path) -> None:
    board = FakeBoard()
    device = Device(CPU, folder=tmp_path, protocol=QUICK, transport=board)
    device.check_reachable()
    device.measure(SPACE, population(1))
    device.check_reachable()
    assert len(board.asked) == 2
    Device(DeviceSpec("pixel1", transport="none")).check_reachable()  # nothing will be measured on it


def test_a_device_known_from_papers_cannot_be_measured() -> None:
    with pytest.raises(ValueError, match="known by published figures alone"):
        Device(DeviceSpec("pixel1", transport="none")).measure(SPACE, population(1))


def test_what_is_known_of_a_space_is_what_its_options_allow(tmp_path: Path) -> None:
    device = Device(CPU, folder=tmp_path, protocol=QUICK, transport=FakeBoard())
    large = get_space(SPACE.name, resolutions=[32, 64])
    assert device.table.known(SPACE)[0].shape == (0, len(SPACE.genes))
    device.measure(large, np.stack([large.min, large.max]))
    device.measure(SPACE, SPACE.max[None])
    population, latency_ms = device.table.known(SPACE)
    assert SPACE.format(population) == SPACE.format(np.stack([SPACE.min, SPACE.max]))
    assert latency_ms.shape == (2,)
    assert len(device.table.known(large)[0]) == 3


def model_file(folder: Path) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(b"x" * 1000)
    return path


def test_finalists_wait_for_whoever_measures_on_the_machine_by_any_of_its_cards(tmp_path: Path) -> None:
    said: list[str] = []
    held = threading.Event()
    free = threading.Event()

    def hold() -> None:
        with Device(replace(CPU, name="cpu-int8", precision="int8"), folder=tmp_path / "cpu-int8").table.alone():
            held.set()
            free.wait(10)

    def say(sentence: str) -> None:
        said.append(sentence)
        free.set()

    other = threading.Thread(target=hold)
    other.start()
    held.wait(10)
    device = Device(CPU, folder=tmp_path / "cpu", protocol=QUICK, transport=FakeBoard(), listener=Listener(say=say))
    device.measure_models([model_file(tmp_path)])
    other.join()
    assert said == ["another process measures on cpu: waiting for it, for 60 minutes at most"]


def test_who_measures_on_a_device_may_measure_files_on_it_too(tmp_path: Path) -> None:
    device = Device(CPU, folder=tmp_path, protocol=QUICK, transport=FakeBoard())
    with device.table.alone():
        again = Device(CPU, folder=tmp_path, protocol=QUICK, transport=FakeBoard())
        assert len(again.measure_models([model_file(tmp_path)]).measurements) == 1


def test_one_lock_for_each_machine_also_where_nothing_was_measured_yet(tmp_path: Path) -> None:
    def locks(*specs: DeviceSpec) -> set[str]:
        folder = tmp_path / "-".join(spec.name for spec in specs)
        for spec in specs:
            with Device(spec, folder=folder / spec.name).table.alone():
                pass
        return {path.name for path in folder.iterdir()}

    board = DeviceSpec("board", transport="ssh", host="me@board")
    phone = DeviceSpec("phone", transport="adb")
    assert len(locks(CPU, replace(CPU, name="cpu-litert", runtime="litert"))) == 1
    assert len(locks(board, replace(board, name="board-int8", precision="int8"))) == 1
    assert len(locks(phone, replace(phone, name="phone-2threads", threads=2))) == 1
    others = replace(board, name="board2", host="me@board2"), replace(phone, name="phone2", serial="abc")
    assert len(locks(CPU, board, phone, *others)) == 5


def test_files_are_measured_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    device = Device(CPU, folder=tmp_path / "file" / "cpu", protocol=QUICK, transport=FakeBoard())
    assert len(device.measure_models([model_file(tmp_path)]).measurements) == 1
