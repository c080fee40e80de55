"""Training a supernet by a recipe."""

from nas.training.log import read_log
from nas.training.loop import NothingLearnt, TrainingResult, train
from nas.training.recipe import Phase, Recipe
from nas.training.step import Trainer, TrainingDiverged

__all__ = ["NothingLearnt", "Phase", "Recipe", "Trainer", "TrainingDiverged", "TrainingResult", "read_log", "train"]
