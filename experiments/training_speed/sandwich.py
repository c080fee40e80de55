"""A sandwich of four on any device: our step, our recorded step, the same four as plain networks, once-for-all's.

Milliseconds by the clock, until the device is done; the ways in turns, so that a slow drift falls on all alike.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.training_speed.work import noise, optimizer_of, set_active
from nas.data import ImageData, prepare
from nas.supernet import Subnet, Supernet, from_once_for_all
from nas.training import Phase, Recipe, Trainer, load_recipe
from nas.training.cuda_graphs import RecordedPasses
from nas.training.pool import SIZE
from nas.training.samplers import sample_step
from search_spaces import Population, SearchSpace, get_space

PHASE = Phase(name="sandwich", share=1.0, sampler="sandwich", n_random=2, target="max_net")
STRIDES, STEM_STRIDE = (1, 2, 2, 1, 2), 1
SEED = 0

Work = Callable[[int], object]


@dataclass(frozen=True)
class Place:
    """Where it runs: a torch device, and whether forward passes are in bfloat16."""

    device: torch.device
    bfloat16: bool

    def wait(self) -> None:
        """Until the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def autocast(self) -> torch.autocast:
        """For a forward pass."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16)


def deps_space(kernels: tuple[int, ...] = (7,)) -> SearchSpace:
    """The CIFAR-10 space of DεpS (https://arxiv.org/abs/2407.06167), 45 to 180 M MACs."""
    return get_space(
        "mobilenet_v3", strides=STRIDES, stem_stride=STEM_STRIDE, kernels=kernels, resolutions=(32,), num_classes=10
    )


def trainer(place: Place, data: ImageData, batch: int, *, pooled: bool, kernels: tuple[int, ...] = (7,)) -> Trainer:
    """In the sandwich from its first step on. A CPU repeats a recorded function by calling it again."""
    recipe: Recipe = replace(load_recipe("deps"), batch_size=batch, epochs=1000, phases=(PHASE,))
    torch.manual_seed(SEED)
    settings: dict[str, Any] = {"device": str(place.device), "bfloat16": place.bfloat16, "pooled": pooled}
    made = Trainer(Supernet(deps_space(kernels)), data, recipe, seed=SEED, **settings)
    if pooled and made.recorded is None:
        made.recorded = RecordedPasses(made.subnet_pass, made.parameters, lambda work: work)
    return made


def agreement(place: Place, batch: int, steps: int) -> dict[str, float]:
    """Recorded and plain steps on the same subnets, from the same weights.

    Returns
    -------
    The largest relative difference of a step's loss, and of the weights as vectors after all steps.
    """
    data = noise(4 * batch, 32, 10)
    recorded, plain = (trainer(place, data, batch, pooled=True) for _ in range(2))
    plain.recorded = None
    losses = 0.0
    for step in range(steps):
        ours, theirs = recorded.train_step(step), plain.train_step(step)
        losses = max(losses, *(abs(ours[name] / theirs[name] - 1) for name in ours if name.startswith("loss/")))
    a, b = (torch.cat([p.detach().flatten() for p in each.parameters.values()]) for each in (recorded, plain))
    return {"loss": losses, "weights": float((a - b).norm() / b.norm()), "steps": steps, "batch": batch}


def works(place: Place, batch: int) -> dict[str, Work]:
    """What is timed, by name; each takes the number of a round. ``ofa`` only where it can be imported."""
    data = noise(4 * batch, 32, 10)
    step, recorded = (trainer(place, data, batch, pooled=pooled) for pooled in (False, True))
    for i in range(2 * SIZE if place.device.type == "cuda" else 1):  # most of the pool is recorded then
        recorded.train_step(i)
    space = step.network.space
    images = prepare(data.train.images[:batch].to(place.device), 32, data.mean, data.std)
    labels = data.train.labels[:batch].to(place.device)
    rows = sample_step(space, PHASE, np.random.default_rng(SEED))
    found: dict[str, Work] = {
        "plain step": lambda i: step.train_step(1 + i),
        "recorded step": lambda i: recorded.train_step(2 * SIZE + i),
        "four plain networks": plain_networks(place, space, rows, images, labels),
    }
    try:
        found["ofa"] = once_for_all(place, images, labels)
    except ImportError:
        print("ofa is not installed: its step is left out (pip install --no-deps ofa)", flush=True)
    return found


def plain_networks(place: Place, space: SearchSpace, rows: Population, images: Tensor, labels: Tensor) -> Work:
    """Each of `rows` as a network of its own, trained by cross-entropy on images that are ready."""
    nets: list[nn.Module] = [
        Subnet(space, row).to(place.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        for row in rows
    ]
    optimizers = [optimizer_of(net, 3e-5) for net in nets]

    def work(i: int) -> None:
        for net, optimizer in zip(nets, optimizers, strict=True):
            optimizer.zero_grad(set_to_none=True)
            with place.autocast():
                logits = net(images)
            F.cross_entropy(logits.float(), labels, label_smoothing=0.1).backward()
            optimizer.step()

    return work


def once_for_all(place: Place, images: Tensor, labels: Tensor) -> Work:
    """A sandwich by once-for-all's networks and losses, strides set to those of the space, in channels-last layout.

    Raises
    ------
    ImportError : there is no package ``ofa``.
    AssertionError : its subnets compute something else than ours.
    """
    from ofa.imagenet_classification.elastic_nn.networks import OFAMobileNetV3
    from ofa.utils import cross_entropy_loss_with_soft_target, cross_entropy_with_label_smoothing

    settings: dict[str, Any] = {"ks_list": [3, 5, 7], "expand_ratio_list": [3, 4, 6], "depth_list": [2, 3, 4]}
    net = OFAMobileNetV3(n_classes=10, dropout_rate=0.0, **settings)
    net.first_conv.conv.stride = (STEM_STRIDE, STEM_STRIDE)
    for group, stride in zip(net.block_group_info, STRIDES, strict=True):
        net.blocks[group[0]].conv.depth_conv.conv.stride = stride
    space = deps_space((3, 5, 7))
    ours = Supernet(space, kernel_transform=True)
    ours.load_state_dict(from_once_for_all(net.state_dict()).state_dict())
    sevens = space.canonical(np.where([gene.kind == "kernel" for gene in space.genes], space.max, space.min))[0]
    for row in (space.max, sevens):
        set_active(net.eval(), space, row)
        ours.eval().activate(row)
        with torch.no_grad():
            torch.testing.assert_close(ours(images[:2].cpu()), net(images[:2].cpu()), rtol=1e-3, atol=1e-4)
    net = net.to(place.device, memory_format=torch.channels_last).train()
    optimizer = optimizer_of(net, 3e-5)
    of_kernel_7 = deps_space()

    def work(i: int) -> None:
        drawn = sample_step(of_kernel_7, PHASE, np.random.default_rng([SEED, i]))
        names = of_kernel_7.format(drawn)
        optimizer.zero_grad(set_to_none=True)
        soft_label: Tensor | None = None
        for name in names:
            set_active(net, space, space.parse(name))
            with place.autocast():
                output = net(images)
            if soft_label is None:
                loss = cross_entropy_with_label_smoothing(output.float(), labels, 0.1)
                soft_label = F.softmax(output.detach().float(), dim=1)
            else:
                loss = cross_entropy_loss_with_soft_target(output.float(), soft_label)
            loss.backward()
        optimizer.step()

    return work


@contextmanager
def _clock(place: Place, into: list[float]) -> Iterator[None]:
    place.wait()
    began = perf_counter()
    yield
    place.wait()
    into.append(1000 * (perf_counter() - began))


def milliseconds(place: Place, timed: dict[str, Work], rounds: int, until: float) -> dict[str, list[float]]:
    """Of each piece in each round, after two rounds of warming up; ends early at the time `until` of `perf_counter`."""
    names = list(timed)
    found: dict[str, list[float]] = {name: [] for name in names}
    for i in range(rounds + 2):
        for name in np.roll(names, i):
            with _clock(place, found[str(name)] if i >= 2 else []):
                timed[str(name)](i)
        if i >= 2 and perf_counter() > until:
            break
    return found
