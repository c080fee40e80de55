"""The pieces of work: a training step of ours, the same subnets as plain networks, and once-for-all's step."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.training_speed.measure import Work
from nas.data import ImageData, Split, prepare
from nas.supernet import Subnet, Supernet, from_once_for_all
from nas.training import Recipe, Trainer, load_recipe
from nas.training.batches import STEP
from nas.training.samplers import sample_step
from search_spaces import Population, SearchSpace


def recipe(name: str, batch_size: int) -> Recipe:
    return replace(load_recipe(name), batch_size=batch_size, epochs=100)


def noise(n: int, side: int, n_classes: int) -> ImageData:
    """Images whose content does not matter."""
    rng = np.random.default_rng(0)

    def split(count: int) -> Split:
        pixels = torch.from_numpy(rng.integers(0, 256, (count, 3, side, side), dtype=np.uint8))
        return Split(pixels, torch.from_numpy(rng.integers(0, n_classes, count)), tuple(map(str, range(count))))

    classes = tuple(map(str, range(n_classes)))
    return ImageData("noise", classes, (0.5,) * 3, (0.25,) * 3, split(n), split(n_classes), split(n_classes), flip=True)


class Step:
    """Steps of a recipe's last phase."""

    def __init__(self, supernet: Supernet, data: ImageData, chosen: Recipe, phase: int = -1) -> None:
        self.trainer = Trainer(supernet, data, chosen)
        self.start = self.trainer.schedule.starts[phase - 1 if phase < 0 else phase]
        self.phase = chosen.phases[phase]
        self.trainer.train_step(self.start)  # enters the phase: sorts channels, freezes the teacher

    def subnets(self, i: int) -> Population:
        step = self.start + 1 + i
        return sample_step(self.trainer.network.space, self.phase, np.random.default_rng([0, STEP, step]))

    def __call__(self, i: int) -> Callable[[], None]:
        return lambda: self.trainer.train_step(self.start + 1 + i) and None


def optimizer_of(net: nn.Module, decay: float) -> torch.optim.SGD:
    return torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, nesterov=True, weight_decay=decay)


def static(step: Step) -> Work:
    """The same subnets as plain networks, each trained for itself by cross-entropy on prepared images.

    Images are prepared and networks built outside the timing; a frozen teacher's forward pass is inside.
    """
    space: SearchSpace = step.trainer.network.space
    data, batch = step.trainer.data, step.trainer.schedule.batch_size

    def work(i: int) -> Callable[[], None]:
        nets = [Subnet(space, row).to(memory_format=torch.channels_last).train() for row in step.subnets(i)]
        optimizers = [optimizer_of(net, step.trainer.recipe.weight_decay) for net in nets]
        images = {net.resolution: _prepared(data, batch, net.resolution) for net in nets}
        labels = data.train.labels[:batch]
        teacher = step.trainer.teacher

        def train() -> None:
            if teacher is not None:
                with torch.no_grad():
                    teacher(images.setdefault(teacher.resolution, _prepared(data, batch, teacher.resolution)))
            for net, optimizer in zip(nets, optimizers, strict=True):
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(net(images[net.resolution]), labels, label_smoothing=0.1).backward()
                optimizer.step()

        train()  # momenta exist from here on
        return train

    return work


def _prepared(data: ImageData, batch: int, resolution: int) -> Tensor:
    return prepare(data.train.images[:batch], resolution, data.mean, data.std)


def once_for_all(step: Step, channels_last: bool) -> Work:
    """The same subnets by once-for-all's networks and losses, in the order of its `train_one_epoch`.

    Images are ready as a float batch. `channels_last` is a favour: its own code does not ask for that layout.
    """
    from ofa.imagenet_classification.elastic_nn.networks import OFAMobileNetV3
    from ofa.utils import cross_entropy_loss_with_soft_target, cross_entropy_with_label_smoothing

    space, n_classes = step.trainer.network.space, step.trainer.network.n_classes
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = OFAMobileNetV3(
        n_classes=n_classes, dropout_rate=0.1, ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6], depth_list=[2, 3, 4]
    ).to(memory_format=layout)
    teacher = OFAMobileNetV3(n_classes=n_classes, dropout_rate=0, ks_list=7, expand_ratio_list=6, depth_list=4)
    teacher = teacher.to(memory_format=layout).train()
    optimizer = optimizer_of(net, step.trainer.recipe.weight_decay)
    resolution = step.trainer.network.resolution
    batch = step.trainer.schedule.batch_size
    images = _prepared(step.trainer.data, batch, resolution).contiguous(memory_format=layout)
    labels = step.trainer.data.train.labels[:batch]

    def activate(row: Population) -> None:
        set_active(net, space, row)

    check_same_function(net, activate, space)
    net.train()

    def work(i: int) -> Callable[[], None]:
        rows = step.subnets(i)

        def train() -> None:
            with torch.no_grad():
                soft_label = F.softmax(teacher(images).detach(), dim=1)
            net.zero_grad()
            for row in rows:
                activate(row)
                output = net(images)
                kd_loss = cross_entropy_loss_with_soft_target(output, soft_label)
                (kd_loss + cross_entropy_with_label_smoothing(output, labels, 0.1)).backward()
            optimizer.step()

        return train

    return work


def set_active(net: nn.Module, space: SearchSpace, row: Population) -> None:
    """Make the subnet of a genotype the active one of an ``OFAMobileNetV3``."""
    names = [gene.name for gene in space.genes]
    values = dict(zip(names, space.gene_values(row)[0].tolist(), strict=True))
    places = [(stage, block) for stage in range(1, 6) for block in range(1, 5)]
    # Genes of absent blocks are set, but not read.
    net.set_active_subnet(
        ks=[values[f"stage{s}_block{b}_kernel"] for s, b in places],
        e=[values[f"stage{s}_block{b}_expansion"] for s, b in places],
        d=[values[f"stage{s}_depth"] for s in range(1, 6)],
    )


def check_same_function(net: nn.Module, activate: Callable[[Population], None], space: SearchSpace) -> None:
    """Make sure that the same genotype is the same network on both sides."""
    ours = from_once_for_all(net.state_dict()).eval()
    net.eval()
    images = torch.randn(2, 3, 64, 64)
    for row in space.sample(3, np.random.default_rng(0)):
        activate(row)
        ours.activate(row)
        with torch.no_grad():
            torch.testing.assert_close(ours(images), net(images), rtol=1e-3, atol=1e-4)
