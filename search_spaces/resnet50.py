"""Once-for-all's elastic ResNet-50: depth, width inside blocks, and width of every stage.

Once for all (https://arxiv.org/abs/1908.09791), class ``OFAResNets`` of its package; the network is ResNet-D of
"Bag of tricks for image classification" (https://arxiv.org/abs/1812.01187). Sizes are pixels, widths and expansions
per cent: of the usual channels, and of a block's outer width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.blocks import bottleneck
from search_spaces.genes import Gene, Slot
from search_spaces.layers import LayerSpec, downsampled, make_divisible
from search_spaces.space import SearchSpace
from search_spaces.stages import ascending

STEM_CHANNELS = 64
STAGES = ((2, 256, 1), (2, 512, 2), (4, 1024, 2), (2, 2048, 2))
"""Least blocks, channels and stride of each stage."""


class ResNet50Space(SearchSpace):
    """ResNet-D with elastic depth, inner width, stage width and resolution; bottleneck blocks.

    The stem is two 3x3 convolutions and a residual one between them, which may be left out. The widths of stages are
    context: a stage's width is a cost of its own blocks and of the next stage's first one.

    Widths are rounded to multiples of eight as in once-for-all: an inner width of the stem of 65 per cent and one of 80
    are both 24 channels, so there the same network has two names.

    Parameters
    ----------
    depths : blocks that a stage may have beyond its least number, ascending from 0. With more than one choice the
        stem's residual convolution may be left out too.
    expansions : inner width of a block in per cent of its outer one, ascending.
    widths : of the stem (its inner channels and its output) and of each stage, in per cent, ascending.
    resolutions : sides of the input image in pixels, ascending.
    num_classes : outputs of the classifier.

    Raises
    ------
    ValueError : an empty or unsorted list, a number that is not positive (a depth below 0).
    """

    def __init__(
        self,
        *,
        depths: Sequence[int],
        expansions: Sequence[int],
        widths: Sequence[int],
        resolutions: Sequence[int],
        num_classes: int,
    ) -> None:
        self.depths = ascending("depths", depths, least=0)
        self.expansions = ascending("expansions", expansions)
        self.widths = ascending("widths", widths)
        self.resolutions = ascending("resolutions", resolutions)
        genes = [
            Gene("resolution", "resolution", "r", self.resolutions),
            Gene("stem_depth", "depth", "d", (0, 1) if len(self.depths) > 1 else (1,)),
            Gene("stem_inner_width", "width", "w", self.widths),
            Gene("stem_width", "width", "w", self.widths),
        ]
        slots = [Slot("stem", "stem", ("stem_depth", "stem_inner_width"), ("resolution", "stem_width"))]
        self._stage: dict[str, int] = {}
        source = "stem_width"
        for index, (least, _, _) in enumerate(STAGES):
            group = f"stage{index + 1}"
            depth = Gene(f"{group}_depth", "depth", "", tuple(least + extra for extra in self.depths))
            width = Gene(f"{group}_width", "width", "w", self.widths)
            genes += [depth, width] if len(self.depths) > 1 else [width]
            for block in range(1, depth.values[-1] + 1):
                place = f"{group}_block{block}"
                needs = (depth.name, block) if block > depth.values[0] else None
                genes.append(Gene(f"{place}_expansion", "expansion", "e", self.expansions, needs=needs))
                context = ("resolution", *((source,) if block == 1 else ()), width.name)
                same_as = f"{group}_block2" if block > 2 else ""
                slots.append(Slot(place, group, (genes[-1].name,), context, needs, same_as))
                self._stage[place] = index
            source = width.name
        slots.append(Slot("head", "head", context=("resolution", source)))
        super().__init__("resnet50", genes, slots, num_classes)

    @property
    def options(self) -> dict[str, Any]:
        """See `SearchSpace.options`."""
        return {
            "depths": list(self.depths),
            "expansions": list(self.expansions),
            "widths": list(self.widths),
            "resolutions": list(self.resolutions),
            "num_classes": self.num_classes,
        }

    def slot_layers(self, slot: Slot, choice: Mapping[str, int]) -> tuple[LayerSpec, ...]:
        """See `SearchSpace.slot_layers`."""
        size = choice["resolution"]
        if slot.name == "stem":
            out = _channels(STEM_CHANNELS, choice["stem_width"])
            # The inner channels are half of the stem's own, both made multiples of eight.
            mid = make_divisible(_channels(STEM_CHANNELS, choice["stem_inner_width"]) // 2)
            return _stem(mid, out, size=size, residual=choice["stem_depth"] == 1)
        size = downsampled(size, [2, 2])
        strides = [stride for _, _, stride in STAGES]
        if slot.name == "head":
            channels, size = _channels(STAGES[-1][1], choice[slot.context[-1]]), downsampled(size, strides)
            return (
                LayerSpec("pool", "global_pool", channels, channels, size),
                LayerSpec("classify", "linear", channels, self.num_classes, 1, bias=True, inputs=("pool",)),
            )
        index = self._stage[slot.name]
        out = _channels(STAGES[index][1], choice[slot.context[-1]])
        mid = make_divisible(round(out * choice[slot.genes[0]] / 100))
        first = len(slot.context) == 3  # it reads the width of the stage before too
        if not first:
            return bottleneck(out, mid, out, size=downsampled(size, strides[: index + 1]), stride=1, project=False)
        source = _channels(STAGES[index - 1][1] if index else STEM_CHANNELS, choice[slot.context[1]])
        return bottleneck(
            source, mid, out, size=downsampled(size, strides[:index]), stride=strides[index], project=True
        )


def _channels(usual: int, percent: int) -> int:
    return make_divisible(usual * percent / 100)


def _stem(mid: int, out: int, *, size: int, residual: bool) -> tuple[LayerSpec, ...]:
    """3x3 convolutions, the first with stride 2, the second residual, and a max-pooling."""
    half = downsampled(size, [2])
    layers = [LayerSpec("conv1", "conv", 3, mid, size, 3, 2, activation="relu", norm=True)]
    if residual:
        layers += [
            LayerSpec("conv2", "conv", mid, mid, half, 3, activation="relu", norm=True, inputs=("conv1",)),
            LayerSpec("residual", "add", mid, mid, half, inputs=("conv2", "conv1")),
        ]
    return (
        *layers,
        LayerSpec("conv3", "conv", mid, out, half, 3, activation="relu", norm=True, inputs=(layers[-1].name,)),
        LayerSpec("pool", "max_pool", out, out, half, 3, 2, inputs=("conv3",)),
    )


def resnet50(
    *,
    depths: Sequence[int] = (0, 1, 2),
    expansions: Sequence[int] = (20, 25, 35),
    widths: Sequence[int] = (65, 80, 100),
    resolutions: Sequence[int] = tuple(range(128, 225, 16)),
    num_classes: int = 1000,
) -> ResNet50Space:
    """Once-for-all's ResNet-50 space: dense convolutions, for GPUs and servers."""
    return ResNet50Space(
        depths=depths, expansions=expansions, widths=widths, resolutions=resolutions, num_classes=num_classes
    )
