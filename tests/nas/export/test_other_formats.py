"""TFLite and ncnn files, and int8, against ONNX Runtime in float32: the same network in every format."""

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from subnets import small

from nas.errors import MissingExtra
from nas.export.layer_graph import network_layers
from nas.export.ncnn_graph import ncnn_graph
from nas.export.onnx_graph import onnx_graph
from nas.export.quantization import quantize_onnx, quantize_tflite
from nas.export.tflite_graph import tflite_graph
from search_spaces import SPACES, LayerSpec, get_space

Floats = NDArray[np.float32]
SMALL = "mobilenet_v3_small_images"


def images_for(model: onnx.ModelProto, n: int = 1) -> Floats:
    side = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    return np.random.default_rng(0).standard_normal((n, 3, side, side), dtype=np.float32)


def run_onnx(model: onnx.ModelProto, images: Floats) -> Floats:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.concatenate([session.run(None, {"images": image[None]})[0] for image in images])


def run_tflite(content: bytes, images: Floats) -> Floats:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="needs the extra tflite").Interpreter(
        model_content=content, num_threads=1
    )
    runner = interpreter.get_signature_runner("serving_default")
    source, result = runner.get_input_details()["images"], runner.get_output_details()["logits"]
    outputs = []
    for image in images.transpose(0, 2, 3, 1)[:, None]:
        if source["dtype"] == np.int8:
            scale, zero = source["quantization"]
            image = np.clip(np.round(image / scale) + zero, -128, 127).astype(np.int8)
        output = runner(images=image)["logits"].astype(np.float32)
        scale, zero = result["quantization"]
        outputs.append((output - zero) * scale if scale else output)
    return np.concatenate(outputs)


def run_ncnn(text: str, weights: bytes, image: Floats) -> Floats:
    ncnn = pytest.importorskip("ncnn", reason="needs the extra runtimes")
    net = ncnn.Net()
    net.opt.num_threads = 1
    for option in dir(net.opt):
        if option.startswith(("use_fp16", "use_bf16")):
            setattr(net.opt, option, False)
    assert net.load_param_mem(text) == 0
    net.load_model_mem(weights)
    extractor = net.create_extractor()
    extractor.input("images", ncnn.Mat(image).clone())
    return np.array(extractor.extract("logits")[1])


def close(actual: Floats, expected: Floats) -> bool:
    # Random deep networks amplify rounding: a thousandth of the largest logit is what float32 leaves.
    return bool(np.abs(actual - expected).max() <= 1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("name", SPACES)
def test_tflite_computes_the_same(name: str) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs the extra tflite")
    space = small(name)
    for genotype in [space.min, *space.sample(3, np.random.default_rng(0))]:
        layers = network_layers(space, genotype)
        model = onnx_graph(layers)
        images = images_for(model)
        assert close(run_tflite(tflite_graph(layers), images), run_onnx(model, images))


@pytest.mark.parametrize("name", SPACES)
def test_ncnn_computes_the_same(name: str) -> None:
    space = small(name)
    for genotype in [space.min, *space.sample(3, np.random.default_rng(0))]:
        layers = network_layers(space, genotype)
        model = onnx_graph(layers)
        images = images_for(model)
        assert close(run_ncnn(*ncnn_graph(layers), images[0]), run_onnx(model, images)[0])


def test_every_kind_and_activation_has_its_place_in_every_format() -> None:
    """What no space uses today must not break silently tomorrow: norms and activations that stand alone."""
    square = {"in_channels": 8, "out_channels": 8, "size": 5}
    layers = {
        "stem": (LayerSpec("conv", "conv", 3, 8, 9, 3, 2, activation="relu6", bias=True),),
        "cell": (
            LayerSpec("preact", "identity", **square, activation="relu", norm=True),
            LayerSpec("pool", "avg_pool", **square, kernel=3, inputs=("preact",)),
            LayerSpec("none", "zero", **square, inputs=("preact",)),
            LayerSpec("grouped", "conv", **square, groups=2, activation="hard_swish", inputs=("pool",)),
            LayerSpec("shuffle", "shuffle", **square, groups=2, inputs=("grouped",)),
            LayerSpec("sum", "add", **square, activation="hard_sigmoid", inputs=("shuffle", "none")),
            LayerSpec("gate", "mul", **square, activation="relu6", inputs=("sum", "preact")),
        ),
        "head": (
            LayerSpec("global", "global_pool", **square),
            LayerSpec("classify", "linear", 8, 4, 1, bias=True, inputs=("global",)),
        ),
    }
    model = onnx_graph(layers)
    images = images_for(model, 2)
    expected = run_onnx(model, images)
    assert not np.allclose(expected[0], expected[1])
    assert close(run_ncnn(*ncnn_graph(layers), images[0]), expected[0])
    assert close(run_tflite(tflite_graph(layers), images), expected)


def test_tflite_takes_batches_and_metadata() -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="needs the extra tflite")
    space = get_space(SMALL)
    content = tflite_graph(network_layers(space, space.min), batch=4, metadata={"architecture": "r32"})
    interpreter = litert.Interpreter(model_content=content)
    assert interpreter.get_input_details()[0]["shape"].tolist() == [4, 32, 32, 3]
    assert interpreter.get_output_details()[0]["shape"].tolist() == [4, 10]
    assert b"architecture" in content
    assert content[4:8] == b"TFL3"


def test_int8_onnx_keeps_the_ranking_of_classes() -> None:
    space = get_space(SMALL)
    model = onnx_graph(network_layers(space, space.min), metadata={"architecture": "x"})
    images = images_for(model, 8)
    quantized = quantize_onnx(model, images)
    kinds = [node.op_type for node in quantized.graph.node]
    assert kinds.count("QuantizeLinear") > 20
    assert {entry.key: entry.value for entry in quantized.metadata_props} == {"architecture": "x", "precision": "int8"}
    assert len(quantized.SerializeToString()) < 0.6 * len(model.SerializeToString())
    assert correlation(run_onnx(quantized, images), run_onnx(model, images)) > 0.97


def test_int8_tflite_keeps_the_ranking_of_classes() -> None:
    pytest.importorskip("ai_edge_quantizer", reason="needs the extra tflite")
    space = get_space(SMALL)
    layers = network_layers(space, space.min)
    images = images_for(onnx_graph(layers), 8)
    content = tflite_graph(layers)
    quantized = quantize_tflite(content, images)
    assert len(quantized) < 0.6 * len(content)
    assert correlation(run_tflite(quantized, images), run_tflite(content, images)) > 0.97


def correlation(actual: Floats, expected: Floats) -> float:
    return float(np.corrcoef(actual.ravel(), expected.ravel())[0, 1])


def test_what_a_format_cannot_express_is_said() -> None:
    wide = {"head": (LayerSpec("classify", "linear", 48, 2, 4, bias=True),)}
    odd = {"cell": (LayerSpec("pool", "avg_pool", 3, 3, 8, kernel=3, stride=2),)}
    with pytest.raises(ValueError, match="ncnn export knows no kind 'fold'"):
        ncnn_graph({"x": (LayerSpec("x", "fold", 3, 3, 8),)})  # type: ignore[arg-type]
    pytest.importorskip("ai_edge_litert", reason="needs the extra tflite")
    with pytest.raises(ValueError, match="a linear layer reads a pooled feature map"):
        tflite_graph(wide)
    with pytest.raises(ValueError, match="no average pooling that leaves this padding out"):
        tflite_graph(odd)


def test_more_weights_than_a_file_holds_are_refused_before_they_are_made() -> None:
    layers = {"head": (LayerSpec("classify", "linear", 30_000, 20_000, 1),)}
    with pytest.raises(ValueError, match=r"has 2\.4 GB of weights, .* holds at most 2\.13 GB; take a narrower network"):
        onnx_graph(layers)
    pytest.importorskip("ai_edge_litert", reason="needs the extra tflite")
    with pytest.raises(ValueError, match=r"has 2\.4 GB of weights"):
        tflite_graph(layers)


def test_without_the_extra_one_sentence_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("nas.export.tflite_graph.import_module", absent)
    monkeypatch.setattr("nas.export.quantization.import_module", absent)
    space = get_space(SMALL)
    with pytest.raises(MissingExtra, match=r"ai-edge-litert is not installed; type: pip install .*\[tflite\]"):
        tflite_graph(network_layers(space, space.min))
    with pytest.raises(MissingExtra, match=r"ai-edge-quantizer is not installed; .*\[tflite\]"):
        quantize_tflite(b"", np.zeros((1, 3, 8, 8), dtype=np.float32))
