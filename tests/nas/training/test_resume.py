"""A run that is killed, in whatever way, comes to the result of one that is not."""

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_run import RECIPES, SIDE, shipped_recipe, tiny_data, tiny_recipe, tiny_run, tiny_supernet

import nas.training.checkpoint
import nas.training.loop
from nas.supernet import Supernet, load_supernet
from nas.training import NothingLearnt, Trainer, TrainingDiverged, read_log, train
from nas.training.checkpoint import FILE as CHECKPOINT
from nas.training.estimate import Costs
from search_spaces import get_space


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    torch.set_num_threads(1)
    tiny_run(folder)
    return folder


def start_and_signal(folder: Path, number: int, after_step: int) -> int:
    """Start the run in another process, send it a signal once it has logged `after_step`; its exit code."""
    script = Path(__file__).with_name("tiny_run.py")
    process = subprocess.Popen([sys.executable, str(script), str(folder)], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 120
        while not any(record["step"] >= after_step for record in read_log(folder)):
            assert process.poll() is None, process.stderr.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(process.pid, number)
        return process.wait(timeout=60)
    finally:
        process.kill()
        process.communicate()


def assert_same_run(folder: Path, expected: Path) -> None:
    ours, theirs = load_file(folder / "supernet.safetensors"), load_file(expected / "supernet.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)

    def log(path: Path) -> list[dict[str, object]]:
        return [{key: value for key, value in record.items() if key != "seconds"} for record in read_log(path)]

    assert log(folder) == log(expected)


def test_run_that_ends_within_an_epoch_is_evaluated_and_kept(tmp_path: Path) -> None:
    result = tiny_run(tmp_path, recipe=tiny_recipe(epochs=1.4), checkpoint_s=60.0, log_every=100)
    assert result.steps == 7
    assert set(result.validation) == {"max", "min"}
    assert [record["step"] for record in read_log(tmp_path)] == [5, 7]
    assert (tmp_path / CHECKPOINT).exists()


def test_the_threads_of_a_checkpoint_are_those_of_its_training_alone(tmp_path: Path) -> None:
    tiny_run(tmp_path, threads=1)
    torch.set_num_threads(2)
    tiny_run(tmp_path, threads=None)
    assert torch.get_num_threads() == 2


def test_terminated_then_killed_run_resumes_to_the_identical_result(tmp_path: Path, uninterrupted: Path) -> None:
    assert start_and_signal(tmp_path, signal.SIGTERM, after_step=4) == 128 + signal.SIGTERM
    assert not (tmp_path / "supernet.safetensors").exists()
    # The killed one has logged steps that its checkpoint does not know of.
    assert start_and_signal(tmp_path, signal.SIGKILL, after_step=14) == -signal.SIGKILL
    tiny_run(tmp_path)
    assert_same_run(tmp_path, uninterrupted)
    steps = [record["step"] for record in read_log(tmp_path)]
    assert steps == sorted(set(steps))


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of runs by every shipped recipe, each killed with SIGKILL in its 14th of 20 steps."""
    folder = tmp_path_factory.mktemp("killed")
    script = Path(__file__).with_name("tiny_run.py")
    names = [file.stem for file in RECIPES]
    subprocess.run([sys.executable, str(script), str(folder), *names], check=True, capture_output=True, timeout=200)
    return folder


@pytest.mark.parametrize("name", [file.stem for file in RECIPES])
def test_killed_run_of_every_recipe_resumes_to_the_identical_result(name: str, killed: Path, tmp_path: Path) -> None:
    assert (killed / name / "checkpoint.safetensors").exists()
    assert not (killed / name / "supernet.safetensors").exists()
    tiny_run(killed / name, recipe=shipped_recipe(name))
    tiny_run(tmp_path, recipe=shipped_recipe(name))
    assert_same_run(killed / name, tmp_path)


def run_whole_and_interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    tiny_run(folder / "whole", **options)
    train_step = Trainer.train_step

    def interrupted(self: Trainer, step: int) -> dict[str, float]:
        if step == 17:
            os.kill(os.getpid(), signal.SIGINT)
        return train_step(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tiny_run(folder / "cut", **options)
    tiny_run(folder / "cut", **options)
    assert_same_run(folder / "cut", folder / "whole")


def test_branches_survive_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sandwich and in-place distillation over networks with more and fewer branches, sorted half-way."""
    space = get_space(
        "reparameterised", branches=(1, 2), depths=(1, 2), width_mult=0.1, resolutions=(SIDE,), num_classes=3
    )
    run_whole_and_interrupted(tmp_path, monkeypatch, space=space)


def test_averaged_weights_are_saved_and_survive_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_whole_and_interrupted(tmp_path, monkeypatch, recipe=tiny_recipe(ema=0.2))
    kept, last = load_file(tmp_path / "whole" / "supernet.safetensors"), load_file(tmp_path / "whole" / CHECKPOINT)
    name = "slots.stem.conv.conv.weight"
    assert torch.equal(kept[name], last[f"average.{name}"])
    assert not torch.equal(kept[name], last[f"network.{name}"])


def test_residual_blocks_start_as_the_identity_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []

    def first_step(self: Trainer, step: int) -> dict[str, float]:
        begun.append(sum(int((p == 0).all()) for name, p in self.parameters.items() if name.endswith("norm.weight")))
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "train_step", first_step)
    for zero in (False, True):
        with pytest.raises(KeyboardInterrupt):
            tiny_run(tmp_path / str(zero), recipe=tiny_recipe(zero_init_residuals=zero))
    space = tiny_supernet().space
    residuals = sum(spec.kind == "add" for layers in space.layers(space.max) for spec in layers)
    assert begun == [0, residuals]


def test_checkpoints_are_written_by_the_clock_and_not_at_every_end_of_a_short_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    save = nas.training.loop.save_checkpoint

    def noted(folder: Path, tensors: Any, progress: Any, identity: Any) -> None:
        steps.append(progress.step)
        save(folder, tensors, progress, identity)

    monkeypatch.setattr(nas.training.loop, "save_checkpoint", noted)
    epochs_of_one_step = {"recipe": tiny_recipe(batch_size=80, epochs=20), "evaluations": 1}
    tiny_run(tmp_path / "quick", checkpoint_s=nas.training.loop.CHECKPOINT_S, **epochs_of_one_step)
    assert steps == [1, 20]
    steps.clear()
    seconds = count(step=10.0)  # three looks at the clock in a step
    monkeypatch.setattr(nas.training.loop, "perf_counter", lambda: next(seconds))
    tiny_run(tmp_path / "slow", checkpoint_s=100.0, **epochs_of_one_step)
    assert steps == [1, 5, 9, 13, 17, 20]


def test_training_that_changes_nothing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: None)
    with pytest.raises(NothingLearnt, match="no weight has changed by step 1;"):
        tiny_run(tmp_path, checkpoint_s=60.0)
    assert not (tmp_path / "checkpoint.safetensors").exists()
    assert not (tmp_path / "supernet.safetensors").exists()


def test_ctrl_c_finishes_the_step_and_keeps_it(
    tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_step = Trainer.train_step

    def interrupted(self: Trainer, step: int) -> dict[str, float]:
        if step == 10:
            os.kill(os.getpid(), signal.SIGINT)
        return train_step(self, step)

    monkeypatch.setattr(Trainer, "train_step", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        tiny_run(tmp_path)
    assert signal.getsignal(signal.SIGINT) is handler
    monkeypatch.undo()
    # Step 10 is not taken again: the resumed run would fail on it.
    monkeypatch.setattr(Trainer, "_enter", lambda self, phase: pytest.fail("phase entered again"))
    tiny_run(tmp_path)
    assert_same_run(tmp_path, uninterrupted)


def test_finished_run_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_recipe(epochs=1)
    first = tiny_run(tmp_path, recipe=recipe)
    weights = load_file(tmp_path / "supernet.safetensors")
    (tmp_path / "supernet.safetensors").unlink()
    monkeypatch.setattr(Trainer, "train_step", lambda self, step: pytest.fail("trained again"))
    again = tiny_run(tmp_path, recipe=recipe)
    assert again.validation == first.validation
    assert all(torch.equal(t, weights[k]) for k, t in load_file(tmp_path / "supernet.safetensors").items())


def test_full_disk_leaves_the_previous_checkpoint(
    tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file, calls = nas.training.checkpoint.save_file, []

    def full(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
        calls.append(path)
        if len(calls) > 3:
            Path(path).write_bytes(b"half a file")
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(tensors, path, metadata=metadata)

    monkeypatch.setattr(nas.training.checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space left on device.*the previous checkpoint is intact"):
        tiny_run(tmp_path)
    monkeypatch.undo()
    tiny_run(tmp_path)
    assert_same_run(tmp_path, uninterrupted)


def test_diverging_run_stops_and_keeps_a_finite_checkpoint(tmp_path: Path) -> None:
    recipe = tiny_recipe(learning_rate=1e18)
    with pytest.raises(TrainingDiverged, match="training diverged at step .*recipe.learning_rate"):
        tiny_run(tmp_path, recipe=recipe)
    tensors = load_file(tmp_path / "checkpoint.safetensors")
    assert tensors
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert not (tmp_path / "supernet.safetensors").exists()


@pytest.mark.parametrize("kept", [0, 6, 200, -1])
def test_truncated_checkpoint_is_one_sentence(tmp_path: Path, uninterrupted: Path, kept: int) -> None:
    content = (uninterrupted / "checkpoint.safetensors").read_bytes()
    (tmp_path / "checkpoint.safetensors").write_bytes(content[:kept])
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors is damaged .*delete it to train anew") as error:
        tiny_run(tmp_path)
    assert "\n" not in str(error.value)


def test_checkpoint_of_another_run_says_what_differs(uninterrupted: Path) -> None:
    with pytest.raises(ValueError, match=r"its seed differs \(0, not 1\); type .*delete it to train anew"):
        tiny_run(uninterrupted, seed=1)
    with pytest.raises(ValueError, match=r"its recipe differs \(epochs 4, not 5\)"):
        tiny_run(uninterrupted, recipe=tiny_recipe(epochs=5))


def test_images_that_differ_are_named_before_the_epochs_that_follow_from_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nas.training.loop, "measure_costs", lambda *_, **__: Costs((1.0, 3.0), 0.0, 1.0))
    tiny_run(tmp_path, train_time="4.4s")
    data = tiny_data()
    more = replace(data, train=data.train.take(np.arange(79)))
    with pytest.raises(ValueError, match=r"its data differs .* data.memory_gb.* or delete it to train anew"):
        train(tiny_supernet(), more, tiny_recipe(), tmp_path, train_time="4.4s")
    (tmp_path / CHECKPOINT).unlink()
    assert train(tiny_supernet(), more, tiny_recipe(), tmp_path, train_time="4.4s", device="cpu").steps > 0


def test_run_folder_has_everything(uninterrupted: Path) -> None:
    supernet, card = load_supernet(uninterrupted)
    assert card["classes"] == ["a", "b", "c"]
    assert card["steps"] == 20
    assert card["validation"] == read_log(uninterrupted)[-1]["validation"]
    losses = [record["loss_max"] for record in read_log(uninterrupted)]
    assert min(losses) < 0.9 * losses[0]
    assert (uninterrupted / "splits.json").is_file()
    assert not list(uninterrupted.glob("*.partial"))


def test_new_run_over_an_old_one(tmp_path: Path) -> None:
    recipe = tiny_recipe(epochs=1)
    tiny_run(tmp_path, recipe=recipe, seed=1)
    tiny_run(tmp_path, recipe=recipe, seed=2, resume=False)
    assert [record["step"] for record in read_log(tmp_path)] == [2, 4, 5]


def test_wrong_number_of_classes_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_classes=3"):
        train(Supernet(get_space("mobilenet_v3_small_images")), tiny_data(), tiny_recipe(), tmp_path)


def test_the_patience_of_a_signal_ends_before_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is written whole, whether the signal came in the step before it or while it is written."""
    monkeypatch.setattr(nas.training.loop, "PATIENCE_S", 0.5)
    train_step, save = Trainer.train_step, nas.training.loop.save_checkpoint
    taken: list[int] = []
    at: dict[str, int] = {}

    def step(self: Trainer, number: int) -> dict[str, float]:
        taken.append(number)
        sums = train_step(self, number)
        if at.get("step") == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return sums

    def slowly(folder: Path, tensors: Any, progress: Any, identity: Any) -> None:
        if at.get("checkpoint") == progress.step:
            os.kill(os.getpid(), signal.SIGTERM)
        if progress.step in (at.get("checkpoint"), at.get("step", -1) + 1):
            time.sleep(0.7)
        save(folder, tensors, progress, identity)

    monkeypatch.setattr(Trainer, "train_step", step)
    monkeypatch.setattr(nas.training.loop, "save_checkpoint", slowly)
    for moment in ({"step": 4}, {"checkpoint": 8}, {"step": 8}):
        at.clear()
        at.update(moment)
        with pytest.raises(SystemExit):
            tiny_run(tmp_path, checkpoint_s=0.0)
    assert taken == list(range(9))
