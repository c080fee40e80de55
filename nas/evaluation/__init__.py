"""Accuracy of subnets: on search-validation while searching, on the test split after all choices.

``accuracy`` computes it, ``confusion`` says what the predictions mean for each class, ``cache`` keeps it, ``queue`` and
``worker`` share it between processes through the database of ``storage``, ``trained`` is what all of them read of a
training run, and ``test_accuracy`` reports on the test split.
"""

from nas.evaluation.accuracy import (
    calibration_batches,
    evaluate,
    evaluate_on_test,
    evaluate_subnets,
    evaluate_subnets_on_test,
)

__all__ = ["calibration_batches", "evaluate", "evaluate_on_test", "evaluate_subnets", "evaluate_subnets_on_test"]
