"""The MobileNetV3 spaces: once-for-all's own, and a form for small images.

Searching for MobileNetV3, https://arxiv.org/abs/1905.02244; Once for all, https://arxiv.org/abs/1908.09791.
"""

from collections.abc import Sequence

from search_spaces.stages import Macro, Stage, StagedSpace

ONCE_FOR_ALL = Macro(
    stem_channels=16,
    stem_stride=2,
    first_channels=16,
    stages=(
        Stage(24, 2, "relu"),
        Stage(40, 2, "relu", squeeze_excite=True),
        Stage(80, 2, "hard_swish"),
        Stage(112, 1, "hard_swish", squeeze_excite=True),
        Stage(160, 2, "hard_swish", squeeze_excite=True),
    ),
    head_expand=960,
    head_features=1280,
    activation="hard_swish",
    first_activation="relu",
)

# Three downsamplings instead of five, so that 32 x 32 images still reach the last stage as 4 x 4 maps;
# widths chosen so that the max net costs about 9 M MACs, an epoch of CIFAR-10 a minute on two cores.
SMALL_IMAGES = Macro(
    stem_channels=8,
    stem_stride=1,
    first_channels=8,
    stages=(
        Stage(16, 2, "relu"),
        Stage(24, 2, "relu", squeeze_excite=True),
        Stage(32, 1, "hard_swish"),
        Stage(48, 2, "hard_swish", squeeze_excite=True),
        Stage(64, 1, "hard_swish", squeeze_excite=True),
    ),
    head_expand=192,
    head_features=256,
    activation="hard_swish",
    first_activation="relu",
)


def mobilenet_v3(
    *,
    depths: Sequence[int] = (2, 3, 4),
    kernels: Sequence[int] = (3, 5, 7),
    expansions: Sequence[int] = (3, 4, 6),
    resolutions: Sequence[int] = tuple(range(128, 225, 4)),
    width_mult: float = 1.0,
    num_classes: int = 1000,
    strides: Sequence[int] | None = None,
    stem_stride: int | None = None,
) -> StagedSpace:
    """Once-for-all's MobileNetV3 space: photographs on phones and CPUs.

    It has 7371^5 networks for one resolution. `DεpS <https://arxiv.org/abs/2407.06167>`_ has it for images of 32
    pixels, with a stem of stride 1, strides 1, 2, 2, 1, 2 and kernel 7: ``stem_stride=1, strides=(1, 2, 2, 1, 2),
    kernels=(7,), resolutions=(32,)``.
    """
    return StagedSpace(
        "mobilenet_v3",
        ONCE_FOR_ALL,
        depths=depths,
        kernels=kernels,
        expansions=expansions,
        resolutions=resolutions,
        width_mult=width_mult,
        num_classes=num_classes,
        strides=strides,
        stem_stride=stem_stride,
    )


def mobilenet_v3_small_images(
    *,
    depths: Sequence[int] = (1, 2, 3),
    kernels: Sequence[int] = (3, 5),
    expansions: Sequence[int] = (2, 3, 4),
    resolutions: Sequence[int] = (32,),
    width_mult: float = 1.0,
    num_classes: int = 10,
    strides: Sequence[int] | None = None,
    stem_stride: int | None = None,
) -> StagedSpace:
    """MobileNetV3 for images of about 32 x 32 pixels, small enough to train on a CPU."""
    return StagedSpace(
        "mobilenet_v3_small_images",
        SMALL_IMAGES,
        depths=depths,
        kernels=kernels,
        expansions=expansions,
        resolutions=resolutions,
        width_mult=width_mult,
        num_classes=num_classes,
        strides=strides,
        stem_stride=stem_stride,
    )
