"""Training a supernet by a recipe, and measuring the accuracy of its subnets."""

from nas.training.evaluation import (
    calibration_batches,
    evaluate,
    evaluate_on_test,
    evaluate_subnets,
    evaluate_subnets_on_test,
)
from nas.training.log import read_log
from nas.training.loop import NothingLearnt, TrainingResult, train
from nas.training.recipe import Phase, Recipe
from nas.training.step import Trainer, TrainingDiverged

__all__ = [
    "NothingLearnt",
    "Phase",
    "Recipe",
    "Trainer",
    "TrainingDiverged",
    "TrainingResult",
    "calibration_batches",
    "evaluate",
    "evaluate_on_test",
    "evaluate_subnets",
    "evaluate_subnets_on_test",
    "read_log",
    "train",
]
