"""Accuracy is of the right subnet, on the right images, with its own batch-norm statistics."""

import numpy as np
import pytest
import torch
from tiny_run import tiny_data, tiny_recipe, tiny_supernet

from nas.evaluation import evaluate, evaluate_on_test, evaluate_subnets, evaluate_subnets_on_test
from nas.evaluation.accuracy import (
    BATCH,
    MOST_IMAGES,
    batch_size,
    calibration_batches,
    calibration_images,
    calibration_size,
    evaluation_batch,
    images_within,
)
from nas.supernet import calibrate_batch_norm
from nas.training import Trainer


def test_subnets_are_evaluated_at_their_own_resolution() -> None:
    supernet, seen = tiny_supernet(resolutions=(12, 16)), []
    supernet.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[-1]))
    population = np.stack([supernet.space.min, supernet.space.max])
    evaluate_subnets(supernet, population, tiny_data())
    half = len(seen) // 2
    assert set(seen[:half]) == {12}
    assert set(seen[half:]) == {16}


def test_inherited_accuracy_is_that_of_the_extracted_calibrated_subnet() -> None:
    supernet, data = tiny_supernet(), tiny_data()
    phase = {"name": "any", "share": 1.0, "sampler": "random", "n_random": 2}
    trainer = Trainer(supernet, data, tiny_recipe(phases=[phase]))
    for step in range(12):
        trainer.train_step(step)
    population = supernet.space.sample(4, np.random.default_rng(0))
    done: list[tuple[int, int]] = []
    accuracy = evaluate_subnets(supernet, population, data, progress=lambda i, n: done.append((i, n)))
    on_test = evaluate_subnets_on_test(supernet, population, data)
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(set(accuracy.tolist())) > 1
    for genotype, inherited, tested in zip(population, accuracy, on_test, strict=True):
        subnet = supernet.extract(genotype)
        calibrate_batch_norm(subnet, calibration_batches(data, subnet.resolution))
        assert evaluate(subnet, "validation", data) == inherited
        assert evaluate_on_test(subnet, data) == tested


def test_evaluation_repeats_and_leaves_training_as_it_was() -> None:
    data = tiny_data()
    plain, watched = Trainer(tiny_supernet(), data, tiny_recipe()), Trainer(tiny_supernet(), data, tiny_recipe())
    for step in range(4):
        plain.train_step(step)
        first = evaluate_subnets(watched.network, watched.network.space.min, data)
        assert (evaluate_subnets(watched.network, watched.network.space.min, data) == first).all()
        watched.train_step(step)
    pairs = zip(plain.parameters.values(), watched.parameters.values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_evaluate_refuses_the_test_split() -> None:
    with pytest.raises(ValueError, match="not 'test'; see evaluate_on_test"):
        evaluate(tiny_supernet(), "test", tiny_data())  # type: ignore[arg-type]


def test_larger_images_need_fewer_for_calibration_and_come_in_smaller_batches() -> None:
    assert [calibration_size(side) for side in (32, 64, 128, 224)] == [2048, 2048, 512, 256]
    assert [batch_size(side) for side in (32, 64, 96, 224, 512)] == [128, 128, 56, 10, 8]


def test_a_network_is_calibrated_on_the_same_images_alone_and_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.evaluation.accuracy.prepare", lambda images, *_: images)
    data = tiny_data(2000)
    shared = calibration_images(data, calibration_size(96))
    alone = torch.cat(list(calibration_batches(data, 160)))
    assert len(alone) == 320  # of 328, as many as fill batches of 32
    assert torch.equal(alone, torch.cat(list(calibration_batches(data, 160, images=shared))))


def test_the_batch_changes_rounding_only_and_follows_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    supernet, data = tiny_supernet(), tiny_data()
    assert evaluation_batch(supernet, data.validation) == BATCH  # on a CPU
    an_image = int(supernet.space.costs(supernet.space.max).peak_activation_bytes[0])
    assert images_within(0, supernet) == BATCH
    assert images_within(500.5 * an_image, supernet) == 500
    assert images_within(1e12, supernet) == MOST_IMAGES
    supernet.activate(supernet.space.min)
    assert images_within(500.5 * an_image, supernet) > 500
    by_size = set()
    for size in (7, 40, 2048):
        monkeypatch.setattr("nas.evaluation.accuracy.evaluation_batch", lambda *_, size=size: size)
        by_size.add(tuple(evaluate_subnets(supernet, supernet.space.sample(3, np.random.default_rng(0)), data)))
    assert len(by_size) == 1
