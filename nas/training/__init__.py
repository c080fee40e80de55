"""Training a supernet or one network by a recipe.

What is heavy to import (PyTorch) is imported when it is first used, so that settings can be read without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nas.training.log import read_log
from nas.training.recipe import Finetuning, Phase, Recipe, TrainingSettings
from nas.training.recipes import load_recipe, recipe_names

if TYPE_CHECKING:
    from nas.training.loop import NothingLearnt, TrainingResult, train
    from nas.training.step import Trainer, TrainingDiverged, make_supernet

_WHERE = {
    "NothingLearnt": "loop",
    "TrainingResult": "loop",
    "train": "loop",
    "Trainer": "step",
    "TrainingDiverged": "step",
    "make_supernet": "step",
}

__all__ = [
    "Finetuning",
    "NothingLearnt",
    "Phase",
    "Recipe",
    "Trainer",
    "TrainingDiverged",
    "TrainingResult",
    "TrainingSettings",
    "load_recipe",
    "make_supernet",
    "read_log",
    "recipe_names",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
