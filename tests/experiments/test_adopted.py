"""The study that shrinks a trained network: its weights go back into torchvision's class, rivals keep the limit."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from torchvision import models

from experiments.adopted import __main__ as study
from experiments.adopted.originals import _names, _renamed, as_subnet
from experiments.adopted.rivals import _prune, within
from experiments.adopted.trashnet import KEYS, RESULTS, TABLE, Study, known_methods

SIDE = 64


def test_weights_go_back_to_where_they_came_from() -> None:
    torch.manual_seed(0)
    module = models.get_model("mobilenet_v2", weights=None, num_classes=3).eval()
    subnet = as_subnet(module, "mobilenet_v2", SIDE)
    with torch.no_grad():
        for tensor in subnet.state_dict().values():
            if tensor.is_floating_point():
                tensor += 0.1 * torch.rand_like(tensor)
        images = torch.randn(2, 3, SIDE, SIDE)
        assert not torch.allclose(module(images), subnet(images), rtol=1e-2)
        module.load_state_dict(module.state_dict() | _renamed(subnet, _names(module, SIDE), module))
        torch.testing.assert_close(module(images), subnet(images), rtol=1e-4, atol=1e-4)


def test_the_slowest_network_that_keeps_the_limit_is_taken() -> None:
    latencies = {"a": 1.0, "b": 1.9, "c": 1.999, "d": 2.5}
    assert within(latencies, 2.0) == "b"  # 1 % is left for the next session
    assert within(latencies, 0.5) is None


def test_a_pruned_network_is_a_network_of_the_product() -> None:
    pytest.importorskip("torch_pruning", reason="needs pip install --no-deps torch-pruning==1.6.1")
    module = models.get_model("mobilenet_v2", weights=None, num_classes=3).eval()
    whole = as_subnet(module, "whole", SIDE)
    half = as_subnet(_prune(module, 0.5, SIDE), "half", SIDE)
    macs = [int(net.space.costs(net.genotype[None]).macs[0]) for net in (whole, half)]
    assert 0.1 < macs[1] / macs[0] < 0.5
    assert half(torch.randn(1, 3, SIDE, SIDE)).shape == (1, 3)


def test_a_misspelt_network_is_refused_and_becomes_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study, "RESULTS", tmp_path)
    monkeypatch.setattr(study, "row", lambda *_: pytest.fail("work was done before the names were judged"))
    monkeypatch.setattr(sys, "argv", ["adopted", "--networks", "torchvision:squeezenet1_1,torchvision:mobilnet_v2"])
    with pytest.raises(SystemExit) as ended:
        study.main()
    assert ended.value.code == 2
    assert "mobilnet_v2" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_network_that_cannot_be_adopted_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Any) -> None:
        raise ValueError("an operator without a kind")

    monkeypatch.setattr(study, "adopt", refuse)
    found = study.row("torchvision:squeezenet1_1", measure=False)
    assert found == {"network": "torchvision:squeezenet1_1", "refused": "an operator without a kind"}


@pytest.mark.parametrize(("key", "other"), [("tune_time", "10min"), ("evaluations", 80), ("every", 2), ("start", "f")])
def test_rows_of_other_settings_are_not_taken_for_these(key: str, other: Any, tmp_path: Path) -> None:
    committed = RESULTS / TABLE
    about = pd.read_csv(committed).iloc[0][KEYS].to_dict()
    assert {"elastic", "original"} <= known_methods(committed, about)
    assert known_methods(committed, about | {key: other}) == set()
    before = tmp_path / "before.csv"  # of a version that had no such column
    pd.read_csv(committed).drop(columns=key).to_csv(before, index=False)
    assert known_methods(before, about) == set()


def test_what_was_found_with_other_settings_is_not_gone_on_with(tmp_path: Path) -> None:
    images: Any = SimpleNamespace(resolution=160)
    settings: Any = None
    study = Study("mobilenet_v2", 0, images, settings, Path("a/w.pth"), "6min", "3min", 40, 1, tmp_path)
    others = [{"weights": None}, {"evaluations": 80}, {"every": 2}, {"train_time": "8min"}, {"seed": 1}]
    assert len({study.work, *(replace(study, **other).work for other in others)}) == 6
    assert replace(study, tune_time="10min").work == study.work  # the networks trained alone have it in their names
