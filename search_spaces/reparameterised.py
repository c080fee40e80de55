"""Networks that are plain rows of convolutions when deployed, each trained as several branches: MobileOne and RepVGG.

MobileOne: an improved one millisecond mobile backbone (CVPR 2023), https://arxiv.org/abs/2206.04040. RepVGG: making
VGG-style ConvNets great again (CVPR 2021), https://arxiv.org/abs/2101.03697. Sizes are pixels, widths channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces.blocks import mobileone, repvgg
from search_spaces.genes import Gene, Slot
from search_spaces.layers import LayerSpec, downsampled, make_divisible
from search_spaces.space import SearchSpace
from search_spaces.stages import ascending

STEM_CHANNELS = 64
"""At most: a narrower first stage has a stem of its own width."""
MOST_BRANCHES = 16
"""More would be a slip of the keyboard: MobileOne has at most four."""
BLOCKS = {"mobileone": "m", "repvgg": "r"}
"""Kinds of blocks in ascending cost, and how they are written."""


@dataclass(frozen=True)
class Stage:
    """Its widths and numbers of blocks to choose from. Every stage halves the feature map."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]


STAGES = (
    Stage((32, 48, 64, 96), (1, 2)),
    Stage((64, 96, 128, 192), (2, 4, 6, 8)),
    Stage((128, 192, 256, 384, 512), (4, 6, 8, 10, 14)),
    Stage((512, 768, 1024, 1280), (1,)),
)


@dataclass(frozen=True)
class Published:
    """A network of one of the papers: kind and number of its blocks, widths, branches."""

    block: str
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    branches: int = 1


PUBLISHED = {
    "mobileone_s0": Published("mobileone", (2, 8, 10, 1), (48, 128, 256, 1024), 4),
    "mobileone_s1": Published("mobileone", (2, 8, 10, 1), (96, 192, 512, 1280)),
    "repvgg_a0": Published("repvgg", (2, 4, 14, 1), (48, 96, 192, 1280)),
    "repvgg_a1": Published("repvgg", (2, 4, 14, 1), (64, 128, 256, 1280)),
}


class ReparameterisedSpace(SearchSpace):
    """Four stages with elastic width, depth, kind of every block, resolution, and number of branches.

    The number of branches is that of all convolutions of MobileOne's blocks and of the stem; those of RepVGG's blocks
    have one of their shape, as in its paper. It is a gene of training: costs and latency do not depend on it.

    Parameters
    ----------
    blocks : kinds that every block may be: ``mobileone`` (depthwise and 1x1), ``repvgg`` (dense 3x3), or both.
    branches : convolutions of its shape that a convolution may be trained as, ascending.
    depths : blocks that the second and the third stage may have, ascending; None for 2, 4, 6, 8 and 4, 6, 8, 10, 14.
    resolutions : sides of the input image in pixels, ascending.
    width_mult : multiplies all channel numbers, each then made a multiple of eight; 1 leaves the name as it is.
    num_classes : outputs of the classifier.

    Raises
    ------
    ValueError : an empty or unsorted list, another kind of block, too many branches, a number that is not positive.
    """

    def __init__(
        self,
        *,
        blocks: Sequence[str],
        branches: Sequence[int],
        depths: Sequence[int] | None,
        resolutions: Sequence[int],
        width_mult: float,
        num_classes: int,
    ) -> None:
        kinds = tuple(BLOCKS)
        self.blocks = tuple(kind for kind in kinds if kind in blocks)
        if not self.blocks or isinstance(blocks, str) or sorted(self.blocks) != sorted(blocks):
            given = blocks if isinstance(blocks, str) else list(blocks)
            raise ValueError(f"blocks of reparameterised are a list of {', '.join(kinds)} or both, got {given}")
        self.branches = ascending("branches", branches)
        if self.branches[-1] > MOST_BRANCHES:
            raise ValueError(f"branches of reparameterised are at most {MOST_BRANCHES}, got {list(self.branches)}")
        self.depths = None if depths is None else ascending("depths", depths)
        self.resolutions = ascending("resolutions", resolutions)
        if width_mult <= 0:
            raise ValueError(f"width_mult must be positive, got {width_mult}")
        self.width_mult = width_mult
        genes = [
            Gene("resolution", "resolution", "r", self.resolutions),
            Gene("branches", "branches", "b", self.branches),
        ]
        whole = ("resolution", "branches")
        slots = [Slot("stem", "stem", context=(*whole, "stage1_width"))]
        self._place: dict[str, tuple[int, bool]] = {}
        widths: list[str] = []
        for index, stage in enumerate(STAGES):
            group = f"stage{index + 1}"
            widths.append(f"{group}_width")
            genes.append(Gene(widths[-1], "width", "w", stage.widths))
            choices = self.depths if self.depths and len(stage.depths) > 2 else stage.depths
            if len(choices) > 1:
                genes.append(Gene(f"{group}_depth", "depth", "", choices))
            for block in range(1, choices[-1] + 1):
                place = f"{group}_block{block}"
                needs = (f"{group}_depth", block) if block > choices[0] else None
                numbers = tuple(kinds.index(kind) for kind in self.blocks)
                letters = tuple(BLOCKS[kind] for kind in self.blocks)
                genes.append(Gene(f"{place}_operator", "operator", "", numbers, letters, needs))
                context = (*whole, *(widths[-2:] if block == 1 else widths[-1:]))
                same_as = f"{group}_block2" if block > 2 else ""
                slots.append(Slot(place, group, (genes[-1].name,), context, needs, same_as))
                self._place[place] = index, block == 1
        slots.append(Slot("head", "head", context=("resolution", widths[-1])))
        name = "reparameterised" if width_mult == 1 else f"reparameterised_w{width_mult:g}"
        super().__init__(name, genes, slots, num_classes)

    @property
    def options(self) -> dict[str, Any]:
        """See `SearchSpace.options`."""
        return {
            "blocks": list(self.blocks),
            "branches": list(self.branches),
            **({} if self.depths is None else {"depths": list(self.depths)}),
            "resolutions": list(self.resolutions),
            "width_mult": self.width_mult,
            "num_classes": self.num_classes,
        }

    @property
    def named(self) -> dict[str, str]:
        """The papers' networks at 224 pixels and with their branches, or the most that may be chosen here."""
        side = 224 if 224 in self.resolutions else self.resolutions[-1]
        found = {}
        for name, published in PUBLISHED.items():
            if published.block in self.blocks:
                branches = published.branches if published.branches in self.branches else self.branches[-1]
                stages = ["_".join([BLOCKS[published.block]] * depth) for depth in published.depths]
                widths = [f"w{width}" for width in published.widths]
                found[name] = "-".join([f"r{side}", f"b{branches}", *widths, *stages])
        return found

    def _width(self, channels: int) -> int:
        return make_divisible(channels * self.width_mult)

    def slot_layers(self, slot: Slot, choice: Mapping[str, int]) -> tuple[LayerSpec, ...]:
        """See `SearchSpace.slot_layers`."""
        resolution = choice["resolution"]
        widths = [self._width(choice[name]) for name in slot.context if name.endswith("_width")]
        if slot.name == "head":
            (channels,), size = widths, downsampled(resolution, [2] * (1 + len(STAGES)))
            return (
                LayerSpec("pool", "global_pool", channels, channels, size),
                LayerSpec("classify", "linear", channels, self.num_classes, 1, bias=True, inputs=("pool",)),
            )
        branches, stem = choice["branches"], min(self._width(STEM_CHANNELS), widths[0])
        if slot.name == "stem":
            return repvgg(3, stem, size=resolution, stride=2, branches=branches)
        index, first = self._place[slot.name]
        source = stem if index == 0 and first else widths[0]
        size = downsampled(resolution, [2] * (1 + index + (not first)))
        stride = 2 if first else 1
        if choice[slot.genes[0]] == tuple(BLOCKS).index("repvgg"):
            return repvgg(source, widths[-1], size=size, stride=stride)
        return mobileone(source, widths[-1], size=size, stride=stride, branches=branches)


def reparameterised(
    *,
    blocks: Sequence[str] = tuple(BLOCKS),
    branches: Sequence[int] = (1,),
    depths: Sequence[int] | None = None,
    resolutions: Sequence[int] = tuple(range(128, 257, 32)),
    width_mult: float = 1.0,
    num_classes: int = 1000,
) -> ReparameterisedSpace:
    """MobileOne and RepVGG: no branches once deployed; ReLU alone, for runtimes that like few, plain layers.

    It holds the papers' MobileOne-S0 and S1 and RepVGG-A0 and A1, by these names. By default a convolution has one
    branch of its shape: to train networks with one, two and four of them together costs accuracy and wins no latency.
    """
    return ReparameterisedSpace(
        blocks=blocks,
        branches=branches,
        depths=depths,
        resolutions=resolutions,
        width_mult=width_mult,
        num_classes=num_classes,
    )
