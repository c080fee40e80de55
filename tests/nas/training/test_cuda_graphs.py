"""Recorded passes: everything but the recording itself, for which a CPU calls the function again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import tiny_data, tiny_recipe, tiny_run, tiny_supernet

from nas.training import Recipe, Trainer
from nas.training.checkpoint import load_checkpoint
from nas.training.cuda_graphs import RecordedPasses, Replay

SANDWICH = {"name": "all", "share": 1.0, "sampler": "sandwich", "n_random": 2, "target": "max_net", "ramp": 0.5}
ONE = {"name": "one", "share": 0.5, "sampler": "random", "n_random": 1}
CASES: dict[str, dict[str, Any]] = {
    "sandwich": {"phases": [SANDWICH], "ema": 0.2},
    "dropout, shares of classes": {"phases": [SANDWICH], "dropout": 0.3, "regularise": "max_net",
                                   "augmentation": [{"name": "mixup", "alpha": 0.5, "probability": 0.5}]},
    "unused weights, two phases, a teacher": {
        "phases": [ONE, {**ONE, "name": "two", "target": "teacher", "label_weight": 0.5, "distillation": "alpha",
                         "sort_channels": True}],
        "weight_decay": 0.05},
    "max net alone": {"phases": [{"name": "max", "share": 1.0}]},
}  # fmt: skip


def trainers(recipe: Recipe, record: Callable[[Replay], Replay]) -> tuple[Trainer, Trainer]:
    """The plain one and the one with recorded passes, of supernets of two resolutions with kernel matrices."""
    plain, recorded = (
        Trainer(tiny_supernet(resolutions=(12, 16), kernel_transform=True), tiny_data(), recipe, seed=2, pooled=True)
        for _ in range(2)
    )
    recorded.recorded = RecordedPasses(recorded.subnet_pass, recorded.parameters, record)
    return plain, recorded


@pytest.mark.parametrize("case", CASES)
def test_recorded_steps_are_plain_steps(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.training.pool.RENEW_EVERY", 2)
    made: list[Replay] = []
    plain, recorded = trainers(
        tiny_recipe(kernel_transform=True, **CASES[case]), lambda work: made.append(work) or work
    )
    for step in range(20):
        assert recorded.train_step(step) == pytest.approx(plain.train_step(step), rel=1e-5)
        for name, parameter in plain.parameters.items():
            assert (recorded.parameters[name].grad is None) == (parameter.grad is None), name
            torch.testing.assert_close(recorded.parameters[name], parameter, rtol=1e-5, atol=1e-7)
    assert made


def test_a_subnet_is_recorded_once_and_forgotten_when_the_pool_has_dropped_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.training.pool.RENEW_EVERY", 5)
    monkeypatch.setattr("nas.training.pool.SIZE", 2)
    made: list[Replay] = []
    _, recorded = trainers(
        tiny_recipe(kernel_transform=True, phases=[SANDWICH]), lambda work: made.append(work) or work
    )
    counts = []
    for step in range(11):
        recorded.train_step(step)
        counts.append(len(made))
    assert recorded.recorded is not None
    assert counts == [4] * 5 + [5] * 5 + [6]  # max, min and the pool of two; then one more after every five steps
    assert len(recorded.recorded._recorded) == 4


def test_the_max_net_is_recorded_once_at_each_resolution() -> None:
    made: list[Replay] = []
    widest = {"name": "all", "share": 1.0, "sampler": "widest"}
    _, recorded = trainers(tiny_recipe(kernel_transform=True, phases=[widest]), lambda work: made.append(work) or work)
    for step in range(20):
        recorded.train_step(step)
    assert len(made) == 2


def test_memory_that_no_graph_uses_any_more_is_not_recorded_into(monkeypatch: pytest.MonkeyPatch) -> None:
    pools: list[list[Replay]] = []

    def recorder() -> Callable[[Replay], Replay]:
        pools.append(made := [])
        return lambda work: made.append(work) or work

    monkeypatch.setattr("nas.training.cuda_graphs._cuda_graph_recorder", recorder)
    trainer = Trainer(tiny_supernet(), tiny_data(), tiny_recipe(), pooled=True)
    recorded = RecordedPasses(trainer.subnet_pass, trainer.parameters)
    trainer.recorded = recorded
    trainer.train_step(0)
    before = len(pools)
    recorded.forget()
    trainer.train_step(0)
    assert len(pools) > before
    assert pools[-1]


def test_a_cpu_records_nothing_and_auto_changes_nothing_there(tmp_path: Path) -> None:
    for name in ("off", "auto"):
        tiny_run(tmp_path / name, recipe=tiny_recipe(cuda_graphs=name))
    off, auto = (load_checkpoint(tmp_path / name, {}) for name in ("off", "auto"))
    assert off is not None
    assert auto is not None
    assert auto[1].pooled is False
    assert all(torch.equal(tensor, auto[0][name]) for name, tensor in off[0].items())


def test_the_switch_is_checked() -> None:
    assert tiny_recipe(cuda_graphs=False).cuda_graphs == "off"  # what YAML makes of a bare off
    with pytest.raises(ValueError, match="cuda_graphs must be one of off, auto, got 'on'"):
        tiny_recipe(cuda_graphs="on")
