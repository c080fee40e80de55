"""Which images a step sees: all classes equally often where asked, and mixed labels that losses take."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_run import tiny_data, tiny_recipe, tiny_run, tiny_supernet

from nas.training import Trainer
from nas.training.batches import balanced_order
from nas.training.losses import accuracy, cross_entropy

EVERYTHING = [
    "random_resized_crop",
    "flip",
    "trivial_augment",
    {"name": "rand_augment", "operations": 1},
    "color_jitter",
    "random_erasing",
    "mixup",
    {"name": "cutmix", "probability": 0.5},
]


def test_balanced_order_shows_classes_equally_often() -> None:
    labels = np.repeat([0, 1, 2], [90, 9, 1])
    rng = np.random.default_rng(0)
    order = balanced_order(labels, rng)
    assert len(order) == 100
    assert np.ptp(np.bincount(labels[order])) <= 1
    times = np.bincount(order, minlength=100)
    assert times[:90].max() == 1
    assert set(times[90:99].tolist()) <= {3, 4}
    assert times[99] in (33, 34)
    assert (np.diff(labels[order]) != 0).sum() > 30, "classes are mixed"


def test_balanced_order_of_equal_classes_is_every_image_once() -> None:
    labels = np.arange(60) % 3
    order = balanced_order(labels, np.random.default_rng(1))
    assert sorted(order.tolist()) == list(range(60))


def test_a_recipe_balances_classes() -> None:
    data = tiny_data()
    data.train.labels[:] = (torch.arange(len(data.train)) % 10 == 0).long()  # 8 of 80 are of class 1
    for balanced, share in ((False, 0.1), (True, 0.5)):
        trainer = Trainer(tiny_supernet(), data, tiny_recipe(balance_classes=balanced))
        labels = torch.cat([trainer.batches.stored(step)[1] for step in range(5)])
        assert float(labels.float().mean()) == pytest.approx(share, abs=0.01)


def test_shares_of_classes_are_labels_too() -> None:
    logits, classes = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    shares = torch.nn.functional.one_hot(classes, 3).float()
    for smoothing in (0.0, 0.1):
        torch.testing.assert_close(cross_entropy(logits, shares, smoothing), cross_entropy(logits, classes, smoothing))
    assert accuracy(logits, shares) == accuracy(logits, classes)
    half = (shares + shares.roll(1, 0)) / 2
    expected = (cross_entropy(logits, classes, 0.0) + cross_entropy(logits, classes.roll(1), 0.0)) / 2
    torch.testing.assert_close(cross_entropy(logits, half, 0.0), expected)


@pytest.mark.parametrize("target", ["labels", "teacher"])
def test_mixed_labels_are_learnt_from(target: str) -> None:
    phase = {"name": "p", "share": 1.0, "target": target, "label_weight": 0.5}
    recipe = tiny_recipe(augmentation=EVERYTHING, label_smoothing=0.1, phases=[phase])
    trainer = Trainer(tiny_supernet(), tiny_data(), recipe)
    sums = trainer.train_step(0)
    assert np.isfinite(sums["loss/max"])
    assert trainer.batches.batch(0, torch.Generator().manual_seed(0))[1].shape == (16, 3)


def test_a_killed_run_with_every_augmentation_resumes_to_the_identical_result(tmp_path: Path) -> None:
    recipe = tiny_recipe(augmentation=EVERYTHING, balance_classes=True)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    if (child := os.fork()) == 0:
        try:
            quick = Trainer.accumulate

            def deadly(self: Trainer, step: int) -> object:
                if step == 13:
                    os.kill(os.getpid(), signal.SIGKILL)
                return quick(self, step)

            Trainer.accumulate = deadly  # type: ignore[method-assign, assignment]
            tiny_run(cut, recipe=recipe)
        finally:  # an error must not let the child go on with the tests
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    tiny_run(cut, recipe=recipe)
    tiny_run(whole, recipe=recipe)
    ours, theirs = (load_file(folder / "supernet.safetensors") for folder in (cut, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
