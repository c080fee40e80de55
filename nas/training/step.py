"""One training step: the gradients of a few subnets of a supernet, or of one network, summed, and one update.

The subnets run one after another and each is differentiated before the next one runs, so that a step needs
the memory of one. In-place distillation: Universally slimmable networks,
https://arxiv.org/abs/1903.05134. Everything random follows from (seed, epoch) or (seed, step).
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from nas.data import ImageData, prepare
from nas.errors import Failure
from nas.evaluation.accuracy import calibration_batches
from nas.memory import give_back
from nas.supernet import Subnet, Supernet, calibrate_batch_norm
from nas.training.batches import STEP, Batches
from nas.training.cuda_graphs import RecordedPasses
from nas.training.distributed import ALONE, Processes
from nas.training.dropout import dropout_factors
from nas.training.ema import MovingAverage
from nas.training.optimizer import load_optimizer, make_optimizer, optimizer_tensors
from nas.training.pool import SubnetPool
from nas.training.recipe import Phase, Recipe
from nas.training.samplers import at_all_resolutions, check_space, is_widest, sample_step, smallest_open
from nas.training.schedule import Schedule
from nas.training.subnet_pass import Inputs, SubnetPass
from search_spaces import Population, SearchSpace

GIVE_BACK_STEPS = 20
"""Steps after which freed memory is given back: images of many sizes leave pieces that grow to half a gigabyte."""


class TrainingDiverged(Failure, ArithmeticError):
    """A loss, a gradient or a weight is no longer finite."""


def make_supernet(space: SearchSpace, recipe: Recipe, seed: int = 0) -> Supernet:
    """A supernet with random weights, as `recipe` begins with one; seeds torch's random numbers."""
    torch.manual_seed(seed)
    supernet = Supernet(space, recipe.kernel_transform)
    if recipe.zero_init_residuals:
        supernet.zero_init_residuals()
    return supernet


def largest_resolution(network: Supernet | Subnet) -> int:
    """Side in pixels of the images that the max net, or the network that is trained alone, reads."""
    if isinstance(network, Subnet):
        return network.resolution
    return int(network.space.resolution(network.space.max)[0])


def add(sums: dict[str, float], more: Mapping[str, float]) -> None:
    """Add the numbers of `more` to those of the same name in `sums`."""
    for name, number in more.items():
        sums[name] = sums.get(name, 0.0) + number


class Trainer:
    """A supernet, or one network alone, being trained by a recipe, one step at a time.

    Parameters
    ----------
    network : trained in place, on `device`, in channels-last layout. A subnet is trained as if it were the max net of
        a supernet that has no others: samplers and open genes do not matter then.
    data : only its train split is read.
    recipe : what a step does.
    seed : of everything random.
    device : a torch device.
    bfloat16 : run forward passes under autocast to bfloat16.
    external : the network that phases with target ``external`` or an `external_share` learn from: from images prepared
        at its `resolution`, or at the space's largest where it has none, to logits of the same classes. Set to
        evaluation mode, never trained, never saved.
    processes : that train together, each on its part of every batch.
    pooled : draw random subnets from a small pool (`nas.training.pool`); on a GPU, one process alone then runs subnets
        as CUDA graphs (`nas.training.cuda_graphs`).

    Raises
    ------
    ValueError : the recipe does not fit the space, the supernet, the teacher or the number of processes.
    """

    def __init__(
        self,
        network: Supernet | Subnet,
        data: ImageData,
        recipe: Recipe,
        *,
        seed: int = 0,
        device: str = "cpu",
        bfloat16: bool = False,
        external: nn.Module | None = None,
        processes: Processes = ALONE,
        pooled: bool = False,
    ) -> None:
        self.device = torch.device(device)
        # Typed as in torch's stubs: `to` cannot say that it keeps the module's class.
        self.network: Supernet | Subnet = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.data = data
        self.recipe = recipe
        self.seed = seed
        self.pooled = pooled
        self.schedule = Schedule(recipe, len(data.train))
        self.processes = processes
        self.external = None if external is None else external.to(self.device).eval()
        self._check()
        self.batches = Batches(data, recipe, self.schedule, seed, self.device)
        self.teacher: Subnet | None = None
        self.parameters = dict(self.network.named_parameters())
        classifier = [parameter for layer in self.network.classifying() for parameter in layer.parameters()]
        self.optimizer = make_optimizer(self.parameters.values(), recipe, classifier)
        self.average = MovingAverage(self.parameters) if self.schedule.ema_decay(0) else None
        self.subnet_pass = SubnetPass(self.network, recipe, self.device, bfloat16)
        self.recorded: RecordedPasses | None = None
        if pooled and self.device.type == "cuda" and processes.n == 1:
            self.recorded = RecordedPasses(self.subnet_pass, self.parameters)
        self._pool: SubnetPool | None = None

    def _check(self) -> None:
        if isinstance(self.network, Supernet):
            check_space(self.network.space, self.recipe)
            if self.recipe.kernel_transform != self.network.kernel_transform:
                raise ValueError(
                    f"recipe {self.recipe.name!r} has kernel_transform {self.recipe.kernel_transform}, the supernet "
                    f"was made with {self.network.kernel_transform}"
                )
        if self.external is None and (phases := [p.name for p in self.recipe.phases if p.target == "external"]):
            raise ValueError(
                f"phase {phases[0]!r} learns from an external network; give it to nas.training.train as teacher"
            )
        size, n = self.schedule.batch_size, self.processes.n
        if size % n:
            of = "" if isinstance(self.network, Subnet) else "recipe."
            works = f"set {of}batch_size={size // n * n}, a multiple of {n}" if size > n else f"start at most {size}"
            raise ValueError(f"a batch of {size} images cannot be split evenly among {n} processes; {works}")

    @property
    def advice(self) -> str:
        """What to type when training diverges."""
        of = "" if isinstance(self.network, Subnet) else "recipe."
        return f"try a lower {of}learning_rate, a longer {of}warmup or a smaller {of}clip_norm"

    def train_step(self, step: int) -> dict[str, float]:
        """Take step number `step`; the sums of ``loss/<role>``, ``correct/<role>`` and ``images/<role>``.

        Roles are ``max`` (also one network alone), ``min`` and ``random``; sums are over images and, in a role, over
        subnets.

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
                f"training diverged at step {step}: a gradient is not finite (losses: {losses}); {self.advice}"
            )
        if self.recipe.clip_norm is not None and gradient_norm > self.recipe.clip_norm:
            torch._foreach_mul_(gradients, self.recipe.clip_norm / gradient_norm)
        decays = self.recipe.regularise == "all" or "max" in roles
        for group in self.optimizer.param_groups:
            group["lr"] = group["share"] * self.schedule.learning_rate(step)
            if group["decays"]:
                group["weight_decay"] = self.recipe.weight_decay if decays else 0.0
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.schedule.ema_decay(step))
        if (step + 1) % GIVE_BACK_STEPS == 0:
            give_back()
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
        subnets = self._subnets(step, rng)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        images, labels = self.batches.batch(step, generator)
        part = self.processes.part(len(labels))
        images, labels = images[part], labels[part]
        by_resolution: dict[int, Tensor] = {}

        def prepared(resolution: int) -> Tensor:
            if resolution not in by_resolution:
                by_resolution[resolution] = prepare(images, resolution, self.data.mean, self.data.std)
            return by_resolution[resolution]

        def logits_of(teacher: nn.Module | None) -> Tensor | None:
            if teacher is None:
                return None
            with torch.no_grad(), self.subnet_pass.autocast():
                logits: Tensor = teacher(prepared(getattr(teacher, "resolution", largest_resolution(self.network))))
            return logits

        target = logits_of(self.external if phase.target == "external" else self.teacher)
        external = logits_of(self.external) if phase.external_share else None
        self.network.train()
        roles = self._roles(subnets, phase)
        measured = []
        if self.recorded is not None:
            self.recorded.forget(self._coming_back(step, phase, subnets))
            self.recorded.begin()
        for role, genotype in zip(roles, subnets, strict=True):
            activate = partial(self._activate, genotype)
            if self.recorded is None or self.recipe.dropout:
                activate()
            dropout = self.recipe.dropout if self.recipe.regularise == "all" or role == "max" else 0.0
            inputs = Inputs(
                images=prepared(self._resolution(genotype)),
                labels=labels,
                target=target,
                external=external if role == "max" else None,
                factors=dropout_factors(self.network, dropout, generator, self.schedule.batch_size, part, self.device),
                weight=1.0 if role == "max" else self.schedule.ramp(step),
            )
            if self.recorded is None:
                logits, figures = self.subnet_pass.backward(phase, inputs)
            else:
                logits, figures = self.recorded.backward(genotype, activate, phase, inputs)
            if phase.target == "max_net" and target is None:
                target = logits  # the sandwich's first subnet is the max net
            measured.append(figures)
        if self.recorded is not None:
            self.recorded.assign()
        return roles, measured

    def _coming_back(self, step: int, phase: Phase, subnets: Population) -> Population:
        """The subnets of `step` and those of which later steps are likely to train some."""
        found = [subnets]
        if self._pool is not None:
            found.append(self._pool.members(step))
        if phase.sampler == "widest" and isinstance(self.network, Supernet):
            found.append(at_all_resolutions(self.network.space, self.network.space.max))
        return np.concatenate(found)

    def preview(self) -> tuple[Tensor, Tensor]:
        """The stored images of the first step and the same ones augmented, as that step will see them."""
        rng = np.random.default_rng([self.seed, STEP, 0])
        self._subnets(0, rng)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        return self.batches.stored(0)[0], self.batches.batch(0, generator)[0]

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint must hold: ``network.*``, of the optimiser, and, if any, ``teacher.*``, ``average.*``."""
        found = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        found |= dict(optimizer_tensors(self.optimizer, self.parameters))
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
            self.network.load_state_dict(part("network."))
            if teacher := part("teacher."):
                self.teacher = self._largest().eval()
                self.teacher.load_state_dict(teacher)
        except RuntimeError as error:
            raise ValueError(f"the checkpoint's weights do not fit: {' '.join(str(error).split())}") from error
        load_optimizer(self.optimizer, self.parameters, tensors)
        if self.average is not None:
            for name, average in part("average.").items():
                self.average.averages[name].copy_(average)

    @contextmanager
    def as_kept(self) -> Iterator[None]:
        """While entered, the network has the weights that would be kept: the averaged ones, where there are any."""
        if self.average is None:
            yield
            return
        with self.average.applied():
            yield

    def _enter(self, phase: Phase) -> None:
        """What happens once, before the first step of `phase`."""
        if self.recorded is not None:
            self.recorded.forget()  # each phase has its own loss
        if phase.sort_channels and isinstance(self.network, Supernet):
            self.network.sort_channels()
            self.optimizer.state.clear()  # momenta of channels that have moved
            if self.average is not None:
                self.average.restart()
        if phase.target != "teacher":
            self.teacher = None
        elif self.teacher is None:
            self.teacher = self._largest()
            calibrate_batch_norm(self.teacher, calibration_batches(self.data, self.teacher.resolution, self.device))
            self.teacher.eval()

    def _largest(self) -> Subnet:
        """A copy of the max net, or of the network that is trained alone."""
        if isinstance(self.network, Subnet):
            return copy.deepcopy(self.network)
        return self.network.extract(self.network.space.max)

    def _subnets(self, step: int, rng: np.random.Generator) -> Population:
        """Genotypes that a step trains, shape ``(n, n_genes)``."""
        if isinstance(self.network, Subnet):
            return self.network.genotype[None]
        number = self.schedule.phase_number(step)
        phase, start = self.recipe.phases[number], self.schedule.starts[number]
        if not (self.pooled and phase.n_random):
            self._pool = None
            return sample_step(self.network.space, phase, rng)
        if self._pool is None or self._pool.start != start:
            self._pool = SubnetPool(self.network.space, phase, self.seed, start)
        return sample_step(self.network.space, phase, rng, self._pool.draw(step, rng))

    def _activate(self, genotype: Population) -> None:
        if isinstance(self.network, Supernet):
            self.network.activate(genotype)

    def _resolution(self, genotype: Population) -> int:
        """Side in pixels of the images that the subnet reads."""
        return int(self.network.space.resolution(genotype)[0])

    def _roles(self, subnets: Population, phase: Phase) -> list[str]:
        if isinstance(self.network, Subnet):
            return ["max"]
        space = self.network.space
        smallest = space.canonical(smallest_open(space, phase))[0]
        is_max, is_min = is_widest(space, subnets), (subnets == smallest).all(axis=1)
        return ["max" if a else "min" if b else "random" for a, b in zip(is_max, is_min, strict=True)]
