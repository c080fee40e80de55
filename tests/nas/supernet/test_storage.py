"""What was saved comes back; what was damaged is refused in one sentence."""

import json
from pathlib import Path

import pytest
import torch

from nas.supernet import (
    Subnet,
    Supernet,
    load_subnet,
    load_supernet,
    save_subnet,
    save_supernet,
    subnet_metadata,
)
from nas.supernet.storage import WEIGHTS
from search_spaces import SearchSpace, get_space

CARD = {"classes": ["a", "b"], "mean": [0.5, 0.5, 0.5]}


@pytest.fixture
def folder(net: Supernet, tmp_path: Path) -> Path:
    save_supernet(tmp_path / "run", net, CARD)
    return tmp_path / "run"


@pytest.fixture
def saved(small_space: SearchSpace, tmp_path: Path) -> Path:
    save_subnet(tmp_path / "subnet.safetensors", Subnet(small_space, small_space.min), CARD)
    return tmp_path / "subnet.safetensors"


def test_a_supernet_comes_back(net: Supernet, folder: Path) -> None:
    loaded, card = load_supernet(folder)
    assert card == CARD
    assert loaded.space.options == net.space.options
    assert loaded.state_dict().keys() == net.state_dict().keys()
    assert all(torch.equal(tensor, net.state_dict()[key]) for key, tensor in loaded.state_dict().items())
    assert all(p.requires_grad for p in loaded.parameters())
    assert (loaded.active == net.space.max).all()
    assert sorted(path.name for path in folder.iterdir()) == ["supernet.json", "supernet.safetensors"]


def test_channels_last_networks_can_be_saved(net: Supernet, tmp_path: Path) -> None:
    net.to(memory_format=torch.channels_last)
    save_supernet(tmp_path, net, {})
    loaded, _ = load_supernet(tmp_path)
    assert all(torch.equal(tensor, net.state_dict()[key]) for key, tensor in loaded.state_dict().items())


def test_half_the_bytes_hold_the_rounded_weights(net: Supernet, folder: Path, tmp_path: Path) -> None:
    save_supernet(tmp_path / "half", net, {}, half=True)
    whole, half = (path.joinpath(WEIGHTS).stat().st_size for path in (folder, tmp_path / "half"))
    assert half < 0.6 * whole
    loaded, _ = load_supernet(tmp_path / "half")
    for name, tensor in net.state_dict().items():
        wanted = tensor.half().float() if tensor.is_floating_point() else tensor
        assert torch.equal(loaded.state_dict()[name], wanted), name
        assert loaded.state_dict()[name].dtype == tensor.dtype


def test_a_failed_save_leaves_the_old_one(net: Supernet, folder: Path) -> None:
    with pytest.raises(TypeError):
        save_supernet(folder, net, {"not JSON": object()})
    assert load_supernet(folder)[1] == CARD


def test_missing_files_are_named(folder: Path) -> None:
    (folder / "supernet.json").unlink()
    with pytest.raises(ValueError, match="supernet.json is missing"):
        load_supernet(folder)


@pytest.mark.parametrize("length", [0, 100, -1])
def test_a_truncated_supernet_is_refused(folder: Path, length: int) -> None:
    path = folder / "supernet.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match="supernet.safetensors is damaged"):
        load_supernet(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"space": 3}'])
def test_a_damaged_card_is_refused(folder: Path, text: str) -> None:
    (folder / "supernet.json").write_text(text)
    with pytest.raises(ValueError, match="supernet.json"):
        load_supernet(folder)


def test_another_space_is_refused(folder: Path) -> None:
    path = folder / "supernet.json"
    record = json.loads(path.read_text())
    record["space"]["options"]["width_mult"] = 2.0
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="does not fit space"):
        load_supernet(folder)
    record["space"]["name"] = "unheard_of"
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="unknown search space"):
        load_supernet(folder)


def test_a_subnet_comes_back(net: Supernet, tmp_path: Path) -> None:
    subnet = net.extract(net.space.min)
    save_subnet(tmp_path / "subnet.safetensors", subnet, CARD)
    loaded = load_subnet(tmp_path / "subnet.safetensors")
    assert loaded.architecture == subnet.architecture
    assert loaded.space.options == net.space.options
    images = torch.randn(2, 3, loaded.resolution, loaded.resolution)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(images), subnet.eval()(images))
    assert subnet_metadata(tmp_path / "subnet.safetensors") == CARD


def test_a_path_may_be_text(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(saved.parent))
    for path in (str(saved), f"~/{saved.name}"):
        assert load_subnet(path).architecture == load_subnet(saved).architecture
        assert subnet_metadata(path) == CARD


def test_widths_come_back(tmp_path: Path) -> None:
    space = get_space("mobilenet_v3_small_images", width_mult=1.5)
    save_subnet(tmp_path / "subnet.safetensors", Subnet(space, space.min), {})
    assert load_subnet(tmp_path / "subnet.safetensors").space.name == space.name


@pytest.mark.parametrize("length", [0, 5, 500, -1])
def test_a_truncated_subnet_is_refused(saved: Path, length: int) -> None:
    saved.write_bytes(saved.read_bytes()[:length])
    with pytest.raises(ValueError, match="subnet.safetensors is damaged"):
        load_subnet(saved)


def test_an_edited_subnet_is_refused(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    with pytest.raises(ValueError, match="not the ones that were saved"):
        load_subnet(saved)


def test_what_is_no_subnet_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file that this program saved"):
        load_subnet(folder / "supernet.safetensors")
    with pytest.raises(ValueError, match="no subnet at"):
        load_subnet(tmp_path / "nothing.safetensors")
