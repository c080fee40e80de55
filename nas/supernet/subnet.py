"""A stand-alone network of a search space: ordinary torch layers, nothing elastic left.

Convolutions that are trained as several branches still have them, so it can be trained on; `Subnet.fused` has not.
"""

from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from nas.supernet.layers import fused_layer, plain_layer
from nas.supernet.network import Network, SlotModule, canonical_row
from search_spaces import SearchSpace


class Subnet(Network):
    """The network of one genotype.

    Parameters
    ----------
    space : any search space.
    genotype : its genes, shape ``(n_genes,)``.
    slots : ready-made modules; without them new ones are initialised at random.

    Attributes
    ----------
    genotype : in canonical form.
    architecture : its readable name.
    resolution, n_classes : side of its input images in pixels, and number of its outputs.

    Raises
    ------
    ValueError : `genotype` is not one genotype of `space`.
    """

    def __init__(self, space: SearchSpace, genotype: NDArray[Any], slots: Iterable[SlotModule] | None = None) -> None:
        row = canonical_row(space, genotype)
        ready = slots is not None
        if slots is None:
            slots = [SlotModule({s.name: plain_layer(s) for s in layers}, layers) for layers in space.layers(row)]
        super().__init__(space, slots)
        self.genotype = row
        self.architecture: str = space.format(row)
        if not ready:
            self.initialise()

    def fused(self) -> "Subnet":
        """The network as it is deployed: branches are one convolution each, all other layers are shared with this one.

        Exported files and latencies are of this form, and costs on paper. It computes the same in evaluation mode; in
        training mode it lacks the batch-norms of the branches.
        """
        slots = [
            SlotModule({name: fused_layer(layer) for name, layer in slot.items()}, slot.layers)
            for _, slot in self.named_slots()
        ]
        return Subnet(self.space, self.genotype, slots).train(self.training)
