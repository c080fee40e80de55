"""All networks of a search space in one set of weights.

Once for all (https://arxiv.org/abs/1908.09791): every subnet is a slice of the biggest network.
"""

from typing import Any

import torch
from numpy.typing import NDArray

from nas.supernet.layers import ElasticLayer, elastic_layer, extract_layer
from nas.supernet.network import Network, SlotModule, canonical_row
from nas.supernet.sorting import sort_channels
from nas.supernet.subnet import Subnet
from search_spaces import LayerSpec, Population, SearchSpace


class Supernet(Network):
    """The elastic network of `space`; its max net is active at first.

    Parameters
    ----------
    space : any search space.
    kernel_transform : learn matrices that turn large depthwise kernels into smaller ones, as once-for-all.

    Attributes
    ----------
    active : genotype of the active subnet, canonical.
    resolution : side in pixels of the images that the active subnet is meant for.
    """

    def __init__(self, space: SearchSpace, kernel_transform: bool = False) -> None:
        slots = []
        for slot in space.slots:
            by_name: dict[str, list[LayerSpec]] = {}
            for spec in space.weight_layers(slot):
                by_name.setdefault(spec.name, []).append(spec)
            modules = {name: elastic_layer(specs, kernel_transform) for name, specs in by_name.items()}
            slots.append(SlotModule(modules, ()))
        super().__init__(space, slots)
        self.kernel_transform = kernel_transform
        self.activate(space.max)
        self.initialise()

    def activate(self, genotype: NDArray[Any]) -> None:
        """Make the subnet of `genotype` the one that runs, trains and is calibrated.

        Raises
        ------
        ValueError : `genotype` is not one genotype of the space.
        """
        self.active: Population = canonical_row(self.space, genotype)
        for (_, slot), layers in zip(self.named_slots(), self.space.layers(self.active), strict=True):
            slot.layers = layers
            for spec in layers:
                for module in slot[spec.name].children():
                    assert isinstance(module, ElasticLayer)
                    module.narrow(spec)

    @torch.no_grad()
    def extract(self, genotype: NDArray[Any]) -> Subnet:
        """A stand-alone copy of the subnet of `genotype`; the active subnet stays active."""
        before = self.active
        self.activate(genotype)
        try:
            slots = [
                SlotModule({spec.name: extract_layer(slot[spec.name]) for spec in slot.layers}, slot.layers)
                for _, slot in self.named_slots()
            ]
        finally:
            self.activate(before)
        return Subnet(self.space, genotype, slots).train(self.training)

    def sort_channels(self) -> None:
        """Order the channels of the max net by importance, once, before widths shrink.

        These are the inner channels of every slot, and those that slots share where the space lets them narrow and
        the max net has every layer that reads or writes them.
        The max net computes the same as before. An optimiser's momenta are not reordered with the weights:
        begin a new one.
        """
        before = self.active
        self.activate(self.space.max)
        try:
            slots = {name: slot.layers for name, slot in self.named_slots()}
            modules = {f"{name}/{layer}": module for name, slot in self.named_slots() for layer, module in slot.items()}
            partial = {name for name, slot in self.named_slots() if len(slot) > len(slot.layers)}
            sort_channels(slots, modules, self._elastic_layers(), partial)
        finally:
            self.activate(before)

    def _elastic_layers(self) -> set[str]:
        """Names ``slot/layer`` of the layers that have variants of different width."""
        widths: dict[str, set[int]] = {}
        for slot in self.space.slots:
            for spec in self.space.weight_layers(slot):
                widths.setdefault(f"{slot.name}/{spec.name}", set()).add(spec.out_channels)
        return {name for name, found in widths.items() if len(found) > 1}
