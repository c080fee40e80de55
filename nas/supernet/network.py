"""A chain of slots, each a small graph of layers: what stand-alone and elastic networks have in common."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.elastic import ChannelScale
from nas.supernet.layers import ACTIVATIONS, KINDS
from search_spaces import LayerSpec, Population, SearchSpace
from search_spaces.layers import SLOT_INPUT


class SlotModule(nn.ModuleDict):
    """One slot: modules by layer name, and the layers that run.

    Parameters
    ----------
    modules : by layer name, as `plain_layer` or `elastic_layer` makes them.
    layers : the layers to run, in order; none passes the input on.
    """

    def __init__(self, modules: Mapping[str, nn.Sequential], layers: Iterable[LayerSpec]) -> None:
        super().__init__(modules)
        self.layers = tuple(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers on the slot's input ``(B, C, H, W)``."""
        tensors = {SLOT_INPUT: x}
        for spec in self.layers:
            x = KINDS[spec.kind].run(spec, self[spec.name], [tensors[name] for name in spec.inputs])
            x = tensors[spec.name] = ACTIVATIONS[spec.activation](x)
        return x


class Network(nn.Module):
    """A chain of slots.

    Parameters
    ----------
    space : the search space it is of.
    slots : one module for each slot of the space, in order.
    """

    def __init__(self, space: SearchSpace, slots: Iterable[SlotModule]) -> None:
        super().__init__()
        self.space = space
        self.slots = nn.ModuleDict({slot.name: module for slot, module in zip(space.slots, slots, strict=True)})

    @property
    def n_classes(self) -> int:
        """Outputs of the classifier."""
        return self.space.num_classes

    @property
    def resolution(self) -> int:
        """Side in pixels of the images that the (active) network is meant for."""
        return next(spec.size for _, slot in self.named_slots() for spec in slot.layers)

    def named_slots(self) -> Iterable[tuple[str, SlotModule]]:
        """The slots in network order, by name."""
        for name, slot in self.slots.items():
            assert isinstance(slot, SlotModule)
            yield name, slot

    def classifier(self) -> nn.Conv2d | nn.Linear:
        """The last convolution or linear layer: it writes a number for each class."""
        layer = self.classifying()[0]
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        return layer

    def classifying(self) -> list[nn.Module]:
        """The classifier and the layers with weights behind it, which are drawn anew for other classes."""
        layers = [layer for _, slot in self.named_slots() for module in slot.values() for layer in module.children()]
        return layers[max(i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d | nn.Linear)) :]

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, n_classes)`` of prepared `images` ``(B, 3, resolution, resolution)``."""
        x = images
        for slot in self.slots.values():
            x = slot(x)
        return x

    @torch.no_grad()
    def initialise(self) -> None:
        """Draw all weights anew: Kaiming's fan-out for convolutions, 0.01 for the classifier, biases zero, scales one.

        Queries and keys begin with variance 1 where they read normalised channels: large scores would let each pixel
        look at one other alone.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.out_channels * math.prod(module.kernel_size) // module.groups
                module.weight.normal_(0, math.sqrt(2 / fan_out))
            elif isinstance(module, nn.Linear):
                module.weight.normal_(0, 0.01)
            elif isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
                module.reset_parameters()
            elif _is_learnt_scale(module):
                module.weight.fill_(1)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                module.bias.zero_()
        for _, slot in self.named_slots():
            for name in (name for spec in slot.layers if spec.kind == "attention" for name in spec.inputs[:2]):
                for module in slot[name].modules():
                    if isinstance(module, nn.Conv2d):
                        module.weight.normal_(0, module.in_channels**-0.5)

    @torch.no_grad()
    def zero_init_residuals(self) -> None:
        """Let every residual block start as the identity: zero the batch-norm's or scale's weight before its addition.

        Accurate, Large Minibatch SGD (https://arxiv.org/abs/1706.02677), section 5.1; for scales, CaiT
        (https://arxiv.org/abs/2103.17239).
        """
        for place, (_, slot) in zip(self.space.slots, self.named_slots(), strict=True):
            others = _added_to_the_input(self.space.weight_layers(place)) & slot.keys()
            # What other blocks add to their input may be all that the active one gives out.
            branches = _added_to_the_input(slot.layers) | others - {spec.name for spec in slot.layers}
            for module in (module for branch in branches for module in slot[branch].modules()):
                if isinstance(module, nn.BatchNorm2d) or _is_learnt_scale(module):
                    module.weight.zero_()


def _added_to_the_input(layers: Iterable[LayerSpec]) -> set[str]:
    """Names of the layers whose outputs are added to the slot's input."""
    sums = [set(spec.inputs) for spec in layers if spec.kind == "add" and SLOT_INPUT in spec.inputs]
    return set[str]().union(*sums) - {SLOT_INPUT}


def _is_learnt_scale(module: nn.Module) -> TypeGuard[ChannelScale]:
    return isinstance(module, ChannelScale) and not module.frozen


def canonical_row(space: SearchSpace, genotype: NDArray[Any]) -> Population:
    """The canonical form, shape ``(n_genes,)``, of one genotype.

    Raises
    ------
    ValueError : more or less than one genotype, or not of this space.
    """
    rows = space.canonical(genotype)
    if len(rows) != 1:
        raise ValueError(f"one genotype was expected, {len(rows)} were given")
    row: Population = rows[0]
    return row
