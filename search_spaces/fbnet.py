"""The FBNet space: 22 layers, each one of nine blocks, for ImageNet and for 32 x 32 images.

FBNet: hardware-aware efficient ConvNet design via differentiable neural architecture search (CVPR 2019),
https://arxiv.org/abs/1812.03443. The small form, the blocks' order and their numbers are those of
HW-NAS-Bench (ICLR 2021), https://arxiv.org/abs/2103.10584, whose measurements of it cover 27 devices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from search_spaces.blocks import mobile_head, stem
from search_spaces.genes import Gene, Slot
from search_spaces.layers import SLOT_INPUT, LayerSpec, downsampled
from search_spaces.space import SearchSpace
from search_spaces.stages import ascending


class Block(NamedTuple):
    """One of the blocks a layer chooses from."""

    label: str
    kernel: int
    expansion: int
    groups: int


SKIP = 8
BLOCKS = {  # by HW-NAS-Bench's number, in ascending cost
    SKIP: Block("skip", 1, 0, 1),
    1: Block("k3e1g2", 3, 1, 2),
    5: Block("k5e1g2", 5, 1, 2),
    0: Block("k3e1", 3, 1, 1),
    4: Block("k5e1", 5, 1, 1),
    2: Block("k3e3", 3, 3, 1),
    6: Block("k5e3", 5, 3, 1),
    3: Block("k3e6", 3, 6, 1),
    7: Block("k5e6", 5, 6, 1),
}

STEM_CHANNELS = 16
STAGES = ((1, 16), (4, 24), (4, 32), (4, 64), (4, 112), (4, 184), (1, 352))
"""Layers and channels of each stage."""


@dataclass(frozen=True)
class Macro:
    """What the two forms differ in: strides of the stem and of each stage's first layer, and the head's width."""

    stem_stride: int
    strides: tuple[int, ...]
    head: int


IMAGENET = Macro(2, (1, 2, 2, 2, 1, 2, 1), 1984)
SMALL_IMAGES = Macro(1, (1, 1, 2, 2, 1, 2, 1), 1504)


def fbnet_block(block: Block, in_channels: int, out_channels: int, size: int, stride: int) -> tuple[LayerSpec, ...]:
    """1x1 expansion, depthwise convolution, 1x1 projection, a residual where shapes allow.

    With groups, both 1x1 convolutions have them, and a channel shuffle follows the first. Skipping is the
    identity, or a 1x1 convolution where shapes change.
    """
    same_shape = stride == 1 and in_channels == out_channels
    if block.expansion == 0:
        skip = LayerSpec("skip", "conv", in_channels, out_channels, size, stride=stride, activation="relu", norm=True)
        return () if same_shape else (skip,)
    mid, groups = in_channels * block.expansion, block.groups
    # Grouped layers see other channels than dense ones do: named apart, so that a supernet does not share them.
    suffix = "_grouped" if groups > 1 else ""
    expand, depthwise, project = (f"{name}{suffix}" for name in ("expand", "depthwise", "project"))
    layers = [LayerSpec(expand, "conv", in_channels, mid, size, groups=groups, activation="relu", norm=True)]
    if groups > 1:
        layers.append(LayerSpec("shuffle", "shuffle", mid, mid, size, groups=groups, inputs=(expand,)))
    source, out_size = layers[-1].name, downsampled(size, [stride])
    layers += [
        LayerSpec(depthwise, "conv", mid, mid, size, block.kernel, stride, mid, "relu", norm=True, inputs=(source,)),
        LayerSpec(project, "conv", mid, out_channels, out_size, groups=groups, norm=True, inputs=(depthwise,)),
    ]
    if same_shape:
        layers.append(LayerSpec("residual", "add", out_channels, out_channels, size, inputs=(project, SLOT_INPUT)))
    return tuple(layers)


class FBNetSpace(SearchSpace):
    """A gene for each of the 22 layers; its values are HW-NAS-Bench's numbers of the blocks.

    ``space.from_values(numbers)`` makes genotypes of rows of 22 such numbers.

    Parameters
    ----------
    name : the registered name.
    macro : strides and head.
    resolutions : sides of the input image in pixels, ascending.
    num_classes : outputs of the classifier.

    Raises
    ------
    ValueError : an empty or unsorted list of resolutions, no class.
    """

    def __init__(self, name: str, macro: Macro, *, resolutions: Sequence[int], num_classes: int) -> None:
        self.macro = macro
        self.resolutions = ascending("resolutions", resolutions)
        labels = tuple(block.label for block in BLOCKS.values())
        genes = [Gene("resolution", "resolution", "r", self.resolutions)]
        slots = [Slot("stem", "stem", context=("resolution",))]
        self._places: dict[str, tuple[int, bool]] = {}
        for index, (n_layers, _) in enumerate(STAGES):
            group = f"stage{index + 1}"
            for layer in range(1, n_layers + 1):
                place = f"{group}_layer{layer}"
                gene = Gene(f"{place}_operator", "operator", "", tuple(BLOCKS), labels)
                genes.append(gene)
                same_as = f"{group}_layer2" if layer > 2 else ""
                slots.append(Slot(place, group, (gene.name,), ("resolution",), same_as=same_as))
                self._places[place] = index, layer == 1
        slots.append(Slot("head", "head", context=("resolution",)))
        super().__init__(name, genes, slots, num_classes)

    @property
    def options(self) -> dict[str, Any]:
        """See `SearchSpace.options`."""
        return {"resolutions": list(self.resolutions), "num_classes": self.num_classes}

    def slot_layers(self, slot: Slot, choice: Mapping[str, int]) -> tuple[LayerSpec, ...]:
        """See `SearchSpace.slot_layers`."""
        resolution, strides = choice["resolution"], self.macro.strides
        if slot.name == "stem":
            return stem(STEM_CHANNELS, size=resolution, stride=self.macro.stem_stride, activation="relu")
        size = downsampled(resolution, [self.macro.stem_stride])
        widths = [STEM_CHANNELS, *(channels for _, channels in STAGES)]
        if slot.name == "head":
            return mobile_head(
                widths[-1],
                size=downsampled(size, strides),
                expand=self.macro.head,
                features=None,
                activation="relu",
                num_classes=self.num_classes,
            )
        index, first = self._places[slot.name]
        return fbnet_block(
            BLOCKS[choice[slot.genes[0]]],
            widths[index if first else index + 1],
            widths[index + 1],
            downsampled(size, strides[: index if first else index + 1]),
            strides[index] if first else 1,
        )


def fbnet(*, resolutions: Sequence[int] = (32,), num_classes: int = 100) -> FBNetSpace:
    """FBNet for images of about 32 x 32 pixels, as HW-NAS-Bench measured it on 27 devices: to compare predictors.

    It has 9^22 networks.
    """
    return FBNetSpace("fbnet", SMALL_IMAGES, resolutions=resolutions, num_classes=num_classes)


def fbnet_imagenet(*, resolutions: Sequence[int] = (224,), num_classes: int = 1000) -> FBNetSpace:
    """FBNet as its paper has it for ImageNet: one of nine blocks in each of 22 layers."""
    return FBNetSpace("fbnet_imagenet", IMAGENET, resolutions=resolutions, num_classes=num_classes)
