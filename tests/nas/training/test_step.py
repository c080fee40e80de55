"""One step: what is differentiated, with what, and by how much."""

import numpy as np
import pytest
import torch
from tiny_run import tiny_data, tiny_recipe, tiny_supernet

from nas.data import prepare
from nas.training import Trainer
from nas.training.losses import cross_entropy, kl_divergence
from nas.training.recipe import Recipe
from nas.training.samplers import sample_step
from nas.training.step import STEP


def sandwich(**changes: object) -> Recipe:
    phase = {"name": "all", "share": 1.0, "sampler": "sandwich", "n_random": 2, "target": "max_net", **changes}
    return tiny_recipe(phases=[phase], label_smoothing=0.1)


def test_sandwich_gradient_is_the_sum_of_its_subnets() -> None:
    step, recipe, data = 3, sandwich(ramp=0.5), tiny_data()
    trainer = Trainer(tiny_supernet(resolutions=(12, 16)), data, recipe, seed=5)
    roles, measured = trainer.accumulate(step)
    assert roles[:2] == ["max", "min"]
    assert len(measured) == 4

    # The same by hand: each subnet on a stand-alone copy, on the images of its own resolution.
    supernet = tiny_supernet(resolutions=(12, 16)).train()
    rng = np.random.default_rng([5, STEP, step])
    rows = sample_step(supernet.space, recipe.phases[0], rng)
    images, labels = trainer.batch(step, torch.Generator().manual_seed(int(rng.integers(2**62))))
    total = {name: torch.zeros_like(p) for name, p in supernet.named_parameters()}
    supernet.activate(rows[0])
    with torch.no_grad():
        target = supernet(prepare(images, 16, data.mean, data.std))
    for i, row in enumerate(rows):
        supernet.zero_grad()
        supernet.activate(row)
        logits = supernet(prepare(images, supernet.resolution, data.mean, data.std))
        weight = 1.0 if i == 0 else trainer.schedule.ramp(step)
        loss = cross_entropy(logits, labels, 0.1) if i == 0 else kl_divergence(logits, target)
        (weight * loss).backward()
        for name, p in supernet.named_parameters():
            total[name] += 0 if p.grad is None else p.grad
    assert 0 < trainer.schedule.ramp(step) < 1
    for name, p in trainer.supernet.named_parameters():
        torch.testing.assert_close(p.grad, total[name], rtol=1e-4, atol=1e-6)


def test_distillation_sends_no_gradient_to_its_target() -> None:
    student, teacher = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    kl_divergence(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert kl_divergence(teacher, teacher).item() == pytest.approx(0, abs=1e-6)


def test_frozen_teacher_is_the_max_net_at_the_start_of_the_phase() -> None:
    phase = {"name": "teach", "share": 1.0, "sampler": "uniform", "n_random": 2, "target": "teacher",
             "label_weight": 0.5}  # fmt: skip
    trainer = Trainer(tiny_supernet(), tiny_data(), tiny_recipe(phases=[phase]))
    trainer.train_step(0)
    assert trainer.teacher is not None
    before = {name: t.clone() for name, t in trainer.teacher.state_dict().items()}
    for step in range(1, 4):
        trainer.train_step(step)
    assert all(torch.equal(t, before[name]) for name, t in trainer.teacher.state_dict().items())
    start = tiny_supernet().state_dict()
    weights = [name for name in before if name.endswith("weight")]
    assert all(torch.equal(before[name], start[name]) for name in weights)
    again = Trainer(tiny_supernet(seed=9), tiny_data(), trainer.recipe)
    again.load({name: t.clone() for name, t in trainer.tensors().items()})
    assert trainer.train_step(4) == again.train_step(4)


def test_unit_clip_norm_bounds_the_update() -> None:
    def moved(clip: float | None) -> float:
        recipe = tiny_recipe(clip_norm=clip, weight_decay=0.0, momentum=0.0, nesterov=False, learning_rate=1.0)
        trainer = Trainer(tiny_supernet(), tiny_data(), recipe)
        before = [p.detach().clone() for p in trainer.parameters.values()]
        trainer.train_step(0)
        pairs = zip(trainer.parameters.values(), before, strict=True)
        return sum(float((p.detach() - b).square().sum()) for p, b in pairs) ** 0.5

    assert moved(None) > 0.02
    assert moved(0.01) == pytest.approx(0.01, rel=1e-3)


def test_steps_depend_on_seed_and_number_alone() -> None:
    trainer = Trainer(tiny_supernet(), tiny_data(), sandwich(), seed=1)
    forward = [trainer.batch(step, torch.Generator().manual_seed(step)) for step in (0, 6, 7)]
    backward = [trainer.batch(step, torch.Generator().manual_seed(step)) for step in (7, 6, 0)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True) for a, b in zip(a, b, strict=True))
    other = Trainer(tiny_supernet(), tiny_data(), sandwich(), seed=2).batch(0, torch.Generator().manual_seed(0))
    assert not torch.equal(other[0], forward[0][0])


def test_an_epoch_sees_every_image_once() -> None:
    trainer = Trainer(tiny_supernet(), tiny_data(), tiny_recipe(crop_padding=0))
    batches = [trainer.batch(step, torch.Generator())[0] for step in range(trainer.schedule.steps_per_epoch)]
    seen = {image.numpy().tobytes() for image in torch.cat(batches).contiguous()}
    assert seen == {image.numpy().tobytes() for image in trainer.data.train.images}
