"""One step: what is differentiated, with what, and by how much."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import in_files, shipped_recipe, tiny_data, tiny_recipe, tiny_supernet

from nas.data import prepare
from nas.tracing import Model, adopt
from nas.training import Trainer
from nas.training.batches import STEP
from nas.training.dropout import dropout_factors, scaled_features
from nas.training.losses import cross_entropy, kl_divergence
from nas.training.recipe import Recipe
from nas.training.samplers import sample_step
from tests.nas.tracing.user_networks import Convolutional


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
    images, labels = trainer.batches.batch(step, torch.Generator().manual_seed(int(rng.integers(2**62))))
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
    for name, p in trainer.network.named_parameters():
        torch.testing.assert_close(p.grad, total[name], rtol=1e-4, atol=1e-6)


def test_distillation_sends_no_gradient_to_its_target() -> None:
    student, teacher = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    kl_divergence(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert kl_divergence(teacher, teacher).item() == pytest.approx(0, abs=1e-6)


def test_frozen_teacher_is_the_max_net_at_the_start_of_the_phase() -> None:
    phase = {"name": "teach", "share": 1.0, "sampler": "random", "n_random": 2, "target": "teacher",
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
    forward = [trainer.batches.batch(step, torch.Generator().manual_seed(step)) for step in (0, 6, 7)]
    backward = [trainer.batches.batch(step, torch.Generator().manual_seed(step)) for step in (7, 6, 0)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True) for a, b in zip(a, b, strict=True))
    other = Trainer(tiny_supernet(), tiny_data(), sandwich(), seed=2).batches.batch(0, torch.Generator().manual_seed(0))
    assert not torch.equal(other[0], forward[0][0])


def test_an_epoch_sees_every_image_once() -> None:
    trainer = Trainer(tiny_supernet(), tiny_data(), tiny_recipe(augmentation=[]))
    batches = [trainer.batches.batch(step, torch.Generator())[0] for step in range(trainer.schedule.steps_per_epoch)]
    seen = {image.numpy().tobytes() for image in torch.cat(batches).contiguous()}
    assert seen == {image.numpy().tobytes() for image in trainer.data.train.images}


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_images_read_from_their_files_are_the_same_with_any_number_of_processes(tmp_path: Path, workers: int) -> None:
    data = tiny_data()
    streamed = replace(data, train=in_files(data.train, tmp_path, workers))
    trainer, reader = (Trainer(tiny_supernet(), each, tiny_recipe()) for each in (data, streamed))
    # In order over the end of an epoch, and out of order, as after a resumption.
    for step in (0, 1, 2, 3, 4, 5, 6, 3, 9):
        generators = [torch.Generator().manual_seed(step) for _ in range(2)]
        (ours, labels), (theirs, their_labels) = (
            reader.batches.batch(step, generators[0]),
            trainer.batches.batch(step, generators[1]),
        )
        assert torch.equal(ours, theirs)
        assert torch.equal(labels, their_labels)


def test_teacher_stays_through_phases_in_a_row() -> None:
    teaching = {"sampler": "random", "n_random": 1, "target": "teacher"}
    phases = [{"name": "a", "share": 0.25, **teaching}, {"name": "b", "share": 0.25, **teaching},
              {"name": "c", "share": 0.25}, {"name": "d", "share": 0.25, **teaching}]  # fmt: skip
    trainer = Trainer(tiny_supernet(), tiny_data(), tiny_recipe(phases=phases))
    teachers = []
    for step in range(20):
        trainer.train_step(step)
        teachers.append(trainer.teacher)
    assert teachers[9] is teachers[0]
    assert teachers[12] is None
    assert teachers[19] not in (None, teachers[0])


def test_external_teacher_is_learnt_from_and_left_alone() -> None:
    class Certain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = torch.nn.Dropout(0.9)
            self.seen: list[tuple[int, ...]] = []

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.seen.append(tuple(images.shape))
            return self.drop(torch.tensor([2.0, 1.0, 0.0]).expand(len(images), 3))

    phase = {"name": "taught", "share": 1.0, "sampler": "random", "n_random": 2, "target": "external"}
    recipe = tiny_recipe(phases=[phase])
    with pytest.raises(ValueError, match="phase 'taught' learns from an external network; give it"):
        Trainer(tiny_supernet(), tiny_data(), recipe)
    teacher = Certain()
    trainer = Trainer(tiny_supernet(resolutions=(12, 16)), tiny_data(), recipe, external=teacher)
    _, measured = trainer.accumulate(0)
    # A new classifier says nearly the same of every class, so its divergence is what the teacher knows.
    p = torch.tensor([2.0, 1.0, 0.0]).softmax(0)
    for loss, _ in measured:
        assert loss.item() == pytest.approx(float((p * (3 * p).log()).sum()), rel=0.1)
    assert set(teacher.seen) == {(16, 3, 16, 16)}
    assert not teacher.training
    assert not any(name.startswith("teacher") for name in trainer.tensors())


def test_beside_labels_only_the_max_net_learns_from_an_external_network() -> None:
    class Certain(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([4.0, 1.0, 0.0]).expand(len(images), 3)

    def losses(share: float, external: torch.nn.Module | None) -> list[float]:
        trainer = Trainer(tiny_supernet(), tiny_data(), sandwich(external_share=share), external=external)
        return [float(loss) for loss, _ in trainer.accumulate(0)[1]]

    labels, *others = losses(0.0, Certain())
    assert losses(0.3, None) == [labels, *others]
    taught, *others_too = losses(0.3, Certain())
    (alone, *_) = losses(1.0, Certain())
    assert others_too == others
    assert taught == pytest.approx(0.7 * labels + 0.3 * alone, rel=1e-5)
    p = torch.tensor([4.0, 1.0, 0.0]).softmax(0)
    assert alone == pytest.approx(float((p * (3 * p).log()).sum()), rel=0.1)
    with pytest.raises(ValueError, match="external_share is in place of labels"):
        sandwich(target="external", external_share=0.5)


def test_average_follows_its_formula() -> None:
    trainer = Trainer(tiny_supernet(), tiny_data(), tiny_recipe(ema=0.25))  # looks back 5 of 20 steps
    assert trainer.average is not None
    expected = {name: p.detach().clone() for name, p in trainer.parameters.items()}
    for step in range(10):
        trainer.train_step(step)
        decay = min(1 - 1 / 5, (1 + step) / (10 + step))
        for name, p in trainer.parameters.items():
            expected[name] = decay * expected[name] + (1 - decay) * p.detach()
            torch.testing.assert_close(trainer.average.averages[name], expected[name], rtol=1e-5, atol=1e-7)
    # At step 10 channels are sorted: the average begins again from the sorted weights.
    trainer._enter(trainer.schedule.phase(10))
    assert all(torch.equal(average, trainer.parameters[name]) for name, average in trainer.average.averages.items())
    assert trainer.schedule.ema_decay(10) == 1 / 10
    with trainer.as_kept():
        weights = {name: p.detach().clone() for name, p in trainer.parameters.items()}
    assert all(torch.equal(average, weights[name]) for name, average in trainer.average.averages.items())


def test_dropout_scales_what_is_kept_and_repeats() -> None:
    supernet = tiny_supernet().train()
    (classifier,) = [m for m in supernet.modules() if isinstance(m, torch.nn.Linear)]
    seen: list[torch.Tensor] = []
    images = torch.randn(8, 3, 16, 16)

    def features(rate: float, part: slice = slice(0, 8)) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        factors = dropout_factors(supernet, rate, generator, batch=8, part=part, device=torch.device("cpu"))
        with scaled_features(supernet, factors):
            handle = classifier.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
            supernet(images)
            handle.remove()
        return seen[-1]

    whole, dropped = features(0.0), features(0.5)
    kept = dropped != 0
    assert 0.4 < kept.float().mean() / (whole != 0).float().mean() < 0.6
    torch.testing.assert_close(dropped[kept], 2 * whole[kept])
    assert torch.equal(dropped, features(0.5))
    assert torch.equal(whole, features(0.0))


@pytest.mark.parametrize("alone", [True, False], ids=["subnet", "supernet"])
def test_dropout_leaves_out_channels_where_the_classifier_is_a_convolution(alone: bool) -> None:
    supernet = adopt(Model("given", 16, Convolutional(3).eval()), [16]).supernet
    net = supernet.extract(supernet.space.max) if alone else supernet
    Trainer(net, tiny_data(), tiny_recipe(dropout=0.5)).train_step(0)
    seen: list[torch.Tensor] = []
    factors = dropout_factors(net, 0.5, torch.Generator().manual_seed(0), 8, slice(0, 8), torch.device("cpu"))
    assert factors is not None
    with scaled_features(net, factors):
        handle = net.classifier().register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
        net(torch.randn(8, 3, 16, 16))
        handle.remove()
    left_out = (seen[0] == 0).all(dim=3).all(dim=2)
    assert left_out[factors == 0].all()
    assert not left_out[factors != 0].all()


@pytest.mark.parametrize("regularise", ["all", "max_net"])
def test_dropout_and_weight_decay_of_the_max_net_alone(regularise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []

    def recorded(net: torch.nn.Module, rate: float, *rest: object) -> None:
        rates.append(rate)

    monkeypatch.setattr("nas.training.step.dropout_factors", recorded)
    phases = [{"name": "a", "share": 0.5, "sampler": "sandwich", "n_random": 1, "target": "max_net"},
              {"name": "b", "share": 0.5, "sampler": "min"}]  # fmt: skip
    recipe = tiny_recipe(phases=phases, regularise=regularise, dropout=0.3, weight_decay=0.01)
    trainer = Trainer(tiny_supernet(), tiny_data(), recipe)
    trainer.train_step(0)
    assert trainer.optimizer.param_groups[0]["weight_decay"] == 0.01
    assert rates == ([0.3, 0.0, 0.0] if regularise == "max_net" else [0.3] * 3)
    trainer.train_step(10)
    assert trainer.optimizer.param_groups[0]["weight_decay"] == (0.0 if regularise == "max_net" else 0.01)
    assert trainer.optimizer.param_groups[1]["weight_decay"] == 0.0


def test_supernet_must_have_the_kernel_transform_of_the_recipe() -> None:
    with pytest.raises(ValueError, match="has kernel_transform True, the supernet was made with False"):
        Trainer(tiny_supernet(), tiny_data(), tiny_recipe(kernel_transform=True))


def test_progressive_shrinking_opens_one_kind_after_another_and_learns_its_matrices() -> None:
    recipe = shipped_recipe("ofa")
    trainer = Trainer(tiny_supernet(kernel_transform=True), tiny_data(), recipe)
    space = trainer.network.space
    matrices = {name: p.detach().clone() for name, p in trainer.parameters.items() if "transforms" in name}
    assert matrices
    kinds = np.array([gene.kind for gene in space.genes])
    narrowed: dict[str, set[str]] = {}
    for step in range(trainer.schedule.n_steps):
        rng = np.random.default_rng([0, STEP, step])
        rows = sample_step(space, trainer.schedule.phase(step), rng)
        smaller = (rows != space.max) & space.active(rows)
        narrowed.setdefault(trainer.schedule.phase(step).name, set()).update(kinds[smaller.any(axis=0)].tolist())
        trainer.train_step(step)
    opened = list(narrowed.values())
    assert opened[0] == set()
    assert opened[1] == {"kernel"}
    assert opened[3] == {"kernel", "depth"}
    assert opened[-1] == {"kernel", "depth", "expansion"}
    assert any(not torch.equal(trainer.parameters[name].detach(), matrix) for name, matrix in matrices.items())
