"""One training step: the gradients of a few subnets of the supernet, summed, and one update.

The subnets run one after another and each is differentiated before the next one runs, so that a step needs
the memory of one. In-place distillation: Universally slimmable networks,
https://arxiv.org/abs/1903.05134. Everything random follows from (seed, epoch) or (seed, step).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from nas.data import ImageData, augment, prepare
from nas.data.storage import ReadAhead
from nas.errors import Failure
from nas.evaluation.accuracy import calibration_batches
from nas.supernet import Subnet, Supernet, calibrate_batch_norm
from nas.training.distributed import ALONE, Processes
from nas.training.dropout import classifier_dropout
from nas.training.ema import Average
from nas.training.losses import cross_entropy, distillation
from nas.training.optimizer import gradient_descent
from nas.training.recipe import Phase, Recipe
from nas.training.samplers import check_space, sample_step, smallest_open
from nas.training.schedule import Schedule
from search_spaces import Population

ORDER, STEP = 0, 1
"""Streams of random numbers under one seed: the order of an epoch's images; a step's subnets and crops."""

ADVICE = "try a lower recipe.learning_rate, a longer recipe.warmup or a recipe.clip_norm"


class TrainingDiverged(Failure, ArithmeticError):
    """A loss, a gradient or a weight is no longer finite."""


def add(sums: dict[str, float], more: Mapping[str, float]) -> None:
    """Add the numbers of `more` to those of the same name in `sums`."""
    for name, number in more.items():
        sums[name] = sums.get(name, 0.0) + number


class Trainer:
    """A supernet being trained by a recipe, one step at a time.

    Parameters
    ----------
    supernet : trained in place, on `device`, in channels-last layout.
    data : only its train split is read.
    recipe : what a step does.
    seed : of everything random.
    device : a torch device.
    bfloat16 : run forward passes under autocast to bfloat16.
    external : the network that phases with target ``external`` learn from: from images prepared at its
        `resolution`, or at the space's largest where it has none, to logits of the same classes. Set to evaluation
        mode, never trained, never saved.
    processes : that train together, each on its part of every batch.

    Raises
    ------
    ValueError : the recipe does not fit the space, the supernet, the teacher or the number of processes.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: ImageData,
        recipe: Recipe,
        *,
        seed: int = 0,
        device: str = "cpu",
        bfloat16: bool = False,
        external: nn.Module | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.device = torch.device(device)
        # Typed as in torch's stubs: `to` cannot say that it keeps the module's class.
        self.supernet: Supernet = supernet.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.data = data
        self.images, self.labels = data.train.near(self.device), data.train.labels.to(self.device)
        self._file = ReadAhead(self.images) if data.train.in_file else None
        self.recipe = recipe
        self.seed = seed
        self.bfloat16 = bfloat16
        self.schedule = Schedule(recipe, len(data.train))
        self.processes = processes
        self.external = None if external is None else external.to(self.device).eval()
        self._check()
        self.teacher: Subnet | None = None
        self.parameters = dict(self.supernet.named_parameters())
        self.optimizer = gradient_descent(
            self.parameters.values(),
            recipe.learning_rate,
            recipe.weight_decay,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
        )
        self.average = Average(self.parameters) if self.schedule.averaging_decay(0) else None
        self._order: tuple[int, Tensor] | None = None

    def _check(self) -> None:
        check_space(self.supernet.space, self.recipe)
        if self.recipe.kernel_transform != self.supernet.kernel_transform:
            raise ValueError(
                f"recipe {self.recipe.name!r} has kernel_transform {self.recipe.kernel_transform}, the supernet was "
                f"made with {self.supernet.kernel_transform}"
            )
        if self.external is None and (phases := [p.name for p in self.recipe.phases if p.target == "external"]):
            raise ValueError(
                f"phase {phases[0]!r} learns from an external network; give it to nas.training.train as teacher"
            )
        if self.schedule.batch_size % self.processes.n:
            raise ValueError(
                f"a batch of {self.schedule.batch_size} images cannot be split evenly among {self.processes.n} "
                f"processes; set recipe.batch_size to a multiple of {self.processes.n}"
            )

    def train_step(self, step: int) -> dict[str, float]:
        """Take step number `step`; the sums of ``loss/<role>``, ``correct/<role>`` and ``images/<role>``.

        Roles are ``max``, ``min`` and ``random``; sums are over images and, in a role, over subnets.

        Raises
        ------
        TrainingDiverged : a gradient is not finite; the weights are left as they were.
        """
        number = self.schedule.phase_number(step)
        if step == self.schedule.starts[number]:
            self._enter(self.recipe.phases[number])
        self.optimizer.zero_grad(set_to_none=True)
        roles, measured = self.accumulate(step)
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        self.processes.average_([*gradients, *measured])
        norm = torch.nn.utils.get_total_norm(gradients)
        # One transfer a step: losses and correct answers by subnet, and the norm, which any non-finite
        # loss has spoilt too.
        *rows, (gradient_norm, _) = torch.stack([*measured, torch.stack([norm, norm])]).tolist()
        if not np.isfinite(gradient_norm):
            losses = ", ".join(f"{role} {loss:g}" for role, (loss, _) in zip(roles, rows, strict=True))
            raise TrainingDiverged(
                f"training diverged at step {step}: a gradient is not finite (losses: {losses}); {ADVICE}"
            )
        if self.recipe.clip_norm is not None and gradient_norm > self.recipe.clip_norm:
            torch._foreach_mul_(gradients, self.recipe.clip_norm / gradient_norm)
        decays = self.recipe.regularise == "all" or "max" in roles
        self.optimizer.param_groups[0]["weight_decay"] = self.recipe.weight_decay if decays else 0.0
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate(step)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.schedule.averaging_decay(step))
        n = self.schedule.batch_size
        sums: dict[str, float] = {}
        for role, (loss, correct) in zip(roles, rows, strict=True):
            add(sums, {f"loss/{role}": loss * n, f"correct/{role}": correct * n, f"images/{role}": n})
        return sums

    def accumulate(self, step: int) -> tuple[list[str], list[Tensor]]:
        """Add the gradients of all subnets of `step` to the parameters' `grad`.

        Returns
        -------
        The role of each subnet, and its (loss, share of correct answers) as a tensor of two.
        """
        phase = self.schedule.phase(step)
        rng = np.random.default_rng([self.seed, STEP, step])
        subnets = sample_step(self.supernet.space, phase, rng)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        images, labels = self.batch(step, generator)
        part = self.processes.part(len(labels))
        images, labels = images[part], labels[part]
        by_resolution: dict[int, Tensor] = {}

        def prepared(resolution: int) -> Tensor:
            if resolution not in by_resolution:
                by_resolution[resolution] = prepare(images, resolution, self.data.mean, self.data.std)
            return by_resolution[resolution]

        target: Tensor | None = None
        teacher = self.external if phase.target == "external" else self.teacher
        if teacher is not None:
            with torch.no_grad(), self._autocast():
                target = teacher(prepared(getattr(teacher, "resolution", self._largest_resolution)))
        self.supernet.train()
        roles = self._roles(subnets, phase)
        measured = []
        for role, genotype in zip(roles, subnets, strict=True):
            self.supernet.activate(genotype)
            dropout = self.recipe.dropout if self.recipe.regularise == "all" or role == "max" else 0.0
            dropped = classifier_dropout(self.supernet, dropout, generator, self.schedule.batch_size, part)
            with self._autocast(), dropped:
                logits = self.supernet(prepared(self.supernet.resolution))
            if target is None:
                loss = cross_entropy(logits, labels, self.recipe.label_smoothing)
            else:
                loss = distillation(phase, logits, target)
                if phase.label_weight:
                    loss = loss + phase.label_weight * cross_entropy(logits, labels, self.recipe.label_smoothing)
            (loss if role == "max" else loss * self.schedule.ramp(step)).backward()  # type: ignore[no-untyped-call]
            if phase.target == "max_net" and target is None:
                target = logits.detach()  # the sandwich's first subnet is the max net
            measured.append(torch.stack([loss.detach(), (logits.argmax(1) == labels).float().mean()]))
        return roles, measured

    def batch(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augmented uint8 images and labels of `step`, the same for all its subnets, of all processes."""
        size = self.schedule.batch_size
        epoch, place = divmod(step, self.schedule.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            order = np.random.default_rng([self.seed, ORDER, epoch]).permutation(len(self.labels))
            self._order = epoch, torch.from_numpy(order).to(self.images.device)
        rows, following = (self._order[1][p * size :][:size] for p in (place, place + 1))
        if self._file is not None:
            images = self._file.batch(rows, following if place + 1 < self.schedule.steps_per_epoch else None)
        else:
            images = self.images[rows]
        images = augment(images.to(self.device), generator, padding=self.recipe.crop_padding, flip=self.data.flip)
        return images, self.labels[rows.to(self.device)]

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint must hold: ``supernet.*``, ``momentum.*`` and, if any, ``teacher.*``, ``average.*``."""
        found = {f"supernet.{name}": tensor for name, tensor in self.supernet.state_dict().items()}
        for name, parameter in self.parameters.items():
            buffer = self.optimizer.state[parameter].get("momentum_buffer")
            if buffer is not None:
                found[f"momentum.{name}"] = buffer
        if self.teacher is not None:
            found |= {f"teacher.{name}": tensor for name, tensor in self.teacher.state_dict().items()}
        if self.average is not None:
            found |= {f"average.{name}": tensor for name, tensor in self.average.averages.items()}
        return found

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what `tensors` gave.

        Raises
        ------
        ValueError : weights are missing, left over, or of another shape.
        """

        def part(prefix: str) -> dict[str, Tensor]:
            return {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}

        try:
            self.supernet.load_state_dict(part("supernet."))
            if teacher := part("teacher."):
                self.teacher = self.supernet.extract(self.supernet.space.max).eval()
                self.teacher.load_state_dict(teacher)
        except RuntimeError as error:
            raise ValueError(f"the checkpoint's weights do not fit: {' '.join(str(error).split())}") from error
        for name, buffer in part("momentum.").items():
            parameter = self.parameters[name]
            self.optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(buffer)
        if self.average is not None:
            for name, average in part("average.").items():
                self.average.averages[name].copy_(average)

    @contextmanager
    def as_kept(self) -> Iterator[None]:
        """While entered, the supernet has the weights that would be kept: the averaged ones, where there are any."""
        if self.average is None:
            yield
            return
        with self.average.applied():
            yield

    def _enter(self, phase: Phase) -> None:
        """What happens once, before the first step of `phase`."""
        if phase.sort_channels:
            self.supernet.sort_channels()
            self.optimizer.state.clear()  # momenta of channels that have moved
            if self.average is not None:
                self.average.restart()
        if phase.target != "teacher":
            self.teacher = None
        elif self.teacher is None:
            self.teacher = self.supernet.extract(self.supernet.space.max)
            calibrate_batch_norm(self.teacher, calibration_batches(self.data, self.teacher.resolution, self.device))
            self.teacher.eval()

    @property
    def _largest_resolution(self) -> int:
        space = self.supernet.space
        return int(space.resolution(space.max)[0])

    def _roles(self, subnets: Population, phase: Phase) -> list[str]:
        space = self.supernet.space
        smallest = space.canonical(smallest_open(space, phase))[0]
        is_max, is_min = (subnets == space.max).all(axis=1), (subnets == smallest).all(axis=1)
        return ["max" if a else "min" if b else "random" for a, b in zip(is_max, is_min, strict=True)]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16)
