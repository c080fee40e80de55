"""The last points of accuracy: one chosen subnet trained on from the weights it inherited.

It learns from the labels and from the supernet's max net, as once-for-all's specialised networks do
(https://arxiv.org/abs/1908.09791, 25 epochs). Accuracy is a fraction in [0, 1].
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import cos, pi
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from nas.data import ImageData, augment, prepare
from nas.evaluation.accuracy import calibration_batches, evaluate, evaluate_on_test
from nas.signals import Interruption
from nas.supernet import Subnet, calibrate_batch_norm
from nas.training.checkpoint import Progress, digest, load_checkpoint, save_checkpoint
from nas.training.losses import cross_entropy, kl_divergence
from nas.training.optimizer import gradient_descent
from nas.training.step import ORDER, STEP, TrainingDiverged

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
    seconds : of training, over all sittings.
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
    threads: int | None = None,
    folder: Path | None = None,
    checkpoint_every: int = 100,
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
    threads : CPU threads; by default the checkpoint's or torch's number. The same number gives the same weights bit
        for bit, however often the run was killed.
    folder : where a checkpoint is kept; a killed call with the same arguments goes on from there. None keeps none.
    checkpoint_every : steps between two.
    progress : called with the steps done and of all.

    Raises
    ------
    TrainingDiverged : a loss is not finite.
    ValueError : fewer than two training images, or `folder` holds the checkpoint of another run.
    OSError : the checkpoint cannot be written; the previous one is intact.
    KeyboardInterrupt, SystemExit : SIGINT or SIGTERM came; the step was finished and a checkpoint written.
    """
    identity = {
        "subnet": digest(subnet.state_dict().values()),
        "teacher": None if teacher is None else digest(teacher.state_dict().values()),
        "settings": asdict(settings),
        "seed": seed,
        "data": data.fingerprint,
    }
    found = None if folder is None else load_checkpoint(folder, identity)
    done = found[1] if found else Progress(threads=torch.get_num_threads())
    torch.set_num_threads(threads or done.threads)
    done.threads = torch.get_num_threads()
    tuning = _Tuning(copy.deepcopy(subnet), teacher, data, settings, seed, torch.device(device))
    if found:
        tuning.load(found[0])
    with Interruption() as interruption:
        while done.step < tuning.n_steps:
            began = perf_counter()
            tuning.step(done.step)
            done.step += 1
            done.seconds += perf_counter() - began
            if progress is not None:
                progress(done.step, tuning.n_steps)
            if folder is not None and (
                done.step % checkpoint_every == 0 or done.step == tuning.n_steps or interruption.noted
            ):
                save_checkpoint(folder, tuning.tensors(), done, identity)
            interruption.obey()
    net = tuning.net
    calibrate_batch_norm(net, calibration_batches(data, net.resolution, device))
    net = net.to("cpu").eval()
    before, after = (Accuracies(evaluate(n, "validation", data), evaluate_on_test(n, data)) for n in (subnet, net))
    improved = after.validation > before.validation
    return Finetuned(net if improved else subnet.eval(), before, after, improved, round(done.seconds, 1))


class _Tuning:
    """A network being trained on, one step at a time; everything random follows from the seed and the step."""

    def __init__(
        self,
        net: Subnet,
        teacher: Subnet | None,
        data: ImageData,
        settings: Finetuning,
        seed: int,
        device: torch.device,
    ) -> None:
        if len(data.train) < 2:
            raise ValueError(f"fine-tuning needs at least 2 training images, got {len(data.train)}")
        self.net: Subnet = net.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.teacher = teacher.to(device).eval() if teacher is not None and settings.label_weight < 1 else None
        self.data = data
        self.settings = settings
        self.seed = seed
        self.images, self.labels = data.train.near(device), data.train.labels.to(device)
        self.batch_size = min(settings.batch_size, len(self.labels))
        self.steps_per_epoch = len(self.labels) // self.batch_size
        self.n_steps = settings.epochs * self.steps_per_epoch
        self.parameters = dict(self.net.named_parameters())
        self.optimizer = gradient_descent(
            self.parameters.values(), settings.learning_rate, settings.weight_decay, momentum=0.9, nesterov=True
        )

    def step(self, step: int) -> None:
        """Take step number `step`."""
        images, labels = self._batch(step)
        settings, net, data = self.settings, self.net, self.data
        logits = net(prepare(images, net.resolution, data.mean, data.std))  # (batch, classes)
        loss = cross_entropy(logits, labels, 0.0)
        if self.teacher is not None:
            with torch.no_grad():
                target = self.teacher(prepare(images, self.teacher.resolution, data.mean, data.std))
            loss = settings.label_weight * loss + (1 - settings.label_weight) * kl_divergence(logits, target)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(net.parameters(), settings.clip_norm)
        if not norm.isfinite():
            raise TrainingDiverged(f"fine-tuning diverged at step {step}; try a lower learning_rate")
        for group in self.optimizer.param_groups:
            group["lr"] = settings.rate(step, self.n_steps)
        self.optimizer.step()

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Augmented images and labels; a last batch of an epoch that is not full is left out."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.seed, ORDER, epoch]).permutation(len(self.labels))
        rows = torch.from_numpy(order[place * self.batch_size :][: self.batch_size])
        draw = np.random.default_rng([self.seed, STEP, step])
        generator = torch.Generator().manual_seed(int(draw.integers(2**62)))
        images = self.images[rows.to(self.images.device)].to(self.labels.device)
        images = augment(images, generator, padding=self.settings.crop_padding, flip=self.data.flip)
        return images, self.labels[rows.to(self.labels.device)]

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint must hold: ``net.*`` and ``momentum.*``."""
        state = self.optimizer.state
        momenta = {f"momentum.{name}": state[p]["momentum_buffer"] for name, p in self.parameters.items() if state[p]}
        return {f"net.{name}": tensor for name, tensor in self.net.state_dict().items()} | momenta

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what `tensors` gave."""
        self.net.load_state_dict({k.removeprefix("net."): t for k, t in tensors.items() if k.startswith("net.")})
        for name, parameter in self.parameters.items():
            if (momentum := tensors.get(f"momentum.{name}")) is not None:
                self.optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(momentum)
