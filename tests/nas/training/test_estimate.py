"""How long a training takes is measured before it, chooses its epochs, and changes nothing of it."""

import json
import os
import re
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from tiny_run import in_files, tiny_data, tiny_recipe, tiny_run, tiny_supernet

import nas.data.streaming
from nas.cli import console
from nas.progress import Listener
from nas.supernet import Subnet
from nas.training import Finetuning, Trainer, load_recipe, make_supernet
from nas.training.distributed import ALONE
from nas.training.duration import parse_duration, show_duration
from nas.training.estimate import Costs, _evaluation_seconds, covering, measure_costs, meet_shapes
from nas.training.finetune import finetune
from nas.training.schedule import Schedule
from search_spaces import get_space


class Heard:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.shown: list[tuple[int, int]] = []
        self.listener = Listener(say=self.said.append, track=self)

    def __call__(self, title: str) -> "Heard":
        return self

    def __enter__(self) -> Any:
        return lambda done, total: self.shown.append((done, total))

    def __exit__(self, *error: object) -> None:
        pass


def fake_costs(*seconds: float, evaluation: float = 0.0) -> Any:
    return lambda *args, **options: Costs(seconds, evaluation, 1.0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("20min", 1200), ("1.5h", 5400), ("1h 30min", 5400), ("1h30min", 5400), (" 2 d ", 172800)],
)
def test_lengths_of_time_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["20", "", "min", "-5min", "0s", "20 minutes", "1h-30min", "inf", "20ms", "1e3s"])
def test_lengths_of_time_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="a length of time needs a number above 0 and a unit .*type for instance"):
        parse_duration(text)


def test_a_number_alone_is_answered_with_minutes() -> None:
    with pytest.raises(ValueError, match="got '20'; type for instance 20min"):
        parse_duration("20")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "0.012 s"), (45.4, "45 s"), (200, "3 min 20 s"), (1234, "21 min"), (7500, "2 h 5 min"), (3600, "1 h"),
     (200000, "2 d 8 h")],
)  # fmt: skip
def test_lengths_of_time_are_shown(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


def test_measuring_changes_nothing(tmp_path: Path) -> None:
    heard = Heard()
    quiet, told = tmp_path / "quiet", tmp_path / "told"
    tiny_run(quiet)
    tiny_run(told, listener=heard.listener)
    ours, theirs = (load_file(folder / "supernet.safetensors") for folder in (told, quiet))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    (plan,) = [sentence for sentence in heard.said if "steps (" in sentence]
    pattern = (
        r"20 steps \(10 of 'max' at [\d.e-]+ s, 10 of 'all' at [\d.e-]+ s\) and 2 evaluations take about .+, until "
        r".+, and \d.\d GB of memory: 4 epochs of 80 images; to shorten it: --train-time \d+s, or fewer epochs"
    )
    assert re.fullmatch(pattern, plan), plan
    assert sum(": search-validation max net" in sentence for sentence in heard.said) == 2
    assert (told / "augmentation.png").is_file()


def test_every_phase_is_measured() -> None:
    recipe = load_recipe("ofa")
    supernet = make_supernet(get_space("mobilenet_v3_small_images", num_classes=3, resolutions=[16]), recipe)
    weights = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    costs = measure_costs(
        supernet, tiny_data(), recipe, seed=0, device="cpu", bfloat16=False, teacher=None, processes=ALONE
    )
    assert len(costs.steps) == 6
    assert min(costs.steps) > 0
    assert costs.evaluation > 0
    assert costs.memory_gb > 0.05
    assert costs.steps[-1] > costs.steps[1]  # four subnets, not one
    assert all(torch.equal(tensor, weights[name]) for name, tensor in supernet.state_dict().items())


def test_reading_images_from_their_files_is_part_of_an_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, read = tiny_data(), nas.data.streaming.read_square
    streamed = replace(data, **{name: in_files(getattr(data, name), tmp_path, 0) for name in ("train", "validation")})

    def slowly(path: str, *how: Any) -> Any:
        time.sleep(0.002)
        return read(path, *how)

    monkeypatch.setattr(nas.data.streaming, "read_square", slowly)
    least = 0.002 * (80 + 2 * 40)  # calibrated on the images to train on; two networks are judged
    assert _evaluation_seconds(Trainer(tiny_supernet(), streamed, tiny_recipe())) > least


@pytest.mark.parametrize("name", ["mobilenet_v3_small_images", "efficientnet_lite0"])
def test_few_networks_have_every_block_in_every_form(name: str) -> None:
    space = get_space(name)
    rows = covering(space, np.random.default_rng(0))
    assert len(rows) <= 64
    drawn = space.variants(space.sample(3000, np.random.default_rng(1)))
    forms = [{(slot, form) for row in of for slot, form in enumerate(row)} for of in (space.variants(rows), drawn)]
    assert len(forms[1] - forms[0]) <= 0.02 * len(forms[1])


def test_meeting_all_shapes_moves_no_weight() -> None:
    trainer = Trainer(tiny_supernet(), tiny_data(), tiny_recipe())
    weights = [parameter.detach().clone() for parameter in trainer.parameters.values()]
    meet_shapes(trainer)
    assert all(torch.equal(p, w) for p, w in zip(trainer.parameters.values(), weights, strict=True))
    assert all(p.grad is None for p in trainer.parameters.values())


def test_progress_knows_what_phases_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.training.loop.measure_costs", fake_costs(1.0, 3.0, evaluation=10.0))
    heard = Heard()
    tiny_run(tmp_path, listener=heard.listener)
    total = 1000 * (10 * 1 + 10 * 3 + 2 * 10)
    assert {t for _, t in heard.shown} == {total}
    done = [d for d, _ in heard.shown]
    assert done[:3] == [1000, 2000, 3000]
    assert done[10] == 10_000 + 10_000 + 3000  # the first evaluation is at step 10
    assert done[-1] == total


@pytest.mark.parametrize("evaluation", [0.0, 2.0])
def test_time_chooses_the_epochs(evaluation: float) -> None:
    recipe = tiny_recipe()  # half of the steps each
    costs = Costs((0.1, 0.3), evaluation, 1.0)
    epochs = costs.epochs_within(60, recipe, 80, evaluations=2)
    assert epochs == (60 - 2 * evaluation) / (5 * 0.2)
    schedule = Schedule(tiny_recipe(epochs=epochs), 80)
    assert costs.total(schedule, 2) == pytest.approx(60, abs=0.5)


def test_too_short_a_time_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.training.loop.measure_costs", fake_costs(1.0, 3.0))
    with pytest.raises(
        ValueError, match="2 s is too short for this training: an epoch takes 10 s.*give at least 4.4 s"
    ):
        tiny_run(tmp_path / "run", train_time="2s")
    assert not (tmp_path / "run").exists()
    assert tiny_run(tmp_path / "run", train_time="4.4s").steps == 2


def test_a_resumed_run_trains_the_epochs_that_were_chosen_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.training.loop.measure_costs", fake_costs(1.0, 3.0))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert tiny_run(whole, train_time="40s").steps == 20
    train_step = Trainer.train_step

    def interrupted(self: Trainer, step: int) -> dict[str, float]:
        if step == 12:
            os.kill(os.getpid(), signal.SIGINT)
        return train_step(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tiny_run(cut, train_time="40s")
    # The machine is slower now; the length stays.
    monkeypatch.setattr("nas.training.loop.measure_costs", fake_costs(2.0, 6.0))
    result = tiny_run(cut, train_time="40s")
    assert (result.steps, result.epochs) == (20, 4.0)
    ours, theirs = (load_file(folder / "supernet.safetensors") for folder in (cut, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert json.loads((cut / "schedule.json").read_text())["epochs"] == 4.0
    with pytest.raises(ValueError, match=r"its train_time differs \(\"40s\", not \"41s\"\)"):
        tiny_run(cut, train_time="41s")
    with pytest.raises(ValueError, match="its train_time differs"):
        tiny_run(cut)


def test_fine_tuning_takes_a_time_and_at_most_its_most_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.training.loop.measure_costs", fake_costs(1.0))
    torch.manual_seed(0)
    space = get_space("mobilenet_v3_small_images", resolutions=[16], width_mult=0.5, num_classes=3)
    net, settings = Subnet(space, space.min), Finetuning(batch_size=40)
    assert finetune(net, None, tiny_data(), settings, train_time="7s").epochs == 3.5
    assert finetune(net, None, tiny_data(), settings, train_time="1h").epochs == 25


def test_the_bar_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(width=80, force_terminal=True, record=True)
    monkeypatch.setattr(console, "remarks", terminal)
    with console.track("training") as show:
        show(123_000, 4_567_000)
    # The bar is drawn anew in its own line, again and again.
    drawn = [line.rstrip() for line in re.split("(?=training )", terminal.export_text()) if line.startswith("training")]
    assert drawn
    assert all(len(line) <= 80 for line in drawn)
    assert re.search(r"\d+% (\d:\d\d:\d\d|-:--:--)", drawn[-1])


@pytest.mark.parametrize("trained", [False, True])
def test_what_steps_take_is_measured_anew_on_another_machine(
    trained: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The length that was chosen stays where some of it was trained."""
    monkeypatch.setattr("nas.training.loop.measure_costs", fake_costs(1.0, 3.0))
    train_step = Trainer.train_step

    def stopped(self: Trainer, step: int) -> dict[str, float]:
        if step == 12 * trained:
            raise KeyboardInterrupt
        return train_step(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            tiny_run(tmp_path, train_time="40s")
    monkeypatch.setattr("nas.training.loop.measure_costs", fake_costs(2.0, 6.0))
    monkeypatch.setattr("nas.training.loop.machine", lambda *_: "a slower one")
    heard = Heard()
    steps = tiny_run(tmp_path, train_time="40s", listener=heard.listener).steps
    (plan,) = [sentence for sentence in heard.said if "take about" in sentence]
    if trained:
        assert steps == 20
        assert "8 steps (8 of 'all' at 6 s)" in plan
    else:
        assert steps == 10
        assert "10 steps (5 of 'max' at 2 s, 5 of 'all' at 6 s)" in plan
