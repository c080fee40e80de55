"""Devices by name, and cards that cannot work."""

from pathlib import Path

import pytest

from nas.devices.registry import get_device, list_devices
from nas.devices.spec import read_spec


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
        ("name: [", "is not YAML"),
        ("chip: x", "at least a name"),
        ("name: x\nspeed: 3", "unknown field 'speed'; known: name"),
        ("name: x\nthreads: many", "field threads cannot be 'many'"),
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
