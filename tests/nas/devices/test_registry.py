"""Devices by name, and cards that cannot work."""

import os
import subprocess
from pathlib import Path

import pytest

from nas.devices.registry import get_device, list_devices
from nas.devices.spec import read_spec
from nas.progress import Listener


def test_the_machine_at_hand_is_there() -> None:
    assert get_device("cpu").spec.runtime == "onnxruntime"
    assert get_device("local").name == "cpu"
    assert "cpu" in [known.spec.name for known in list_devices()]


def test_an_unknown_device_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown device 'toaster'; known: .*\bcpu\b"):
        get_device("toaster")


def test_your_own_card_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("devices").mkdir()
    Path("devices/cpu.yaml").write_text("name: cpu\nthreads: 2\n")
    Path("devices/board.yaml").write_text("name: board\naliases: [b]\ntransport: ssh\nhost: me@board\n")
    assert get_device("cpu").spec.threads == 2
    assert get_device("b").spec.host == "me@board"


def test_measured_networks_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "cpu"
    folder.mkdir()
    (folder / "cpu.csv").write_text("space,architecture,latency_ms\na,x,1\na,y,1\nb,x,1\n")
    (folder / "cpu.yaml").write_text("name: cpu\nchip: Fast\n")
    known = next(d for d in list_devices(folder=tmp_path) if d.spec.name == "cpu")
    assert known.spaces == (("a", 2), ("b", 1))
    assert known.measurements == 3
    assert known.card is not None
    assert known.card.chip == "Fast"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name: [", "is not valid YAML"),
        ("chip: x", "name is missing"),
        ("", "should be an object"),
        ("name: x\nspeed: 3", "speed is not a known field"),
        ("name: x\nthreads: many", "threads should be a valid integer, got 'many'"),
        ("name: x\nthreads: true", "threads should be a valid integer"),
        ("name: x\nthreads: .nan", "no finite number"),
        ("name: x\nserial: 01234567", "serial must be text: put it in quotes$"),
        ("name: x\nhost: pi@raspberrypi", "local does not use host; write transport: ssh, or leave host out"),
        ('name: x\nserial: "R58"', "transport: local does not use serial; write transport: adb"),
        ("name: x\nssh_config: boards", "transport: local does not use ssh_config; write transport: ssh"),
        ("name: x\ntransport: ssh\nhost: h\ncommand: b {model}", "transport: ssh does not use command"),
        ("name: x\ntransport: adb\nhost: h", "transport: adb does not use host"),
        ("name: x\ntransport: adb\ncore: 7\ncommand: b {model}", "core does not pin a command; leave it out, and"),
        ("name: x\ntransport: adb\ncommand: b {model} {resolution}", "{resolution} is for ncnn"),
        ("name: 42", "name must be text: put it in quotes"),
        ("name: ../../evil", "name of a device must be a plain name"),
        ("name: a/b", "name of a device must be a plain name"),
        ('name: "a\\0b"', "name of a device must be a plain name"),
        ('name: "a\\nb"', "name of a device must be a plain name"),
        ("name: x\naliases: [../y]", "name of a device must be a plain name"),
        ("name: x\naliases: [[y]]", r"aliases\[0\] should be a valid string"),
        ("name: " + "x" * 300, "at most 100 bytes"),
        ("name: x\naliases: &a [*a]", "aliases .* are not allowed"),
        ("name: x\nchip: " + "[" * 100 + "]" * 100, "levels"),
        ("name: x\ntransport: ssh\nhost: -oProxyCommand=x", "host cannot begin with -"),
        ("name: x\ntransport: adb\nserial: -x", "serial cannot begin with -"),
        ("name: x\ncore: -2", "core must be a core's number"),
        ("name: x\nthreads: 0", "threads must be at least 1"),
        ("name: x\ntransport: usb", "unknown transport 'usb'; known: local, ssh, adb"),
        ("name: x\nruntime: tensorrt", "unknown runtime 'tensorrt'; known: onnxruntime"),
        ("name: x\nprecision: int3", "onnxruntime runs float32.*not 'int3'"),
        ("name: x\ntransport: ssh", "needs a host"),
    ],
)
def test_broken_cards(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_spec(path)
    assert str(path) in str(caught.value)


def test_a_card_that_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ValueError, match="is not a regular file"):
        read_spec(tmp_path / "pipe.yaml")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of one's own cards."""
    monkeypatch.chdir(tmp_path)
    Path("devices").mkdir()
    return Path("devices")


def test_a_bad_or_unrelated_card_warns_and_stops_nothing_else(own: Path) -> None:
    (own / "docker-compose.yaml").write_text("services: {web: {image: x}}\n")
    (own / "bad.yml").write_text("name: bad\nthreads: many\n")
    (own / "good.yml").write_text("name: good\n")
    said: list[str] = []
    assert get_device("pixel", listener=Listener(say=said.append)).name == "pixel1"
    assert get_device("good").name == "good"
    assert len(said) == 2
    assert all(sentence.startswith("warning: devices/") for sentence in said)
    with pytest.raises(ValueError, match="bad.yml: threads should be"):
        get_device("bad")
    assert "good" in [known.spec.name for known in list_devices()]


def test_a_damaged_card_does_not_turn_into_the_shipped_one(own: Path) -> None:
    (own / "cpu.yaml").write_text("name: cpu\nthreads: many\n")
    with pytest.raises(ValueError, match="cpu.yaml: threads should be"):
        get_device("cpu")
    assert get_device("cpu-litert").name == "cpu-litert"


@pytest.mark.parametrize("damage", ["card", "table", "empty"])
def test_a_damaged_table_stops_that_device_only(damage: str, tmp_path: Path) -> None:
    for name in ("cpu", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.csv").write_text("space,architecture,latency_ms\na,x,1\n")
        (tmp_path / name / f"{name}.yaml").write_text(f"name: {name}\n")
    if damage == "card":
        (tmp_path / "mine/mine.yaml").write_text("name: [")
    else:
        (tmp_path / "mine/mine.csv").write_text("" if damage == "empty" else "space,architecture,latency_ms\na,x,0\n")
    assert get_device("cpu", folder=tmp_path).table.read() is not None
    with pytest.raises(ValueError, match="mine"):
        get_device("mine", folder=tmp_path).table.read()
    said: list[str] = []
    known = {d.spec.name: d for d in list_devices(folder=tmp_path, listener=Listener(say=said.append))}
    assert known["cpu"].measurements == 1
    assert len(said) == 1


def test_a_table_without_its_card_is_still_read(tmp_path: Path) -> None:
    """Killed between the two files, an older version left the table alone."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/mine.csv").write_text("space,architecture,latency_ms\na,x,1\n")
    table = get_device("mine", folder=tmp_path).table.read()
    assert table is not None
    assert len(table) == 1
    assert "pixel1" in [known.spec.name for known in list_devices(folder=tmp_path)]


def test_listing_devices_runs_no_program(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*command: object, **options: object) -> None:
        raise AssertionError(command)

    (own / "x.yaml").write_text("name: x\npython: ./devices/run_me\n")
    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert "x" in [known.spec.name for known in list_devices()]


def test_long_names_are_cut_in_messages() -> None:
    with pytest.raises(ValueError, match="unknown device 'xxx") as caught:
        get_device("x" * 10_000)
    assert len(str(caught.value)) < 1_500


def test_threads_and_batch_are_conditions_that_can_be_named(tmp_path: Path) -> None:
    device = get_device("cpu", folder=tmp_path, threads=2, batch=8)
    assert (device.name, device.spec.threads, device.batch) == ("cpu-2threads", 2, 8)
    assert get_device("local-2threads", folder=tmp_path).spec == device.spec
    assert get_device("cpu", folder=tmp_path, threads=1).name == "cpu"
    (tmp_path / "cpu-2threads").mkdir()
    (tmp_path / "cpu-2threads/cpu-2threads.csv").write_text("space,architecture,latency_ms\na,x,1\n")
    assert get_device("cpu-2threads", folder=tmp_path).can_measure
    with pytest.raises(ValueError, match="leave --device-threads out"):
        get_device("pixel1", threads=2)
    for name in ("cpu-0threads", "cpu", "cpu-9999999threads"):
        with pytest.raises(ValueError, match=r"threads must be at least 1|unknown device"):
            get_device(name, threads=0 if name == "cpu" else None)
    with pytest.raises(ValueError, match="--batch must be from 1"):
        get_device("cpu", batch=0)


def test_another_number_of_threads_of_a_foreign_card_is_still_foreign(own: Path) -> None:
    (own / "board.yaml").write_text("name: board\npython: ./run_me\n")
    assert not get_device("board", threads=2).trusted
    assert not get_device("board-2threads").trusted
    assert get_device("cpu", threads=2).trusted


def test_two_cards_of_one_name_are_said(own: Path) -> None:
    for name in ("pixel-a", "pixel-b"):
        (own / f"{name}.yaml").write_text(f"name: pixel-a\ntransport: adb\nserial: {name}\n")
    said: list[str] = []
    assert get_device("pixel-a", listener=Listener(say=said.append)).spec.serial == "pixel-a"
    problem = "devices/pixel-b.yaml has the name pixel-a, as devices/pixel-a.yaml has; give it another"
    assert said == [f"warning: {problem}; this card is left out"]
    with pytest.raises(ValueError, match=f"^{problem}$"):
        get_device("pixel-b")
    (own / "old.yaml").write_text("name: phone\n")
    (own / "phone.yaml").write_text("name: phone\nthreads: 2\n")
    with pytest.raises(ValueError, match="phone.yaml has the name phone, as devices/old.yaml has"):
        get_device("phone")
