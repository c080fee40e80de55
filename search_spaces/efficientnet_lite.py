"""EfficientNet-Lite0 as a search space: its max net is that network, so its trained weights can be taken.

EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, https://arxiv.org/abs/1905.11946; the Lite
form, made for phones (ReLU6, no squeeze-excite), https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
Sizes are pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from search_spaces.genes import Slot
from search_spaces.layers import LayerSpec
from search_spaces.stages import Macro, Stage, StagedSpace, ascending

RESOLUTIONS = tuple(range(96, 225, 16))
"""The network was trained at 224 pixels; below 96 its last stages see three pixels or less."""
EXPANSIONS = (3, 4, 5, 6)
"""The given ratio is 6: gentle steps down keep most of what was learnt."""
EPSILON = 1e-3


class EfficientNetLite0(StagedSpace):
    """Subnets of EfficientNet-Lite0: narrower inside blocks, without the last blocks of a stage, at fewer pixels.

    Parameters
    ----------
    kernels : choices of the blocks whose kernel is 5 in the given network; the others keep 3.
    expansions : ratios of inner to outer width, ascending; the given one is 6.
    resolutions : sides of the input image in pixels, ascending.
    num_classes : outputs of the classifier.

    Raises
    ------
    ValueError : a choice that the given network has not, or an unsorted list.
    """

    def __init__(
        self, *, kernels: Sequence[int], expansions: Sequence[int], resolutions: Sequence[int], num_classes: int
    ) -> None:
        wide = ascending("kernels", kernels)
        if wide[-1] != 5 or not set(wide) <= {3, 5}:
            raise ValueError(f"kernels of efficientnet_lite0 are [5] or [3, 5], got {list(wide)}")
        if ascending("expansions", expansions)[-1] != 6:
            raise ValueError(f"expansions of efficientnet_lite0 end with 6, the given ratio; got {list(expansions)}")
        stages = (
            Stage(24, 2, "relu6", depths=(1, 2), kernels=(3,)),
            Stage(40, 2, "relu6", depths=(1, 2), kernels=wide),
            Stage(80, 2, "relu6", depths=(2, 3), kernels=(3,)),
            Stage(112, 1, "relu6", depths=(2, 3), kernels=wide),
            Stage(192, 2, "relu6", depths=(2, 3, 4), kernels=wide),
            Stage(320, 1, "relu6", depths=(1,), kernels=(3,)),
        )
        super().__init__(
            "efficientnet_lite0",
            Macro(32, 2, 16, stages, 1280, None, "relu6", "relu6"),
            depths=(1,),
            kernels=wide,
            expansions=expansions,
            resolutions=resolutions,
            width_mult=1.0,
            num_classes=num_classes,
        )

    @property
    def options(self) -> dict[str, Any]:
        """See `SearchSpace.options`."""
        names = ("kernels", "expansions", "resolutions", "num_classes")
        return {name: value for name, value in super().options.items() if name in names}

    def slot_layers(self, slot: Slot, choice: Mapping[str, int]) -> tuple[LayerSpec, ...]:
        """See `SearchSpace.slot_layers`."""
        return tuple(_as_in_tensorflow(spec) for spec in super().slot_layers(slot, choice))


def _as_in_tensorflow(spec: LayerSpec) -> LayerSpec:
    """The layer with TensorFlow's padding, which is uneven where a stride leaves pixels over, and its epsilon."""
    if spec.kind != "conv":
        return spec
    total = max(0, (-(-spec.size // spec.stride) - 1) * spec.stride + spec.kernel - spec.size)
    before, after = total // 2, total - total // 2
    return replace(spec, epsilon=EPSILON, padding=(before, after, before, after))


def efficientnet_lite0(
    *,
    kernels: Sequence[int] = (5,),
    expansions: Sequence[int] = EXPANSIONS,
    resolutions: Sequence[int] = RESOLUTIONS,
    num_classes: int = 1000,
) -> EfficientNetLite0:
    """EfficientNet-Lite0, elastic: photographs, from trained weights (the extra pretrained)."""
    return EfficientNetLite0(kernels=kernels, expansions=expansions, resolutions=resolutions, num_classes=num_classes)
