"""Two processes train what one does, and start again together when one of them is killed."""

import copy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from distributed_run import one_epoch
from safetensors.torch import load_file
from tiny_run import tiny_data, tiny_recipe, tiny_run, tiny_supernet

from nas.elastic import ElasticBatchNorm2d
from nas.supernet import load_supernet
from nas.training import Trainer, read_log
from nas.training.distributed import ALONE, Processes, synchronised_batch_norm
from search_spaces import LayerSpec

WIDE = LayerSpec("norm", "identity", 12, 12, 4, norm=True)
FIRST = replace(WIDE, in_channels=6, out_channels=6)
PARTS = replace(FIRST, writes=((1, 4), (6, 9)))


def test_two_processes_one_of_them_killed_reach_the_single_process_weights(tmp_path: Path) -> None:
    script = Path(__file__).with_name("distributed_run.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    done = subprocess.run([*command, str(script), str(tmp_path)], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "Signal 9 (SIGKILL)" in done.stderr or "exitcode: -9" in done.stderr, done.stderr
    assert not (tmp_path / "other").exists()
    tiny_run(tmp_path / "alone", recipe=one_epoch())
    ours, theirs = (load_file(tmp_path / name / "supernet.safetensors") for name in ("run", "alone"))
    start = dict(tiny_supernet().named_parameters())
    for name, weight in ours.items():
        if name in start:
            moved = (theirs[name] - start[name]).abs().max().item()
            torch.testing.assert_close(weight, theirs[name], rtol=0, atol=0.01 * moved + 1e-6, msg=name)
    last, expected = read_log(tmp_path / "run")[-1], read_log(tmp_path / "alone")[-1]
    assert last["step"] == 5
    assert last["loss_max"] == pytest.approx(expected["loss_max"], rel=1e-3)
    assert last["accuracy_min"] == pytest.approx(expected["accuracy_min"], abs=0.13)
    assert load_supernet(tmp_path / "run")[1]["processes"] == 2
    assert load_supernet(tmp_path / "alone")[1]["processes"] == 1


def test_a_batch_is_split_evenly_or_refused() -> None:
    parts = [Processes(rank, 4).part(16) for rank in range(4)]
    assert [list(range(16))[part] for part in parts] == [list(range(i, i + 4)) for i in (0, 4, 8, 12)]
    with pytest.raises(
        ValueError,
        match="batch of 16 images cannot be split evenly among 3 processes; set recipe.batch_size=15, a multiple of 3",
    ):
        Trainer(tiny_supernet(), tiny_data(), tiny_recipe(), processes=Processes(0, 3))
    few = replace(tiny_data(), train=tiny_data().train.take(np.arange(5)))
    with pytest.raises(ValueError, match="5 images .* 2 processes; set recipe.batch_size=4, a"):
        Trainer(tiny_supernet(), few, tiny_recipe(), processes=Processes(0, 2))
    with pytest.raises(ValueError, match="5 images .* 8 processes; start at most 5"):
        Trainer(tiny_supernet(), few, tiny_recipe(), processes=Processes(0, 8))


def test_batch_norm_is_the_ordinary_one_alone_and_afterwards() -> None:
    supernet = tiny_supernet()
    norms = [module for module in supernet.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    with synchronised_batch_norm(supernet, ALONE, 16):
        assert not any("forward" in vars(norm) for norm in norms)
    with synchronised_batch_norm(supernet, Processes(0, 2), 128):  # 64 images each have statistics of their own
        assert not any("forward" in vars(norm) for norm in norms)
    with synchronised_batch_norm(supernet, Processes(0, 2), 16):
        assert all("forward" in vars(norm) for norm in norms)
    assert not any("forward" in vars(norm) for norm in norms)


class Twin:
    """In place of the sum over two processes: the other one has the same images."""

    @staticmethod
    def apply(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.sum(0, keepdim=True).expand_as(tensor)


@pytest.mark.parametrize("spec", [WIDE, FIRST, PARTS, None], ids=["all", "first", "parts", "one network alone"])
def test_two_processes_normalise_as_one_does(spec: LayerSpec | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.training.distributed._Sum", Twin)
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm2d(6) if spec is None else ElasticBatchNorm2d([WIDE, FIRST, PARTS])
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        torch.nn.init.uniform_(tensor, 0.5, 1.5)
    if isinstance(norm, ElasticBatchNorm2d) and spec is not None:
        norm.narrow(spec)
    alone = copy.deepcopy(norm)
    images = torch.randn(8, 6 if spec is None else spec.out_channels, 4, 4)
    with synchronised_batch_norm(torch.nn.Sequential(norm), Processes(0, 2), 16):
        assert "forward" in vars(norm)
        ours = norm(images)
    theirs = alone(torch.cat([images, images]))
    torch.testing.assert_close(ours, theirs[:8])
    torch.testing.assert_close(norm.running_mean, alone.running_mean)
    torch.testing.assert_close(norm.running_var, alone.running_var)
    for outputs in (2 * ours, theirs):
        outputs.sum().backward()
    assert norm.weight.grad is not None
    torch.testing.assert_close(norm.weight.grad, alone.weight.grad)
    torch.testing.assert_close(norm.bias.grad, alone.bias.grad)
