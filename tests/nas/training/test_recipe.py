"""Recipes are refused when read, and mean what they say."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tiny_run import RECIPES, tiny_recipe

from nas.training import Finetuning, Recipe, load_recipe, recipe_names
from nas.training.schedule import Schedule


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_shipped_recipes_are_valid(file: Path) -> None:
    recipe = load_recipe(file.stem)
    assert recipe.name == file.stem
    assert "https://" in recipe.paper
    assert Recipe.from_dict(recipe.as_dict()) == recipe


def test_the_five_published_recipes_are_shipped() -> None:
    assert {"ofa", "bignas", "alphanet", "compofa", "deps"} <= {file.stem for file in RECIPES}


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_epochs_stretch_every_phase_in_proportion(file: Path) -> None:
    def lengths(epochs: int) -> "np.ndarray[Any, Any]":
        recipe = replace(load_recipe(file.stem), epochs=epochs)
        return np.diff(Schedule(recipe, n_images=100 * recipe.batch_size).starts)

    np.testing.assert_allclose(lengths(120), 3 * lengths(40), atol=2)
    assert lengths(40).sum() == 40 * 100


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": 3}, "has no field 'epoch'; allowed: epochs, batch_size"),
        ({"epochs": 0}, "epochs must be a number above 0, got 0"),
        ({"batch_size": 1.5}, "batch_size must be a whole number"),
        ({"weight_decay": "1e-4"}, r"weight_decay must be a number at least 0, got '1e-4' \(write 1.0e-4"),
        ({"label_smoothing": 1.0}, "label_smoothing must be a number at least 0 and below 1"),
        ({"learning_rate": float("nan")}, "learning_rate must be"),
        ({"phases": []}, "has no phases"),
        ({"phases": None}, "phases must be a list"),
        ({"momentum": 0.0}, "nesterov needs a momentum"),
    ],
)
def test_bad_recipes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_recipe(**changes)


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        ({"share": 0.5}, "shares of its phases must sum to 1, they sum to 0.5"),
        ({"sampler": "sandwhich"}, "sampler must be one of max, min, random, sandwich, widest, got 'sandwhich'"),
        ({"target": "max_net"}, "target max_net needs the max net in every step"),
        ({"sampler": "random"}, "trains n_random subnets a step; set it"),
        ({"n_random": 2}, "trains no random subnets"),
        ({"open": {"kernal": 2}}, "a key of open must be one of resolution, depth, kernel"),
        ({"open": "all"}, "open maps gene kinds"),
        ({"draw": "coupled"}, "draw coupled draws random subnets; set n_random"),
        (
            {"sampler": "random", "n_random": 1, "draw": "coupled", "open": {"depth": 2}},
            "open both with the same number of choices, not depth 2 and expansion closed",
        ),
        ({"alpha_min": 0.5}, "alpha_min must be a number at most 0"),
        ({"alpha_clip": 1}, "alpha_clip must be a number above 1"),
        ({"teacher": True}, "has no field 'teacher'"),
        ({"sort_channels": 1}, "must be true or false"),
    ],
)
def test_bad_phases_are_refused(phase: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_recipe(phases=[{"name": "p", "share": 1.0} | phase])


def test_missing_fields_of_a_phase_are_named() -> None:
    with pytest.raises(ValueError, match="phase 'p' lacks share"):
        Recipe.from_dict({"phases": [{"name": "p"}]})


def test_a_recipe_without_arguments_is_the_default_one() -> None:
    assert Recipe() == load_recipe("delayed_sandwich") == Recipe.from_dict({})
    assert Recipe.from_dict({"epochs": 3}) == replace(Recipe(), epochs=3)


def test_an_unknown_recipe_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown recipe 'ofaa'; known: adapt, alphanet, bignas, compofa"):
        load_recipe("ofaa")
    assert recipe_names() == [file.stem for file in RECIPES]


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_files_of_recipes_say_only_what_differs(file: Path) -> None:
    said, default = yaml.safe_load(file.read_text()), Recipe().as_dict()
    recipe = load_recipe(file.stem).as_dict()
    same = [key for key in said if key != "name" and recipe[key] == default[key]]
    assert not same


def test_fine_tuning_has_every_field_of_a_training() -> None:
    settings = {"weight_decay": 1e-3, "label_smoothing": 0.2, "augmentation": ["random_resized_crop"], "ema": 0.1}
    recipe = Finetuning.from_dict(settings).recipe()
    assert {key: recipe.as_dict()[key] for key in ("weight_decay", "label_smoothing", "ema")} == {
        "weight_decay": 1e-3, "label_smoothing": 0.2, "ema": 0.1,
    }  # fmt: skip
    assert [entry.name for entry in recipe.augmentation] == ["random_resized_crop"]
    (phase,) = recipe.phases
    assert (phase.target, phase.label_weight, phase.distillation_weight) == ("external", 0.5, 0.5)
    (alone,) = Finetuning(label_weight=1.0).recipe().phases
    assert alone.target == "labels"


def test_schedule_follows_from_the_shares() -> None:
    recipe = tiny_recipe(epochs=10, warmup=0.1, learning_rate=0.5)
    schedule = Schedule(recipe, n_images=85)  # 5 full batches of 16
    assert schedule.n_steps == 50
    assert schedule.starts == [0, 25, 50]
    assert [schedule.phase(step).name for step in (0, 24, 25, 49)] == ["max", "max", "all", "all"]
    rates = [schedule.learning_rate(step) for step in range(50)]
    assert np.argmax(rates) == 5
    assert rates[5] == 0.5
    assert rates[0] == pytest.approx(0.5 / 6)
    assert 0 < rates[-1] < 0.002
    assert schedule.ramp(25) < 0.2
    assert schedule.ramp(25 + 8) == 1.0


def test_constant_ending_of_the_learning_rate() -> None:
    schedule = Schedule(tiny_recipe(epochs=10, learning_rate=0.5, least_learning_rate=0.1), n_images=80)
    rates = [schedule.learning_rate(step) for step in range(50)]
    assert rates[25] == pytest.approx(0.25)
    assert rates[-5:] == [0.05] * 5


def test_phase_with_its_own_learning_rate_starts_over() -> None:
    phases = [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5, "learning_rate": 0.01}]
    schedule = Schedule(tiny_recipe(epochs=10, learning_rate=0.5, phases=phases), n_images=80)
    assert schedule.learning_rate(24) > 0.2
    assert schedule.learning_rate(25) == pytest.approx(0.01)
    assert schedule.learning_rate(49) < 0.001


def test_more_phases_than_steps() -> None:
    phases = [{"name": str(i), "share": 0.1} for i in range(10)]
    schedule = Schedule(tiny_recipe(epochs=1, phases=phases), n_images=48)
    assert schedule.n_steps == 3
    assert [schedule.phase(step).name for step in range(3)] == ["1", "4", "8"]


def test_fraction_of_an_epoch() -> None:
    assert Schedule(tiny_recipe(epochs=2.5), n_images=64).n_steps == 10
    assert Schedule(tiny_recipe(epochs=0.01), n_images=64).n_steps == 1
