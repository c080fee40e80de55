"""The blocks that mobile search spaces are made of, as layer lists.

Inverted residuals: MobileNetV2 (https://arxiv.org/abs/1801.04381); squeeze-excite inside them and
hard activations: MobileNetV3 (https://arxiv.org/abs/1905.02244).
"""

from search_spaces.layers import SLOT_INPUT, Activation, LayerSpec, make_divisible


def mbconv(
    in_channels: int,
    out_channels: int,
    *,
    size: int,
    kernel: int,
    stride: int,
    expansion: int,
    activation: Activation,
    squeeze_excite: bool = False,
) -> tuple[LayerSpec, ...]:
    """Inverted residual block: 1x1 expansion, depthwise convolution, optional gate, 1x1 projection.

    The expansion is left out when it is 1; the residual is there when stride and channels allow it. The
    gate squeezes to a quarter of the expanded channels. Channels inside are multiples of eight.
    """
    mid = make_divisible(in_channels * expansion) if expansion > 1 else in_channels
    layers = []
    source = SLOT_INPUT
    if expansion > 1:
        layers.append(LayerSpec("expand", "conv", in_channels, mid, size, activation=activation, norm=True))
        source = "expand"
    depthwise = LayerSpec(
        "depthwise", "conv", mid, mid, size, kernel, stride, mid, activation, norm=True, inputs=(source,)
    )
    layers.append(depthwise)
    source, out_size = "depthwise", depthwise.out_size
    if squeeze_excite:
        squeezed = make_divisible(mid // 4)
        layers += [
            LayerSpec("se_pool", "global_pool", mid, mid, out_size, inputs=("depthwise",)),
            LayerSpec("se_reduce", "conv", mid, squeezed, 1, activation="relu", bias=True, inputs=("se_pool",)),
            LayerSpec(
                "se_expand", "conv", squeezed, mid, 1, activation="hard_sigmoid", bias=True, inputs=("se_reduce",)
            ),
            LayerSpec("se_scale", "mul", mid, mid, out_size, inputs=("depthwise", "se_expand")),
        ]
        source = "se_scale"
    layers.append(LayerSpec("project", "conv", mid, out_channels, out_size, norm=True, inputs=(source,)))
    if stride == 1 and in_channels == out_channels:
        layers.append(LayerSpec("residual", "add", out_channels, out_channels, out_size, inputs=("project", "")))
    return tuple(layers)


def stem(out_channels: int, *, size: int, stride: int, activation: Activation) -> tuple[LayerSpec, ...]:
    """3x3 convolution from RGB."""
    return (LayerSpec("conv", "conv", 3, out_channels, size, 3, stride, activation=activation, norm=True),)


def mobile_head(
    in_channels: int, *, size: int, expand: int, features: int | None, activation: Activation, num_classes: int
) -> tuple[LayerSpec, ...]:
    """1x1 expansion, global pooling, feature mixing (no batch-norm, no bias; may be left out), classifier."""
    layers = [
        LayerSpec("expand", "conv", in_channels, expand, size, activation=activation, norm=True),
        LayerSpec("pool", "global_pool", expand, expand, size, inputs=("expand",)),
    ]
    if features:
        layers.append(LayerSpec("mix", "conv", expand, features, 1, activation=activation, inputs=("pool",)))
    last = layers[-1]
    return (*layers, LayerSpec("classify", "linear", last.out_channels, num_classes, 1, bias=True, inputs=(last.name,)))
