"""The chosen network as a table: one row a layer, from the space's own layer specs."""

import pandas as pd

from search_spaces import LayerSpec, SearchSpace


def layer_table(space: SearchSpace, architecture: str) -> pd.DataFrame:
    """Layers of `architecture` in network order.

    Returns
    -------
    DataFrame with columns slot, layer, operator, kernel (with stride), channels and size (in and out, pixels),
    macs, params.

    Raises
    ------
    ValueError : not an architecture of `space`.
    """
    slots = zip(space.slots, space.layers(space.parse(architecture)), strict=True)
    return pd.DataFrame(
        [
            {
                "slot": slot.name,
                "layer": layer.name,
                "operator": operator(layer),
                "kernel": kernel(layer),
                "channels": f"{layer.in_channels} → {layer.out_channels}"
                if layer.in_channels != layer.out_channels
                else str(layer.in_channels),
                "size": f"{layer.size} → {layer.out_size}" if layer.size != layer.out_size else str(layer.size),
                "macs": layer.macs,
                "params": layer.params,
            }
            for slot, layers in slots
            for layer in layers
        ]
    )


def operator(layer: LayerSpec) -> str:
    """What a layer does, in words."""
    if layer.is_depthwise:
        name = "depthwise convolution"
    elif layer.kind == "conv":
        name = "convolution" if layer.groups == 1 else f"convolution in {layer.groups} groups"
    else:
        name = {"global_pool": "global average pooling", "mul": "multiplication", "add": "addition"}.get(
            layer.kind, layer.kind.replace("_", " ")
        )
    return name if layer.activation == "none" else f"{name}, {layer.activation.replace('_', '-')}"


def kernel(layer: LayerSpec) -> str:
    """Window and stride, empty where there is none."""
    if layer.kind != "conv" and layer.kernel == 1:
        return ""
    return f"{layer.kernel}×{layer.kernel}" + (f" / {layer.stride}" if layer.stride > 1 else "")
