"""The loss that tells networks apart which accuracy cannot."""

import numpy as np
import pytest
import torch

from nas.evaluation.calibrated_loss import calibrated_loss


def some(seed: int = 0, n: int = 400, classes: int = 5, skill: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    return rng.normal(size=(n, classes)) + skill * np.eye(classes)[labels], labels


def test_it_is_the_cross_entropy_at_the_best_of_many_temperatures() -> None:
    logits, labels = some()
    loss = torch.nn.functional.cross_entropy
    tried = [float(loss(torch.tensor(logits / t), torch.tensor(labels))) for t in np.geomspace(0.05, 20, 2000)]
    assert calibrated_loss(logits, labels) == pytest.approx(min(tried), abs=1e-5)


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_how_sure_a_network_is_on_the_whole_does_not_count(factor: float) -> None:
    logits, labels = some()
    assert calibrated_loss(factor * logits + 7, labels) == pytest.approx(calibrated_loss(logits, labels), abs=1e-5)


def test_it_is_less_for_the_better_of_two_networks_that_are_right_as_often() -> None:
    logits, labels = some(skill=1.0)
    better = logits + 0.3 * np.eye(5)[labels]
    fixed = np.where((better.argmax(1) == logits.argmax(1))[:, None], better, logits)
    assert (fixed.argmax(1) == logits.argmax(1)).all()
    assert calibrated_loss(fixed, labels) < calibrated_loss(logits, labels)


def test_classes_count_equally_where_that_is_the_objective() -> None:
    logits, labels = some()
    rare = np.concatenate([np.flatnonzero(labels == 0)[:5], np.flatnonzero(labels != 0)])
    often = np.concatenate([np.repeat(np.flatnonzero(labels == 0)[:5], 40), np.flatnonzero(labels != 0)])
    few, many = (calibrated_loss(logits[rows], labels[rows], "balanced_accuracy") for rows in (rare, often))
    assert few == pytest.approx(many, abs=1e-6)
    assert calibrated_loss(logits[rare], labels[rare]) != pytest.approx(few, abs=1e-3)


def test_perfect_and_broken_outputs() -> None:
    assert calibrated_loss(50 * np.eye(3), [0, 1, 2]) == pytest.approx(0, abs=1e-9)
    assert np.isnan(calibrated_loss([[np.nan, 1.0]], [0]))
    assert calibrated_loss(np.zeros((4, 2)), [0, 1, 0, 1]) == pytest.approx(np.log(2))
