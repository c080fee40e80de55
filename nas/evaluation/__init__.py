"""Accuracy of subnets: on search-validation while searching, on the test split after all choices."""

from nas.evaluation.accuracy import (
    calibration_batches,
    evaluate,
    evaluate_on_test,
    evaluate_subnets,
    evaluate_subnets_on_test,
)

__all__ = ["calibration_batches", "evaluate", "evaluate_on_test", "evaluate_subnets", "evaluate_subnets_on_test"]
