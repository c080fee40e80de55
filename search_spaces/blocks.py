"""The blocks that mobile search spaces are made of, as layer lists.

Inverted residuals: MobileNetV2 (https://arxiv.org/abs/1801.04381); squeeze-excite inside them and
hard activations: MobileNetV3 (https://arxiv.org/abs/1905.02244). Bottleneck blocks: ResNet
(https://arxiv.org/abs/1512.03385), in the form D of "Bag of tricks" (https://arxiv.org/abs/1812.01187).
"""

from search_spaces.layers import SLOT_INPUT, Activation, LayerSpec, downsampled, make_divisible


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


def universal_bottleneck(
    in_channels: int,
    mid_channels: int,
    out_channels: int,
    *,
    size: int,
    stride: int,
    start: int,
    middle: int,
    layer_scale: bool = False,
) -> tuple[LayerSpec, ...]:
    """Block of MobileNetV4 (https://arxiv.org/abs/2404.10518): 1x1 expansion, 1x1 projection, up to two depthwise.

    `start` and `middle` are the kernels of the depthwise convolutions before the expansion and behind it, 0 for none:
    with both it is the extra depthwise block, with `middle` an inverted bottleneck, with `start` like ConvNeXt's, with
    neither a feed-forward block. The last depthwise convolution has the stride. ReLU; the residual is there where
    shapes allow. With `layer_scale` a number for each channel multiplies the output before it is added
    (https://arxiv.org/abs/2103.17239).
    """
    layers: list[LayerSpec] = []
    source = SLOT_INPUT
    if start:
        own_stride = 1 if middle else stride
        layers.append(
            LayerSpec("start", "conv", in_channels, in_channels, size, start, own_stride, in_channels, norm=True)
        )
        source, size = "start", downsampled(size, [own_stride])
    layers.append(
        LayerSpec("expand", "conv", in_channels, mid_channels, size, activation="relu", norm=True, inputs=(source,))
    )
    source = "expand"
    if middle:
        layers.append(
            LayerSpec(
                "middle",
                "conv",
                mid_channels,
                mid_channels,
                size,
                middle,
                stride,
                mid_channels,
                "relu",
                norm=True,
                inputs=(source,),
            )
        )
        source, size = "middle", downsampled(size, [stride])
    layers.append(LayerSpec("project", "conv", mid_channels, out_channels, size, norm=True, inputs=(source,)))
    if layer_scale:
        layers.append(LayerSpec("scale", "scale", out_channels, out_channels, size, inputs=("project",)))
    if stride == 1 and in_channels == out_channels:
        branch = layers[-1].name
        layers.append(LayerSpec("residual", "add", out_channels, out_channels, size, inputs=(branch, SLOT_INPUT)))
    return tuple(layers)


def mobile_attention(
    channels: int, *, size: int, heads: int, head_channels: int, key_stride: int | None
) -> tuple[LayerSpec, ...]:
    """Residual block of MobileNetV4 (https://arxiv.org/abs/2404.10518): multi-query attention over all pixels.

    Batch-norm; 1x1 convolutions to queries of `heads` heads and to one head of keys and values; attention; a 1x1
    convolution back, and a number for each channel that multiplies the result before it is added. Keys and values are
    made of maps that depthwise convolutions have made `key_stride` times smaller; with None of every pixel as it is.
    """
    inner = heads * head_channels
    layers = [
        LayerSpec("norm", "identity", channels, channels, size, norm=True),
        LayerSpec("query", "conv", channels, inner, size, inputs=("norm",)),
    ]
    for name in ("key", "value"):
        source, side = "norm", size
        if key_stride is not None:
            source = f"{name}_down"
            layers.append(
                LayerSpec(
                    source, "conv", channels, channels, size, 3, key_stride, channels, norm=True, inputs=("norm",)
                )
            )
            side = layers[-1].out_size
        layers.append(LayerSpec(name, "conv", channels, head_channels, side, inputs=(source,)))
    return (
        *layers,
        LayerSpec(
            "attention",
            "attention",
            inner,
            inner,
            size,
            stride=key_stride or 1,
            groups=heads,
            inputs=("query", "key", "value"),
        ),
        LayerSpec("project", "conv", inner, channels, size, inputs=("attention",)),
        LayerSpec("scale", "scale", channels, channels, size, inputs=("project",)),
        LayerSpec("residual", "add", channels, channels, size, inputs=("scale", SLOT_INPUT)),
    )


def bottleneck(
    in_channels: int, mid_channels: int, out_channels: int, *, size: int, stride: int, project: bool
) -> tuple[LayerSpec, ...]:
    """Residual block of a ResNet-D: 1x1, 3x3 (it has the stride) and 1x1 convolutions, ReLU after the addition.

    Where shapes change (`project`), the shortcut is a mean over `stride` x `stride` pixels and a 1x1 convolution.
    """
    out_size = downsampled(size, [stride])
    layers = [
        LayerSpec("reduce", "conv", in_channels, mid_channels, size, activation="relu", norm=True),
        LayerSpec(
            "conv",
            "conv",
            mid_channels,
            mid_channels,
            size,
            3,
            stride,
            activation="relu",
            norm=True,
            inputs=("reduce",),
        ),
        LayerSpec("expand", "conv", mid_channels, out_channels, out_size, norm=True, inputs=("conv",)),
    ]
    shortcut = SLOT_INPUT
    if project:
        if stride > 1:
            layers.append(LayerSpec("pool", "avg_pool", in_channels, in_channels, size, stride, stride, ceil_mode=True))
        source = "pool" if stride > 1 else SLOT_INPUT
        layers.append(LayerSpec("shortcut", "conv", in_channels, out_channels, out_size, norm=True, inputs=(source,)))
        shortcut = "shortcut"
    residual = LayerSpec(
        "residual", "add", out_channels, out_channels, out_size, activation="relu", inputs=("expand", shortcut)
    )
    return (*layers, residual)


def stem(out_channels: int, *, size: int, stride: int, activation: Activation) -> tuple[LayerSpec, ...]:
    """3x3 convolution from RGB."""
    return (LayerSpec("conv", "conv", 3, out_channels, size, 3, stride, activation=activation, norm=True),)


def mobile_head(
    in_channels: int,
    *,
    size: int,
    expand: int,
    features: int | None,
    activation: Activation,
    num_classes: int,
    features_norm: bool = False,
) -> tuple[LayerSpec, ...]:
    """1x1 expansion, global pooling, feature mixing (no bias; may be left out), classifier."""
    layers = [
        LayerSpec("expand", "conv", in_channels, expand, size, activation=activation, norm=True),
        LayerSpec("pool", "global_pool", expand, expand, size, inputs=("expand",)),
    ]
    if features:
        layers.append(
            LayerSpec("mix", "conv", expand, features, 1, activation=activation, norm=features_norm, inputs=("pool",))
        )
    last = layers[-1]
    return (*layers, LayerSpec("classify", "linear", last.out_channels, num_classes, 1, bias=True, inputs=(last.name,)))
