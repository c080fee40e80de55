"""Spaces of inverted residual blocks in stages, each block with its own kernel and expansion.

Once-for-all: train one network and specialize it for efficient deployment (ICLR 2020),
https://arxiv.org/abs/1908.09791. A stage's first block changes stride and channels; squeeze-excite and
activation are fixed by stage. Sizes are pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from search_spaces.blocks import mbconv, mobile_head, stem
from search_spaces.genes import Gene, Slot
from search_spaces.layers import Activation, LayerSpec, downsampled, make_divisible
from search_spaces.space import SearchSpace


@dataclass(frozen=True)
class Stage:
    """A row of blocks at one width; `depths` and `kernels` are its own choices in place of the space's."""

    channels: int
    stride: int
    activation: Activation
    squeeze_excite: bool = False
    depths: tuple[int, ...] | None = None
    kernels: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Macro:
    """What is the same in every network of a space; channels before the width multiplier.

    Attributes
    ----------
    first_channels : of the one block before the stages, which has no expansion and kernel 3.
    activation : of the stem and the head.
    first_activation : of the block before the stages.
    head_features : of the layer between pooling and classifier; None leaves it out.
    """

    stem_channels: int
    stem_stride: int
    first_channels: int
    stages: tuple[Stage, ...]
    head_expand: int
    head_features: int | None
    activation: Activation
    first_activation: Activation


class StagedSpace(SearchSpace):
    """Stages of inverted residual blocks with elastic depth, kernel, expansion and resolution.

    Parameters
    ----------
    name : the registered name; other strides than the macro's and another width than 1.0 are appended to it, as in
        ``mobilenet_v3_s112212_w1.2`` (stem first), for a network of such a space has other costs.
    macro : the fixed part.
    depths : blocks a stage may have, ascending.
    kernels, expansions : choices of every block, ascending.
    resolutions : sides of the input image in pixels, ascending.
    width_mult : multiplies all channel numbers, each then made a multiple of eight.
    num_classes : outputs of the classifier.
    strides : of the first block of each stage, 1 or 2; None for the macro's.
    stem_stride : of the stem, 1 or 2; None for the macro's.

    Raises
    ------
    ValueError : an empty or unsorted list of choices, an even kernel, a number that is not positive, a stride that is
        not 1 or 2, not one stride for each stage.
    """

    def __init__(
        self,
        name: str,
        macro: Macro,
        *,
        depths: Sequence[int],
        kernels: Sequence[int],
        expansions: Sequence[int],
        resolutions: Sequence[int],
        width_mult: float,
        num_classes: int,
        strides: Sequence[int] | None = None,
        stem_stride: int | None = None,
    ) -> None:
        self.macro = _with_strides(macro, strides, stem_stride)
        self.own_strides = self.macro != macro
        if self.own_strides:
            name = f"{name}_s{self.macro.stem_stride}{''.join(str(stage.stride) for stage in self.macro.stages)}"
        self.depths = ascending("depths", depths)
        self.kernels = ascending("kernels", kernels)
        self.expansions = ascending("expansions", expansions)
        self.resolutions = ascending("resolutions", resolutions)
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError(f"kernels must be odd, got {list(self.kernels)}")
        if width_mult <= 0:
            raise ValueError(f"width_mult must be positive, got {width_mult}")
        self.width_mult = width_mult
        genes = [Gene("resolution", "resolution", "r", self.resolutions)]
        slots = [Slot("stem", "stem", context=("resolution",)), Slot("first", "first", context=("resolution",))]
        self._blocks: dict[str, tuple[int, bool]] = {}
        for index, stage in enumerate(macro.stages):
            group = f"stage{index + 1}"
            depths = stage.depths or self.depths
            if len(depths) > 1:
                genes.append(Gene(f"{group}_depth", "depth", "", depths))
            for block in range(1, depths[-1] + 1):
                place = f"{group}_block{block}"
                needs = (f"{group}_depth", block) if block > depths[0] else None
                kernel = Gene(f"{place}_kernel", "kernel", "k", stage.kernels or self.kernels, needs=needs)
                expansion = Gene(f"{place}_expansion", "expansion", "e", self.expansions, needs=needs)
                genes += [kernel, expansion]
                same_as = f"{group}_block2" if block > 2 else ""
                slots.append(Slot(place, group, (kernel.name, expansion.name), ("resolution",), needs, same_as))
                self._blocks[place] = index, block == 1
        slots.append(Slot("head", "head", context=("resolution",)))
        super().__init__(name if width_mult == 1 else f"{name}_w{width_mult:g}", genes, slots, num_classes)

    @property
    def options(self) -> dict[str, Any]:
        """See `SearchSpace.options`."""
        strides = {"strides": [s.stride for s in self.macro.stages], "stem_stride": self.macro.stem_stride}
        return {
            "depths": list(self.depths),
            "kernels": list(self.kernels),
            "expansions": list(self.expansions),
            "resolutions": list(self.resolutions),
            "width_mult": self.width_mult,
            "num_classes": self.num_classes,
            **(strides if self.own_strides else {}),
        }

    def _width(self, channels: int) -> int:
        return make_divisible(channels * self.width_mult)

    def slot_layers(self, slot: Slot, choice: Mapping[str, int]) -> tuple[LayerSpec, ...]:
        """See `SearchSpace.slot_layers`."""
        macro = self.macro
        resolution = choice["resolution"]
        if slot.name == "stem":
            channels = self._width(macro.stem_channels)
            return stem(channels, size=resolution, stride=macro.stem_stride, activation=macro.activation)
        size = downsampled(resolution, [macro.stem_stride])
        if slot.name == "first":
            return mbconv(
                self._width(macro.stem_channels),
                self._width(macro.first_channels),
                size=size,
                kernel=3,
                stride=1,
                expansion=1,
                activation=macro.first_activation,
            )
        strides = [stage.stride for stage in macro.stages]
        widths = [self._width(c) for c in (macro.first_channels, *(stage.channels for stage in macro.stages))]
        if slot.name == "head":
            return mobile_head(
                widths[-1],
                size=downsampled(size, strides),
                expand=self._width(macro.head_expand),
                features=self._width(macro.head_features) if macro.head_features else None,
                activation=macro.activation,
                num_classes=self.num_classes,
            )
        index, first = self._blocks[slot.name]
        stage = macro.stages[index]
        return mbconv(
            widths[index if first else index + 1],
            widths[index + 1],
            size=downsampled(size, strides[: index if first else index + 1]),
            kernel=choice[slot.genes[0]],
            stride=stage.stride if first else 1,
            expansion=choice[slot.genes[1]],
            activation=stage.activation,
            squeeze_excite=stage.squeeze_excite,
        )


def _with_strides(macro: Macro, strides: Sequence[int] | None, stem_stride: int | None) -> Macro:
    """`macro` with other strides, where they are given."""
    stem = macro.stem_stride if stem_stride is None else stem_stride
    own = [stage.stride for stage in macro.stages] if strides is None else list(strides)
    if len(own) != len(macro.stages) or any(stride not in (1, 2) for stride in own):
        raise ValueError(f"strides must be {len(macro.stages)} numbers, one for each stage, each 1 or 2, got {own}")
    if stem not in (1, 2):
        raise ValueError(f"stem_stride must be 1 or 2, got {stem}")
    stages = tuple(replace(stage, stride=int(stride)) for stage, stride in zip(macro.stages, own, strict=True))
    return replace(macro, stem_stride=int(stem), stages=stages)


def ascending(name: str, values: Sequence[int], least: int = 1) -> tuple[int, ...]:
    """The choices called `name` as a tuple.

    Raises
    ------
    ValueError : none, one below `least`, or not in ascending order.
    """
    if not values or any(v < least for v in values) or list(values) != sorted(set(values)):
        allowed = "positive integers" if least == 1 else f"integers from {least} on"
        raise ValueError(f"{name} must be distinct {allowed} in ascending order, got {list(values)}")
    return tuple(int(v) for v in values)
