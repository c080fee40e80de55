"""bfloat16 is chosen by measuring, once a run, and only where it could win."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_run import tiny_recipe, tiny_run, tiny_supernet

from nas.supernet import load_supernet
from nas.training import precision
from nas.training.precision import bfloat16_pays


@pytest.mark.parametrize(("factor", "expected"), [(1.5, True), (1.1, False), (0.5, False)])
def test_a_clear_gain_decides(factor: float, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "WORTH_TRYING", 0)
    monkeypatch.setattr(precision, "_seconds", lambda net, images, bfloat16: 1.0 if bfloat16 else factor)
    assert bfloat16_pays(tiny_supernet(), "cpu") is expected


def test_measuring_leaves_the_supernet_and_random_numbers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "WORTH_TRYING", 0)
    supernet = tiny_supernet()
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    state = torch.get_rng_state()
    bfloat16_pays(supernet, "cpu")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.state_dict().items())
    assert all(p.grad is None for p in supernet.parameters())


def test_small_networks_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_seconds", lambda *given: pytest.fail("measured"))
    assert not bfloat16_pays(tiny_supernet(), "cpu")


@pytest.mark.parametrize("major", [7, 8])
def test_a_gpu_that_only_emulates_it_stays_in_float32(major: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "device", lambda name: asked.append(name) or nullcontext())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(major=major))
    assert bfloat16_pays(tiny_supernet(), "cuda:1") == (major >= 8)
    assert asked == ["cuda:1"]


def test_a_resumed_run_keeps_its_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_recipe(epochs=1)
    monkeypatch.setattr("nas.training.loop.bfloat16_pays", lambda supernet, device: True)
    tiny_run(tmp_path, recipe=recipe)
    assert load_supernet(tmp_path)[1]["bfloat16"] is True
    monkeypatch.setattr("nas.training.loop.bfloat16_pays", lambda supernet, device: False)
    tiny_run(tmp_path, recipe=recipe)
    assert load_supernet(tmp_path)[1]["bfloat16"] is True
