"""Convolution stages, then stages with attention: MobileNetV4's hybrid networks.

MobileNetV4: universal models for the mobile ecosystem (ECCV 2024), https://arxiv.org/abs/2404.10518. Universal inverted
bottlenecks as in `search_spaces.mobilenet_v4`, and between those of the last stages multi-query attention, whose keys
and values may be made of a smaller map. Nothing depends on the number of pixels, so a network serves every resolution.
Sizes are pixels, widths channels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.blocks import mobile_attention
from search_spaces.genes import Gene, Slot
from search_spaces.layers import LayerSpec, downsampled
from search_spaces.mobilenet_v4 import MobileNetV4Space, Stage
from search_spaces.stages import ascending

STAGES = (
    Stage((32, 48), (1,), dense=True, universal=False),
    Stage((64, 80), (1, 2), dense=True),
    Stage((96, 160), (2, 4, 6, 8)),
    Stage((128, 256), (4, 6, 8, 12)),
)
BEGINS = (5, 4, 3)
"""Stage at which attention may begin, with the most attention last; there is no fifth."""
DOWNSAMPLING = 3
"""The stage whose keys and values are made of a smaller map; the next one has a quarter of its pixels."""
ATTENTION_DEPTHS = (1, 2, 4)
"""Attention blocks that a stage may have where nothing else is said."""
HEAD_CHANNELS = 64
"""Of each head of an attention block, and of its keys and values."""
NAMED = {
    "hybrid_medium": (
        "w48-w80-w160-a3-n4-h4-s2-w256-n4-h4-fusede4-x35e4_x33e2-x35e6_fe2_x33e4_x35e4_x33e4_c3e4_x33e4_c3e4-"
        "x55e6_x55e4_x35e4_x35e4_fe2_x35e2_fe2_fe4_c3e4_x55e4_c5e4_c5e4"
    )
}
"""The paper's network, as timm builds it, without its resolution."""


class HybridSpace(MobileNetV4Space):
    """MobileNetV4's stages with attention blocks in the last one or the last two.

    Genes of attention: the stage at which it begins (``a3``, ``a4``, or ``a5`` for none), and for each stage that may
    have it the number of attention blocks (``n``), their heads (``h``) and, in the third stage, by how much the map of
    their keys and values is smaller (``s``). Attention blocks stand before the last universal blocks, one before each,
    and those are the last to go where a stage has fewer blocks. The largest of `depths` and of `attention_depths` say
    which these are: with others, attention stands elsewhere in networks of the same name.

    Parameters
    ----------
    attention_depths : attention blocks that a stage may have where it has any, ascending.
    heads : of the queries, ascending; keys and values have one.
    key_strides : of the depthwise convolutions in front of keys and values, ascending.
    depths, kernels, expansions, resolutions, width_mult, num_classes : as in `MobileNetV4Space`; `depths` None for
        2, 4, 6, 8 and 4, 6, 8, 12.

    Raises
    ------
    ValueError : an empty or unsorted list, another kernel, a number that is not positive.
    """

    architectures = NAMED
    layer_scale = True

    def __init__(
        self,
        *,
        attention_depths: Sequence[int],
        heads: Sequence[int],
        key_strides: Sequence[int],
        **options: Any,
    ) -> None:
        self.attention_depths = ascending("attention_depths", attention_depths)
        self.heads = ascending("heads", heads)
        self.key_strides = ascending("key_strides", key_strides)
        self._attention: dict[str, tuple[int, int]] = {}
        super().__init__(name="hybrid", stages=STAGES, **options)

    @property
    def options(self) -> dict[str, Any]:
        """See `SearchSpace.options`."""
        own = {"attention_depths": self.attention_depths, "heads": self.heads, "key_strides": self.key_strides}
        return super().options | {name: list(values) for name, values in own.items()}

    @property
    def named(self) -> dict[str, str]:
        """See `MobileNetV4Space.named`; none where attention stands elsewhere."""
        deepest = [self._depths(index)[-1] for index in range(len(self.stages))]
        usual = [stage.depths[-1] for stage in self.stages]
        return super().named if (deepest, self.attention_depths[-1]) == (usual, ATTENTION_DEPTHS[-1]) else {}

    def _stage(self, index: int) -> tuple[list[Gene], list[Slot]]:
        genes, slots = super()._stage(index)
        if index + 1 not in BEGINS:
            return genes, slots
        group = f"stage{index + 1}"
        # Its values are numbers of stages with attention, so that more is dearer; it is written as the first of them.
        start = Gene("attention_start", "depth", "a", tuple(range(len(BEGINS))), tuple(map(str, BEGINS)))
        needs = (start.name, BEGINS.index(index + 1))
        own = [
            Gene(f"{group}_attention_depth", "depth", "n", self.attention_depths, needs=needs),
            Gene(f"{group}_heads", "expansion", "h", self.heads, needs=needs),
        ]
        if index + 1 == DOWNSAMPLING:
            # Fewer keys cost less.
            own.append(Gene(f"{group}_key_stride", "operator", "s", self.key_strides[::-1], needs=needs))
        context = ("resolution", f"{group}_width", start.name, *(gene.name for gene in own))
        for number in range(self.attention_depths[-1], 0, -1):
            place = f"{group}_attention{number}"
            slots.insert(self._before(index, number) - 1, Slot(place, group, context=context))
            self._attention[place] = index, number
        return ([start] if index + 1 == min(BEGINS) else []) + own + genes, slots

    def _before(self, index: int, number: int) -> int:
        """The universal block that attention block `number` of a stage stands before; never the first."""
        return max(2, self._depths(index)[-1] - self.attention_depths[-1] + number)

    def _least_depth(self, index: int, block: int) -> int:
        if index + 1 not in BEGINS:
            return block
        blocks = range(1, self._depths(index)[-1] + 1)
        behind = [b for b in blocks if b > 1 and b >= self._before(index, 1)]
        return [1, *behind, *(b for b in blocks[1:] if b not in behind)].index(block) + 1

    def slot_layers(self, slot: Slot, choice: Mapping[str, int]) -> tuple[LayerSpec, ...]:
        """See `SearchSpace.slot_layers`."""
        if slot.name not in self._attention:
            return super().slot_layers(slot, choice)
        index, number = self._attention[slot.name]
        resolution, width, stages, depth, heads, *key_stride = (choice[name] for name in slot.context)
        if stages < BEGINS.index(index + 1) or number > depth:
            return ()
        return mobile_attention(
            self._width(width),
            size=downsampled(resolution, [2] * (2 + index)),
            heads=heads,
            head_channels=self._width(HEAD_CHANNELS),
            key_stride=key_stride[0] if key_stride else None,
        )


def hybrid(
    *,
    attention_depths: Sequence[int] = ATTENTION_DEPTHS,
    heads: Sequence[int] = (1, 2, 4),
    key_strides: Sequence[int] = (1, 2),
    depths: Sequence[int] | None = None,
    kernels: Sequence[int] = (3, 5),
    expansions: Sequence[int] = (2, 3, 4, 6),
    resolutions: Sequence[int] = tuple(range(128, 257, 32)),
    width_mult: float = 1.0,
    num_classes: int = 1000,
) -> HybridSpace:
    """MobileNetV4's hybrid space: convolutions, then attention; photographs where accuracy comes before milliseconds.

    It holds the paper's hybrid-medium, by the name ``hybrid_medium``: its MACs, parameters and outputs are those of
    timm's.
    """
    return HybridSpace(
        attention_depths=attention_depths,
        heads=heads,
        key_strides=key_strides,
        depths=depths,
        kernels=kernels,
        expansions=expansions,
        resolutions=resolutions,
        width_mult=width_mult,
        num_classes=num_classes,
    )
