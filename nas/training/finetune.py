"""The last points of accuracy: one chosen subnet trained on from the weights it inherited.

It learns from the labels and from the supernet's max net, as once-for-all's specialised networks do
(https://arxiv.org/abs/1908.09791, 25 epochs). Accuracy is a fraction in [0, 1].
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi
from time import perf_counter

import torch
from torch import nn

from nas.data import ImageData, augment, prepare
from nas.supernet import Subnet, calibrate_batch_norm
from nas.training.evaluation import calibration_batches, evaluate, evaluate_on_test
from nas.training.losses import cross_entropy, kl_divergence
from nas.training.step import TrainingDiverged

MOST_EPOCHS = 25


@dataclass(frozen=True, kw_only=True)
class Finetuning:
    """How to train on: stochastic gradient descent with Nesterov momentum 0.9 and a cosine down to 0.

    Attributes
    ----------
    epochs : passes over the train split, 1 to 25.
    batch_size : images a step.
    learning_rate : peak, reached after a twentieth of the run.
    weight_decay : of weight matrices and kernels; biases and batch-norms have none.
    label_weight : of the labels' cross-entropy beside the distance from the teacher, in [0, 1]; 1 is labels alone.
    clip_norm : largest Euclidean norm of a step's gradient, longer ones are scaled to it.
    crop_padding : images shift by up to this many stored pixels.

    Raises
    ------
    ValueError : a value that cannot work.
    """

    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 0.1
    weight_decay: float = 1e-4
    label_weight: float = 0.5
    clip_norm: float = 5.0
    crop_padding: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.epochs <= MOST_EPOCHS:
            raise ValueError(
                f"epochs must be 1 to {MOST_EPOCHS}, got {self.epochs}; for more, train the supernet longer"
            )
        if self.batch_size < 2:
            raise ValueError(f"batch_size must be at least 2, got {self.batch_size}")
        if not 0 <= self.label_weight <= 1:
            raise ValueError(f"label_weight must be between 0 and 1, got {self.label_weight:g}")
        for name in ("learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name):g}")
        for name in ("weight_decay", "crop_padding"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name):g}")

    def rate(self, step: int, n_steps: int) -> float:
        """Learning rate of a step."""
        warmup = n_steps // 20
        if step < warmup:
            return self.learning_rate * (step + 1) / (warmup + 1)
        return self.learning_rate * 0.5 * (1 + cos(pi * (step - warmup) / (n_steps - warmup)))


@dataclass(frozen=True)
class Accuracies:
    """Of one network.

    Attributes
    ----------
    validation : on the search-validation split; decides what is kept.
    test : on the test split; decides nothing.
    """

    validation: float
    test: float


@dataclass(frozen=True)
class Finetuned:
    """What came of it.

    Attributes
    ----------
    subnet : the better one on the validation split, in evaluation mode; the old one where both are alike.
    before, after : accuracies.
    improved : whether `subnet` is the new one.
    seconds : of training.
    """

    subnet: Subnet
    before: Accuracies
    after: Accuracies
    improved: bool
    seconds: float


def finetune(
    subnet: Subnet,
    teacher: Subnet | None,
    data: ImageData,
    settings: Finetuning,
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Finetuned:
    """Train a copy of `subnet` on and keep the better of the two.

    Parameters
    ----------
    subnet : with the weights to begin from; fresh ones make it training from scratch, by the same schedule.
    teacher : usually the max net, its batch-norm calibrated; None learns from labels alone.
    data : trained on its train split, decided on its validation split.
    seed : of the order of images and their augmentation.
    device : a torch device.
    progress : called with the steps done and of all.

    Raises
    ------
    TrainingDiverged : a loss is not finite.
    ValueError : fewer than two training images.
    """
    net = copy.deepcopy(subnet).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    teacher = None if teacher is None else teacher.to(device).eval()
    began = perf_counter()
    _train(net, teacher, data, settings, seed, torch.device(device), progress or (lambda done, total: None))
    seconds = perf_counter() - began
    calibrate_batch_norm(net, calibration_batches(data, net.resolution, device))
    net = net.to("cpu").eval()
    before, after = (Accuracies(evaluate(n, "validation", data), evaluate_on_test(n, data)) for n in (subnet, net))
    improved = after.validation > before.validation
    return Finetuned(net if improved else subnet.eval(), before, after, improved, round(seconds, 1))


def _train(
    net: Subnet,
    teacher: Subnet | None,
    data: ImageData,
    settings: Finetuning,
    seed: int,
    device: torch.device,
    progress: Callable[[int, int], None],
) -> None:
    n = len(data.train)
    if n < 2:
        raise ValueError(f"fine-tuning needs at least 2 training images, got {n}")
    batch = min(settings.batch_size, n)
    n_steps = settings.epochs * (n // batch)
    generator = torch.Generator().manual_seed(seed)
    images, labels = data.train.images.to(device), data.train.labels.to(device)
    optimizer = _optimizer(net, settings)
    net.train()
    for step in range(n_steps):
        if step % (n // batch) == 0:
            order = torch.randperm(n, generator=generator).to(device)
        rows = order[step % (n // batch) * batch :][:batch]
        pixels = augment(images[rows], generator, padding=settings.crop_padding, flip=data.flip)
        logits = net(prepare(pixels, net.resolution, data.mean, data.std))  # (batch, classes)
        loss = cross_entropy(logits, labels[rows], 0.0)
        if teacher is not None and settings.label_weight < 1:
            with torch.no_grad():
                target = teacher(prepare(pixels, teacher.resolution, data.mean, data.std))
            loss = settings.label_weight * loss + (1 - settings.label_weight) * kl_divergence(logits, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(net.parameters(), settings.clip_norm)
        if not norm.isfinite():
            raise TrainingDiverged(f"fine-tuning diverged at step {step}; try a lower learning_rate")
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(step, n_steps)
        optimizer.step()
        progress(step + 1, n_steps)


def _optimizer(net: Subnet, settings: Finetuning) -> torch.optim.SGD:
    decayed = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    return torch.optim.SGD(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        momentum=0.9,
        nesterov=True,
    )
