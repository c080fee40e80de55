"""A scale behind a layer with weights is in the weights of exported files; everywhere else it is a layer."""

from dataclasses import replace

import numpy as np
import onnx
import torch

from nas.export.layer_graph import network_layers
from nas.export.onnx_graph import onnx_graph
from nas.supernet.layers import plain_layer
from nas.supernet.network import SlotModule
from search_spaces import LayerSpec, get_space
from tests.nas.export.test_other_formats import run_onnx

LAYERS = (
    LayerSpec("norm", "identity", 3, 3, 6, norm=True),
    LayerSpec("mix", "conv", 3, 8, 6, norm=True, inputs=("norm",)),
    LayerSpec("scale", "scale", 8, 8, 6, activation="relu", inputs=("mix",)),
    LayerSpec("residual", "conv", 8, 8, 6, bias=True, inputs=("scale",)),
    LayerSpec("second", "scale", 8, 8, 6, inputs=("residual",)),
    LayerSpec("sum", "add", 8, 8, 6, inputs=("second", "scale")),
    LayerSpec("pool", "global_pool", 8, 8, 6, inputs=("sum",)),
    LayerSpec("classify", "linear", 8, 4, 1, bias=True, inputs=("pool",)),
)


def exported(layers: tuple[LayerSpec, ...]) -> tuple[onnx.ModelProto, float]:
    """The file, and by how much it differs from PyTorch."""
    torch.manual_seed(0)
    slot = SlotModule({spec.name: plain_layer(spec) for spec in layers}, layers).eval()
    with torch.no_grad():
        for name, tensor in slot.state_dict().items():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5) if "running_var" in name else tensor.normal_(0, 0.5)
        images = torch.randn(2, 3, 6, 6)
        logits = slot(images).numpy()
    weights = {f"slots.all.{name}": tensor.numpy() for name, tensor in slot.state_dict().items()}
    model = onnx_graph({"all": layers}, weights=weights)
    return model, float(np.abs(run_onnx(model, images.numpy()) - logits).max())


def multiplications(model: onnx.ModelProto) -> int:
    return sum(node.op_type == "Mul" for node in model.graph.node)


def test_scales_go_into_the_weights_before_them() -> None:
    model, difference = exported(LAYERS)
    assert difference < 1e-5
    assert multiplications(model) == 0
    assert [node.op_type for node in model.graph.node].count("Relu") == 1


def test_scales_stay_where_they_cannot_go() -> None:
    for changed in (
        replace(LAYERS[1], activation="relu"),  # the scale is behind an activation
        replace(LAYERS[2], bias=True),
        replace(LAYERS[5], inputs=("second", "residual")),  # what is scaled is read as it was, too
    ):
        layers = tuple(changed if changed.name == spec.name else spec for spec in LAYERS)
        model, difference = exported(layers)
        assert difference < 1e-5
        assert multiplications(model) == 1


def test_attention_alone_multiplies_in_a_file_of_hybrid() -> None:
    space = get_space("hybrid", width_mult=0.1, depths=(2,), resolutions=(32,), num_classes=4)
    layers = network_layers(space, space.max)
    kinds = [spec.kind for slot in layers.values() for spec in slot]
    assert kinds.count("scale") > kinds.count("attention") == 8
    assert multiplications(onnx_graph(layers)) == 8
