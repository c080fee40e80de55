"""A table is of one machine and one set of conditions; what is known is not used for others."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fake_board import FakeBoard

from latency_tables.table import LatencyTable, card_path
from nas.cli.main import main
from nas.devices.conditions import machine_here, processor_of
from nas.devices.device import Device
from nas.devices.importing import import_table
from nas.devices.learning import learn_device
from nas.devices.protocol import Protocol
from nas.devices.spec import DeviceSpec
from nas.devices.transport import DeviceUnavailable
from nas.progress import Listener
from search_spaces import get_space

SPACE = get_space("mobilenet_v3_small_images")
LARGE = get_space("mobilenet_v3")
QUICK = Protocol(rounds=5, runs=2)
CPU = DeviceSpec("cpu")
BOARD = DeviceSpec("board", transport="ssh", host="me@old")


def population(n: int) -> np.ndarray:
    return SPACE.sample(n, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"runtime": "openvino"}, "runtime: onnxruntime; the card of cpu now says runtime: openvino"),
        ({"threads": 2}, "threads: 1; the card of cpu now says threads: 2"),
        ({"core": 1}, "core: the idlest; the card of cpu now says core: 1"),
        ({"python": "/opt/python"}, "program: the usual one; the card of cpu now says program: /opt/python"),
        ({"threads": 2, "core": -1}, "threads: 1, core: the idlest; the card of cpu now says threads: 2, core: none"),
    ],
)
def test_other_conditions_do_not_mix_in(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    Device(CPU, folder=tmp_path, protocol=QUICK, transport=FakeBoard()).measure(SPACE, population(1))
    other = Device(replace(CPU, **change), folder=tmp_path, protocol=QUICK, transport=FakeBoard())
    with pytest.raises(ValueError, match=f"was measured with {said}"):
        other.measure(SPACE, population(2))


def test_another_command_on_a_phone_does_not_mix_in(tmp_path: Path) -> None:
    phone = DeviceSpec("phone", transport="adb", runtime="litert", command="bench {model}")
    Device(phone, folder=tmp_path, protocol=QUICK, transport=FakeBoard()).measure(SPACE, population(1))
    other = replace(phone, command="taskset f0 bench {model}")
    with pytest.raises(ValueError, match="program: bench {model}; the card of phone now says program: taskset f0"):
        Device(other, folder=tmp_path, protocol=QUICK, transport=FakeBoard()).measure(SPACE, population(2))


@pytest.mark.parametrize("without", [("first_core", "address"), ("first_core", "address", "programs", "sessions")])
def test_a_table_of_an_earlier_version_says_less_and_is_still_used(without: tuple[str, ...], tmp_path: Path) -> None:
    device = Device(CPU, folder=tmp_path, protocol=QUICK, transport=FakeBoard())
    device.measure(SPACE, population(1))
    card = card_path(device.table.path)
    fields = yaml.safe_load(card.read_text())
    fields["conditions"] = {key: value for key, value in fields["conditions"].items() if key not in without}
    card.write_text(yaml.safe_dump(fields))
    changed = Device(replace(CPU, core=1), folder=tmp_path, protocol=QUICK, transport=FakeBoard())
    assert len(changed.measure(SPACE, population(2))) == 2


def measured(spec: DeviceSpec, folder: Path, cpu: str = "Fake CPU") -> None:
    """A table with as many networks as a search wants."""
    Device(spec, folder=folder, protocol=QUICK, transport=FakeBoard(cpu=cpu)).measure(SPACE, population(12))


@pytest.mark.parametrize("change", [{"threads": 2}, {"runtime": "openvino"}, {"core": 0}])
def test_what_is_known_under_other_conditions_is_not_searched_by(change: dict[str, Any], tmp_path: Path) -> None:
    measured(BOARD, tmp_path)
    board = FakeBoard()
    assert learn_device(Device(BOARD, folder=tmp_path, transport=board), SPACE).refit is not None
    with pytest.raises(ValueError, match="move that folder away, or give the card a name of its own"):
        learn_device(Device(replace(BOARD, **change), folder=tmp_path, transport=board), SPACE)
    assert board.asked == []


def test_a_table_of_this_machine_is_used_and_that_of_another_is_not(tmp_path: Path) -> None:
    measured(CPU, tmp_path / "here", processor_of(machine_here(CPU.runtime)))
    assert learn_device(Device(CPU, folder=tmp_path / "here"), SPACE).refit is not None
    measured(CPU, tmp_path / "there", "Old")
    with pytest.raises(ValueError, match=r"cpu.csv was measured on Old, device cpu is now .*; move that folder away"):
        learn_device(Device(CPU, folder=tmp_path / "there"), SPACE)


def test_a_gpu_that_is_not_here_now_is_known_by_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(CPU, runtime="onnxruntime-cuda")
    measured(spec, tmp_path)
    card = card_path(tmp_path / "cpu.csv")
    card.write_text(card.read_text().replace("  cpu: Fake CPU\n", "  cpu: Fake CPU\n  gpu: Fast, 550.1\n"))
    for gpu in ("", "Fast, 560.2"):
        monkeypatch.setattr("nas.devices.agent.gpu", lambda gpu=gpu: gpu)
        Device(spec, folder=tmp_path).check_table()
    monkeypatch.setattr("nas.devices.agent.gpu", lambda: "Other, 550.1")
    with pytest.raises(ValueError, match="measured on Fast, device cpu is now Other"):
        Device(spec, folder=tmp_path).check_table()


def test_a_board_at_another_address_is_asked_what_it_is(tmp_path: Path) -> None:
    measured(BOARD, tmp_path, "Old")
    said: list[str] = []

    def check(spec: DeviceSpec, transport: FakeBoard) -> None:
        Device(spec, folder=tmp_path, transport=transport, listener=Listener(say=said.append)).check_table()

    moved = replace(BOARD, host="me@new")
    same, other, away = FakeBoard(cpu="Old"), FakeBoard(cpu="New"), FakeBoard(vanish_after=0)
    check(BOARD, other)
    assert other.asked == []
    check(moved, same)
    assert said == []
    with pytest.raises(ValueError, match="was measured on Old, device board is now New"):
        check(moved, other)
    check(moved, away)
    assert len(said) == 1
    assert "was measured at me@old, me@new cannot be checked: the board went away" in said[0]


def test_the_verb_fit_refuses_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    measured(CPU, tmp_path / "runs/devices/cpu", "Old")
    assert main(["fit", "--device", "cpu"]) == 2
    assert "cpu.csv was measured on Old" in capsys.readouterr().err


def test_another_phone_in_the_place_of_the_first_is_noticed(tmp_path: Path) -> None:
    phone = DeviceSpec("phone", transport="adb")  # it has no serial number, so no address tells them apart
    measured(phone, tmp_path, "Pixel")
    other = Device(phone, folder=tmp_path, protocol=QUICK, transport=FakeBoard(cpu="Samsung"))
    with pytest.raises(ValueError, match="was measured on Pixel, device phone is now Samsung; move that folder away"):
        other.check_reachable()
    (tmp_path / "net.onnx").write_bytes(b"x" * 1000)
    with pytest.raises(DeviceUnavailable, match="was measured on Pixel, device phone is now Samsung"):
        other.measure_models([tmp_path / "net.onnx"])
    Device(phone, folder=tmp_path, transport=FakeBoard(cpu="Pixel")).check_reachable()


PI = "BCM2835"
"""What the system of several Raspberry Pis calls the processor."""


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        ((PI, "Raspberry Pi 3"), (PI, "Raspberry Pi 4"), False),
        ((PI, "Raspberry Pi 4"), ("Raspberry Pi 4", "Raspberry Pi 4"), True),  # another kernel
        ((PI, ""), (PI, "Raspberry Pi 4"), True),  # of an earlier version
        (("Raspberry Pi 4", ""), (PI, "Raspberry Pi 4"), True),
        (("Raspberry Pi 4", ""), (PI, "Raspberry Pi 3"), False),
    ],
)
def test_boards_are_told_apart_by_their_names(
    before: tuple[str, str], now: tuple[str, str], same: bool, tmp_path: Path
) -> None:
    first, second = (FakeBoard(cpu=cpu, board=board) for cpu, board in (before, now))
    table = Device(BOARD, folder=tmp_path, protocol=QUICK, transport=first).measure(SPACE, population(1))
    assert table.card.chip == (before[1] or before[0])
    there = Device(BOARD, folder=tmp_path, protocol=QUICK, transport=second)
    if same:
        there.check_reachable()
        assert len(there.measure(SPACE, population(2))) == 2
    else:
        with pytest.raises(ValueError, match="was measured on Raspberry Pi ., device board is now "):
            there.check_reachable()


def test_a_core_that_a_command_was_not_pinned_to_leaves_the_table_usable(tmp_path: Path) -> None:
    phone = DeviceSpec("phone", transport="adb", command="bench {model}")
    Device(phone, folder=tmp_path, protocol=QUICK, transport=FakeBoard()).measure(SPACE, population(1))
    card = card_path(tmp_path / "phone.csv")
    card.write_text(card.read_text().replace("first_core: null", "first_core: 7"))
    assert "first_core: 7" in card.read_text()
    again = Device(phone, folder=tmp_path, protocol=QUICK, transport=FakeBoard())
    assert len(again.measure(SPACE, population(2))) == 2


def imported(folder: Path, macs_per_ms: float, first: int = 0, card: str = "", **options: Any) -> LatencyTable:
    """A file of latencies as if the device computed so fast, imported."""
    rows = LARGE.sample(12, np.random.default_rng(0))[first:]
    latency_ms = LARGE.costs(rows).macs / macs_per_ms
    lines = [f"{LARGE.name},{name},{ms:.6g}\n" for name, ms in zip(LARGE.format(rows), latency_ms, strict=True)]
    path = folder / "file.csv"
    path.write_text("space,architecture,latency_ms\n" + "".join(lines))
    if card:
        path.with_suffix(".yaml").write_text(f"name: file\n{card}\n")
    return import_table([path], options.pop("name", "mine"), folder=folder / "devices", **options)


@pytest.mark.parametrize("options", [{"threads": 1}, {"name": "cpu"}, {"name": "cpu", "card": "chip: Fast"}])
def test_seconds_are_told_by_the_threads_that_are_known(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="looks like seconds, multiply it by 1000"):
        imported(tmp_path, 300e6, **options)
    assert len(imported(tmp_path, 300e6, name="gpu")) == 12  # its threads do not say how fast it is
    assert len(imported(tmp_path, 300e6, name="unknown")) == 12


@pytest.mark.parametrize("said", [{"threads": 4}, {"card": "threads: 4"}, {"card": "runtime: litert"}])
def test_what_is_not_known_of_stored_latencies_is_not_said_of_them_later(said: dict[str, Any], tmp_path: Path) -> None:
    before = imported(tmp_path, 20e6)
    with pytest.raises(ValueError, match=r"file.csv was measured with .*, and of the latencies that mine has that is"):
        imported(tmp_path, 20e6, first=6, **said)
    assert imported(tmp_path, 20e6, card="chip: Fast").card.threads == before.card.threads == 0
    assert len(imported(tmp_path, 20e6, name="another", **said)) == 12
