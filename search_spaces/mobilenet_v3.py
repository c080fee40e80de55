"""The MobileNetV3 spaces: once-for-all's own, and a form for small images.

Once-for-all: train one network and specialize it for efficient deployment (ICLR 2020),
https://arxiv.org/abs/1908.09791. Five stages of two to four inverted residual blocks, each with its own
kernel and expansion; squeeze-excite and activation are fixed by stage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces.blocks import mbconv, mobilenet_v3_head, stem
from search_spaces.layers import Activation, LayerSpec, make_divisible
from search_spaces.space import Gene, SearchSpace, Slot


@dataclass(frozen=True)
class Stage:
    """A row of blocks at one width; the first block changes stride and channels."""

    channels: int
    stride: int
    activation: Activation
    squeeze_excite: bool


@dataclass(frozen=True)
class Macro:
    """What is the same in every network of a space; channels before the width multiplier."""

    stem_channels: int
    stem_stride: int
    first_channels: int
    stages: tuple[Stage, ...]
    head_expand: int
    head_features: int


ONCE_FOR_ALL = Macro(
    stem_channels=16,
    stem_stride=2,
    first_channels=16,
    stages=(
        Stage(24, 2, "relu", squeeze_excite=False),
        Stage(40, 2, "relu", squeeze_excite=True),
        Stage(80, 2, "hard_swish", squeeze_excite=False),
        Stage(112, 1, "hard_swish", squeeze_excite=True),
        Stage(160, 2, "hard_swish", squeeze_excite=True),
    ),
    head_expand=960,
    head_features=1280,
)

# Three downsamplings instead of five, so that 32 x 32 images still reach the last stage as 4 x 4 maps;
# widths chosen so that the max net costs about 9 M MACs, an epoch of CIFAR-10 a minute on two cores.
SMALL_IMAGES = Macro(
    stem_channels=8,
    stem_stride=1,
    first_channels=8,
    stages=(
        Stage(16, 2, "relu", squeeze_excite=False),
        Stage(24, 2, "relu", squeeze_excite=True),
        Stage(32, 1, "hard_swish", squeeze_excite=False),
        Stage(48, 2, "hard_swish", squeeze_excite=True),
        Stage(64, 1, "hard_swish", squeeze_excite=True),
    ),
    head_expand=192,
    head_features=256,
)


class MobileNetV3Space(SearchSpace):
    """Stages of inverted residual blocks with elastic depth, kernel, expansion and resolution.

    Parameters
    ----------
    name : the registered name; another width than 1.0 is appended to it, as in ``mobilenet_v3_w1.2``.
    macro : the fixed part.
    depths : blocks a stage may have, ascending.
    kernels, expansions : choices of every block, ascending.
    resolutions : sides of the input image in pixels, ascending.
    width_mult : multiplies all channel numbers, each then made a multiple of eight.
    num_classes : outputs of the classifier.

    Raises
    ------
    ValueError : an empty or unsorted list of choices, an even kernel, a number that is not positive.
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
    ) -> None:
        self.macro = macro
        self.depths = _ascending("depths", depths)
        self.kernels = _ascending("kernels", kernels)
        self.expansions = _ascending("expansions", expansions)
        self.resolutions = _ascending("resolutions", resolutions)
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError(f"kernels must be odd, got {list(self.kernels)}")
        if width_mult <= 0:
            raise ValueError(f"width_mult must be positive, got {width_mult}")
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        self.width_mult = width_mult
        genes = [Gene("resolution", "resolution", "r", self.resolutions)]
        slots = [Slot("stem", "stem", context=("resolution",)), Slot("first", "first", context=("resolution",))]
        for stage in range(1, len(macro.stages) + 1):
            group = f"stage{stage}"
            genes.append(Gene(f"{group}_depth", "depth", "", self.depths))
            for block in range(1, self.depths[-1] + 1):
                place = f"{group}_block{block}"
                needs = (f"{group}_depth", block) if block > self.depths[0] else None
                kernel = Gene(f"{place}_kernel", "kernel", "k", self.kernels, needs=needs)
                expansion = Gene(f"{place}_expansion", "expansion", "e", self.expansions, needs=needs)
                genes += [kernel, expansion]
                slots.append(Slot(place, group, (kernel.name, expansion.name), ("resolution",), needs))
        slots.append(Slot("head", "head", context=("resolution",)))
        super().__init__(name if width_mult == 1 else f"{name}_w{width_mult:g}", genes, slots, num_classes)
        self._blocks = {
            f"stage{s}_block{b}": (s - 1, b) for s in range(1, len(macro.stages) + 1) for b in range(1, depths[-1] + 1)
        }

    @property
    def options(self) -> dict[str, Any]:
        """See `SearchSpace.options`."""
        return {
            "depths": list(self.depths),
            "kernels": list(self.kernels),
            "expansions": list(self.expansions),
            "resolutions": list(self.resolutions),
            "width_mult": self.width_mult,
            "num_classes": self.num_classes,
        }

    def _width(self, channels: int) -> int:
        return make_divisible(channels * self.width_mult)

    def slot_layers(self, slot: Slot, choice: Mapping[str, int]) -> tuple[LayerSpec, ...]:
        """See `SearchSpace.slot_layers`."""
        macro = self.macro
        resolution = choice["resolution"]
        if slot.name == "stem":
            channels = self._width(macro.stem_channels)
            return stem(channels, size=resolution, stride=macro.stem_stride, activation="hard_swish")
        size = -(-resolution // macro.stem_stride)
        if slot.name == "first":
            return mbconv(
                self._width(macro.stem_channels),
                self._width(macro.first_channels),
                size=size,
                kernel=3,
                stride=1,
                expansion=1,
                activation="relu",
            )
        strides = [stage.stride for stage in macro.stages]
        widths = [self._width(c) for c in (macro.first_channels, *(stage.channels for stage in macro.stages))]
        if slot.name == "head":
            return mobilenet_v3_head(
                widths[-1],
                size=_downsampled(size, strides),
                expand=self._width(macro.head_expand),
                features=self._width(macro.head_features),
                num_classes=self.num_classes,
            )
        index, block = self._blocks[slot.name]
        stage = macro.stages[index]
        first = block == 1
        return mbconv(
            widths[index if first else index + 1],
            widths[index + 1],
            size=_downsampled(size, strides[: index if first else index + 1]),
            kernel=choice[slot.genes[0]],
            stride=stage.stride if first else 1,
            expansion=choice[slot.genes[1]],
            activation=stage.activation,
            squeeze_excite=stage.squeeze_excite,
        )


def _ascending(name: str, values: Sequence[int]) -> tuple[int, ...]:
    if not values or any(v < 1 for v in values) or list(values) != sorted(set(values)):
        raise ValueError(f"{name} must be distinct positive integers in ascending order, got {list(values)}")
    return tuple(int(v) for v in values)


def _downsampled(size: int, strides: Sequence[int]) -> int:
    for stride in strides:
        size = -(-size // stride)
    return size


def mobilenet_v3(
    *,
    depths: Sequence[int] = (2, 3, 4),
    kernels: Sequence[int] = (3, 5, 7),
    expansions: Sequence[int] = (3, 4, 6),
    resolutions: Sequence[int] = tuple(range(128, 225, 4)),
    width_mult: float = 1.0,
    num_classes: int = 1000,
) -> MobileNetV3Space:
    """Once-for-all's MobileNetV3 space (7371^5 networks for one resolution)."""
    return MobileNetV3Space(
        "mobilenet_v3",
        ONCE_FOR_ALL,
        depths=depths,
        kernels=kernels,
        expansions=expansions,
        resolutions=resolutions,
        width_mult=width_mult,
        num_classes=num_classes,
    )


def mobilenet_v3_small_images(
    *,
    depths: Sequence[int] = (1, 2, 3),
    kernels: Sequence[int] = (3, 5),
    expansions: Sequence[int] = (2, 3, 4),
    resolutions: Sequence[int] = (32,),
    width_mult: float = 1.0,
    num_classes: int = 10,
) -> MobileNetV3Space:
    """The same family for images of about 32 x 32 pixels, small enough to train on a CPU."""
    return MobileNetV3Space(
        "mobilenet_v3_small_images",
        SMALL_IMAGES,
        depths=depths,
        kernels=kernels,
        expansions=expansions,
        resolutions=resolutions,
        width_mult=width_mult,
        num_classes=num_classes,
    )
