"""The graph builder by itself: valid models for every space, random weights that mean something, clear errors."""

import time

import numpy as np
import onnx
import onnxruntime
import pytest
from subnets import small

from nas.export.layer_graph import network_layers
from nas.export.onnx_graph import IR_VERSION, OPSET, onnx_graph
from search_spaces import SPACES, LayerSpec, get_space


def run(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"images": images})[0]


@pytest.mark.parametrize("name", SPACES)
def test_every_space_gives_finite_logits_that_depend_on_the_image(name: str) -> None:
    space = small(name)
    rng = np.random.default_rng(0)
    for genotype in [space.min, *space.sample(2, rng)]:
        model = onnx_graph(network_layers(space, genotype), batch=None)
        side = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
        logits = run(model, rng.standard_normal((2, 3, side, side), dtype=np.float32))
        assert logits.shape == (2, space.num_classes)
        assert np.isfinite(logits).all()
        assert not np.allclose(logits[0], logits[1])


def test_versions_are_stated_and_every_tensor_has_a_shape() -> None:
    space = get_space("mobilenet_v3_small_images")
    model = onnx_graph(network_layers(space, space.max))
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert model.ir_version == IR_VERSION
    known = {value.name for value in [*model.graph.value_info, *model.graph.output]}
    assert {output for node in model.graph.node for output in node.output} <= known


def test_a_small_net_takes_milliseconds() -> None:
    space = get_space("mobilenet_v3_small_images")
    networks = [network_layers(space, row) for row in space.sample(20, np.random.default_rng(0))]
    onnx_graph(networks[0])
    start = time.process_time()
    for layers in networks:
        onnx_graph(layers)
    assert (time.process_time() - start) / len(networks) < 0.1


def test_relu6_clips_at_six() -> None:
    layers = {
        "only": (
            LayerSpec("act", "add", 3, 3, 4, activation="relu6", inputs=("", "")),
            LayerSpec("classify", "linear", 3 * 16, 2, 1, bias=True, inputs=("act",)),
        )
    }
    model = onnx_graph(
        layers,
        weights={"slots.only.classify.linear.weight": np.eye(2, 48), "slots.only.classify.linear.bias": np.zeros(2)},
    )
    image = np.zeros((1, 3, 4, 4), dtype=np.float32)
    image[0, 0, 0, :2] = [-5, 50]
    assert run(model, image).tolist() == [[0, 6]]


def test_mistakes_are_one_sentence() -> None:
    space = get_space("mobilenet_v3_small_images")
    layers = network_layers(space, space.min)
    with pytest.raises(ValueError, match="no slots.stem.conv.conv.weight"):
        onnx_graph(layers, weights={})
    with pytest.raises(ValueError, match=r"has shape \(1,\), this network needs \(8, 3, 3, 3\)"):
        onnx_graph(layers, weights={"slots.stem.conv.conv.weight": np.zeros(1)})
    with pytest.raises(ValueError, match="batch must be at least 1"):
        onnx_graph(layers, batch=0)
    with pytest.raises(ValueError, match="no layers"):
        onnx_graph({"stem": ()})
    with pytest.raises(ValueError, match="knows no kind 'fold'"):
        onnx_graph({"stem": (LayerSpec("x", "fold", 3, 3, 8),)})  # type: ignore[arg-type]
