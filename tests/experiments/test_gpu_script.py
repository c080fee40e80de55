"""The script for a GPU, at toy size on a CPU: its check, and that a training that was cut off goes on."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from experiments.training_speed import gpu, sandwich
from nas.training import Recipe, Trainer, train

CPU = sandwich.Place(torch.device("cpu"), bfloat16=False)


def test_recorded_and_plain_steps_agree_and_a_difference_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    small = sandwich.get_space("mobilenet_v3_small_images", resolutions=(16,), depths=(1,))
    monkeypatch.setattr(sandwich, "deps_space", lambda kernels: small)
    found = sandwich.agreement(CPU, batch=4, steps=3)
    assert max(found["loss"], found["weights"]) < 1e-6
    monkeypatch.setattr(sandwich.RecordedPasses, "begin", lambda self: None)  # gradients of earlier steps stay
    assert sandwich.agreement(CPU, batch=4, steps=3)["weights"] > 1e-4


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_was_cut_off_goes_on_and_what_is_done_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("check", "step", "evaluation"):
        result: Any = pd.DataFrame({"ms": [1.0]}) if name == "step" else {"value": 1}
        monkeypatch.setattr(gpu, name, lambda _, name=name, result=result: calls.append(name) or result)
    monkeypatch.setattr(gpu, "SHARES", {"alone-min": 0.1})
    whole, taken = Trainer.train_step, 0

    def three_epochs(network: Any, data: Any, recipe: Recipe, folder: Path, **settings: Any) -> Any:
        del settings["train_time"], settings["most_epochs"]  # as long on a busy machine as on any other
        return train(network, data, replace(recipe, epochs=3), folder, checkpoint_s=0.0, **settings)

    monkeypatch.setattr(gpu, "train", three_epochs)

    def cut_off(self: Trainer, step: int) -> dict[str, float]:
        nonlocal taken
        taken += 1
        if taken == 40:
            raise KeyboardInterrupt
        return whole(self, step)

    monkeypatch.setattr(Trainer, "train_step", cut_off)

    def session() -> gpu.Session:
        return gpu.Session(CPU, gpu.TOY, 60.0, tmp_path, None)

    with pytest.raises(KeyboardInterrupt):
        gpu.perform(session())
    assert not (tmp_path / "accuracy_alone-min.csv").exists()
    plan = json.loads((tmp_path / "plan.json").read_text())
    begun = pd.read_csv(tmp_path / "curve_alone-min.csv")
    assert len(begun) >= 1
    gpu.perform(session())
    assert calls == ["check", "step", "evaluation"]
    assert json.loads((tmp_path / "plan.json").read_text()) == plan
    (row,) = pd.read_csv(tmp_path / "accuracy_alone-min.csv").to_dict("records")
    assert 0 < row["test_accuracy"] <= 1
    curve = pd.read_csv(tmp_path / "curve_alone-min.csv")
    assert curve["step"].is_monotonic_increasing
    assert curve["seconds"][0] == begun["seconds"][0]  # it went on and did not begin anew
    assert len(curve) > len(begun)
    assert taken == 40 + 48 - 39  # from the last checkpoint on
    gpu.perform(session())
    assert taken == 40 + 48 - 39
