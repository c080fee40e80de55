"""MobileNetV4's space: universal inverted bottlenecks, and widths that reach from its conv-small to its conv-medium.

MobileNetV4: universal models for the mobile ecosystem (ECCV 2024), https://arxiv.org/abs/2404.10518. As in the paper's
search, the operators of a block share its 1x1 convolutions. Sizes are pixels, widths channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces.blocks import mobile_head, stem, universal_bottleneck
from search_spaces.genes import Gene, Slot
from search_spaces.layers import Activation, LayerSpec, downsampled, make_divisible
from search_spaces.space import SearchSpace
from search_spaces.stages import ascending

FEED_FORWARD, CONV, FUSED = 0, 100, 101
"""Numbers of operators; the others are ten times the first depthwise kernel and the second one, as in 53."""
KERNELS = (3, 5, 7)
STEM_CHANNELS, HEAD_CHANNELS, FEATURES = 32, 960, 1280


@dataclass(frozen=True)
class Stage:
    """Its widths to choose from, blocks it may have, and whether its first block may be dense convolutions, or is.

    Every stage halves the feature map. Dense convolutions are a 3x3 and a 1x1 one.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    dense: bool = False
    universal: bool = True


STAGES = (
    Stage((32, 48), (1,), dense=True, universal=False),
    Stage((64, 80), (1, 2), dense=True),
    Stage((96, 160), (2, 4, 6, 8)),
    Stage((128, 256), (4, 6, 8, 11)),
)
DENSE_EXPANSIONS = (1, 2, 4)
"""Of the first stage, which has no universal blocks."""
NAMED = {
    "conv_small": "w32-w64-w96-w128-conve1-conve3-x55e3_i3e2_i3e2_i3e2_i3e2_c3e4-x33e6_x55e4_i5e4_i5e3_i3e4_i3e4",
    "conv_medium": (
        "w48-w80-w160-w256-fusede4-x35e4_x33e2-x35e6_x33e4_x33e4_x35e4_x33e4_c3e4_fe2_c3e4-"
        "x55e6_x55e4_x35e4_x35e4_fe4_c3e4_x35e2_x55e4_fe4_fe4_c5e2"
    ),
}
"""The paper's networks, as timm builds them, without their resolution."""


def universal_operators(kernels: Sequence[int]) -> dict[int, str]:
    """The operators of a block and how they are written, in ascending cost.

    ``f`` is the feed-forward block, ``c3`` the ConvNeXt-like one, ``i3`` the inverted bottleneck, ``x53`` the one with
    an extra depthwise convolution: kernel 5 before the expansion, 3 behind it.
    """
    operators = {FEED_FORWARD: "f"} | {10 * k: f"c{k}" for k in kernels} | {k: f"i{k}" for k in kernels}
    return operators | {10 * start + middle: f"x{start}{middle}" for middle in kernels for start in kernels}


class MobileNetV4Space(SearchSpace):
    """Four stages with elastic width, depth, operators, expansions and resolution.

    The first stage is a pair of dense convolutions, with an activation behind the second (``conv``, as conv-small has
    it) or without (``fused``, as conv-medium). The second stage may begin with such a pair too.

    Parameters
    ----------
    depths : blocks that each of the two last stages may have, ascending; None for 2, 4, 6, 8 and 4, 6, 8, 11.
    kernels : of the depthwise convolutions, ascending; of 3, 5 and 7.
    expansions : ratios of inner to input width of a block, ascending.
    resolutions : sides of the input image in pixels, ascending.
    width_mult : multiplies all channel numbers, each then made a multiple of eight; 1 leaves the name as it is.
    num_classes : outputs of the classifier.
    name : the registered name.
    stages : in order, each as `STAGES` has it.

    Raises
    ------
    ValueError : an empty or unsorted list, another kernel, a number that is not positive.
    """

    architectures: Mapping[str, str] = NAMED
    """Those with a name, without their resolution."""
    layer_scale = False
    """Whether universal blocks multiply their output by a number for each channel."""

    def __init__(
        self,
        *,
        depths: Sequence[int] | None,
        kernels: Sequence[int],
        expansions: Sequence[int],
        resolutions: Sequence[int],
        width_mult: float,
        num_classes: int,
        name: str = "mobilenet_v4",
        stages: Sequence[Stage] = STAGES,
    ) -> None:
        self.stages = tuple(stages)
        self.depths = None if depths is None else ascending("depths", depths)
        self.kernels = ascending("kernels", kernels)
        self.expansions = ascending("expansions", expansions)
        self.resolutions = ascending("resolutions", resolutions)
        if not set(self.kernels) <= set(KERNELS):
            raise ValueError(f"kernels of {name} are {', '.join(map(str, KERNELS))}, got {list(self.kernels)}")
        if width_mult <= 0:
            raise ValueError(f"width_mult must be positive, got {width_mult}")
        self.width_mult = width_mult
        genes = [Gene("resolution", "resolution", "r", self.resolutions)]
        slots = [Slot("stem", "stem", context=("resolution",))]
        self._place: dict[str, tuple[int, bool]] = {}
        for index in range(len(self.stages)):
            stage_genes, stage_slots = self._stage(index)
            genes += stage_genes
            slots += stage_slots
        slots.append(Slot("head", "head", context=("resolution", f"stage{len(self.stages)}_width")))
        super().__init__(name if width_mult == 1 else f"{name}_w{width_mult:g}", genes, slots, num_classes)

    def _stage(self, index: int) -> tuple[list[Gene], list[Slot]]:
        """Genes and slots of a stage."""
        stage, group = self.stages[index], f"stage{index + 1}"
        widths = [f"stage{index}_width", f"{group}_width"] if index else [f"{group}_width"]
        genes = [Gene(widths[-1], "width", "w", stage.widths)]
        slots = []
        depths = self._depths(index)
        if len(depths) > 1:
            genes.append(Gene(f"{group}_depth", "depth", "", depths))
        for block in range(1, depths[-1] + 1):
            place = f"{group}_block{block}"
            least = self._least_depth(index, block)
            needs = (f"{group}_depth", least) if least > depths[0] else None
            operators = self._operators(stage, block == 1)
            own = (f"{place}_operator", f"{place}_expansion")
            genes += [
                Gene(own[0], "operator", "", tuple(operators), tuple(operators.values()), needs),
                Gene(own[1], "expansion", "e", self.expansions if stage.universal else DENSE_EXPANSIONS, (), needs),
            ]
            context = ("resolution", *(widths if block == 1 else widths[-1:]))
            slots.append(Slot(place, group, own, context, needs, f"{group}_block2" if block > 2 else ""))
            self._place[place] = index, block == 1
        return genes, slots

    def _depths(self, index: int) -> tuple[int, ...]:
        """Blocks that a stage may have."""
        own = self.stages[index].depths
        return self.depths if self.depths and len(own) > 2 else own

    def _least_depth(self, index: int, block: int) -> int:
        """Blocks that a stage has at least where it has block number `block`."""
        return block

    def _operators(self, stage: Stage, first: bool) -> dict[int, str]:
        operators = universal_operators(self.kernels) if stage.universal else {}
        if first:
            operators.pop(FEED_FORWARD, None)  # nothing in it has a stride
            if stage.dense:
                operators[CONV] = "conv"
            if not stage.universal:
                operators[FUSED] = "fused"
        return operators

    @property
    def options(self) -> dict[str, Any]:
        """See `SearchSpace.options`."""
        return {
            **({} if self.depths is None else {"depths": list(self.depths)}),
            "kernels": list(self.kernels),
            "expansions": list(self.expansions),
            "resolutions": list(self.resolutions),
            "width_mult": self.width_mult,
            "num_classes": self.num_classes,
        }

    @property
    def named(self) -> dict[str, str]:
        """The paper's networks at 224 pixels, or at the highest resolution where there is no such one."""
        side = 224 if 224 in self.resolutions else self.resolutions[-1]
        return {name: f"r{side}-{architecture}" for name, architecture in self.architectures.items()}

    def _width(self, channels: int) -> int:
        return make_divisible(channels * self.width_mult)

    def slot_layers(self, slot: Slot, choice: Mapping[str, int]) -> tuple[LayerSpec, ...]:
        """See `SearchSpace.slot_layers`."""
        resolution = choice["resolution"]
        if slot.name == "stem":
            return stem(self._width(STEM_CHANNELS), size=resolution, stride=2, activation="relu")
        widths = [self._width(choice[name]) for name in slot.context[1:]]
        if slot.name == "head":
            return mobile_head(
                widths[0],
                size=downsampled(resolution, [2] * (1 + len(self.stages))),
                expand=self._width(HEAD_CHANNELS),
                features=self._width(FEATURES),
                activation="relu",
                num_classes=self.num_classes,
                features_norm=True,
            )
        index, first = self._place[slot.name]
        operator, expansion = (choice[name] for name in slot.genes)
        source = self._width(STEM_CHANNELS) if index == 0 else widths[0]
        mid = make_divisible(source * expansion)
        size = downsampled(resolution, [2] * (1 + index + (not first)))
        if operator in (CONV, FUSED):
            return _dense(source, mid, widths[-1], size=size, activation="relu" if operator == CONV else "none")
        start, middle = divmod(operator, 10)
        return universal_bottleneck(
            source,
            mid,
            widths[-1],
            size=size,
            stride=2 if first else 1,
            start=start,
            middle=middle,
            layer_scale=self.layer_scale,
        )


def _dense(
    in_channels: int, mid_channels: int, out_channels: int, *, size: int, activation: Activation
) -> tuple[LayerSpec, ...]:
    """3x3 convolution with stride 2 and ReLU, 1x1 convolution; named apart from the layers of universal blocks."""
    first = LayerSpec("conv", "conv", in_channels, mid_channels, size, 3, 2, activation="relu", norm=True)
    return (
        first,
        LayerSpec(
            "conv_project",
            "conv",
            mid_channels,
            out_channels,
            first.out_size,
            activation=activation,
            norm=True,
            inputs=("conv",),
        ),
    )


def mobilenet_v4(
    *,
    depths: Sequence[int] | None = None,
    kernels: Sequence[int] = (3, 5),
    expansions: Sequence[int] = (2, 3, 4, 6),
    resolutions: Sequence[int] = tuple(range(128, 257, 32)),
    width_mult: float = 1.0,
    num_classes: int = 1000,
) -> MobileNetV4Space:
    """MobileNetV4's convolutional space: photographs on phones, CPUs and accelerators; ReLU alone, no gates.

    It holds the paper's conv-small and conv-medium, by these names, and what lies between and around them.
    """
    return MobileNetV4Space(
        depths=depths,
        kernels=kernels,
        expansions=expansions,
        resolutions=resolutions,
        width_mult=width_mult,
        num_classes=num_classes,
    )
