"""The chosen network as a table: one row a layer, from the space's own layer specs."""

import pandas as pd

from search_spaces import LayerSpec, SearchSpace

ARROW = " → "


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
                "channels": _change(layer.in_channels, layer.out_channels),
                "size": _change(layer.size, layer.out_size),
                "macs": layer.macs,
                "params": layer.params,
            }
            for slot, layers in slots
            for layer in layers
        ]
    )


def slot_table(layers: pd.DataFrame) -> pd.DataFrame:
    """The layer table summed up by slot: what its windows are, what goes in and out, its MACs and parameters."""

    def ends(values: pd.Series) -> str:
        first, last = values.iloc[0].split(ARROW)[0], values.iloc[-1].split(ARROW)[-1]
        return first if first == last else f"{first}{ARROW}{last}"

    weighted = layers["kernel"].where(layers["operator"].str.contains("convolution"), "")
    depthwise = layers["operator"].str.startswith("depthwise")
    windows = weighted.where(~depthwise, "depthwise " + weighted)
    # A gate's 1 x 1 convolutions on a single pixel say nothing about the shape of a block.
    windows = windows.where((layers["size"] != "1") | (layers["slot"].map(layers["slot"].value_counts()) == 1), "")
    return (
        layers.assign(windows=windows)
        .groupby("slot", sort=False)
        .agg(
            windows=("windows", lambda names: ", ".join(name for name in names if name)),
            channels=("channels", ends),
            size=("size", ends),
            macs=("macs", "sum"),
            params=("params", "sum"),
        )
        .reset_index()
    )


def operator(layer: LayerSpec) -> str:
    """What a layer does, in words."""
    if layer.is_depthwise:
        name = "depthwise convolution"
    elif layer.kind == "conv":
        name = "convolution" if layer.groups == 1 else f"convolution in {layer.groups} groups"
    elif layer.kind == "attention":
        name = f"multi-query attention, {layer.groups} head{'s' if layer.groups > 1 else ''}"
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


def _change(before: int, after: int) -> str:
    return str(before) if before == after else f"{before}{ARROW}{after}"
