"""The ProxylessNAS spaces: once-for-all's (width 1.3) and the original one.

ProxylessNAS: direct neural architecture search on target task and hardware, https://arxiv.org/abs/1812.00332;
Once for all, https://arxiv.org/abs/1908.09791. MobileNetV2 blocks: ReLU6, no squeeze-excite.
"""

from collections.abc import Sequence

from search_spaces.stages import Macro, Stage, StagedSpace

PROXYLESS = Macro(
    stem_channels=32,
    stem_stride=2,
    first_channels=16,
    stages=(
        Stage(24, 2, "relu6"),
        Stage(40, 2, "relu6"),
        Stage(80, 2, "relu6"),
        Stage(96, 1, "relu6"),
        Stage(192, 2, "relu6"),
        Stage(320, 1, "relu6", depths=(1,)),
    ),
    head_expand=1280,
    head_features=None,
    activation="relu6",
    first_activation="relu6",
)


def proxylessnas(
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
    """Once-for-all's ProxylessNAS space: photographs, where gates and hard-swish are slow.

    Five stages have elastic depth, the last one has a single block.
    Once-for-all's published networks are of ``proxylessnas_w1.3``. The space that ProxylessNAS itself searched
    on a Pixel 1 is ``depths=(1, 2, 3, 4), expansions=(3, 6), resolutions=(224,)``.
    """
    return StagedSpace(
        "proxylessnas",
        PROXYLESS,
        depths=depths,
        kernels=kernels,
        expansions=expansions,
        resolutions=resolutions,
        width_mult=width_mult,
        num_classes=num_classes,
        strides=strides,
        stem_stride=stem_stride,
    )
