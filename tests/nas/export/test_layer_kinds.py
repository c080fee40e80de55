"""Every layer kind and activation, alone: PyTorch, its elastic form, and each file format compute the same."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from nas.export.ncnn_graph import ncnn_graph
from nas.export.onnx_graph import onnx_graph
from nas.export.quantization import quantize_onnx, quantize_tflite
from nas.export.tflite_graph import tflite_graph
from nas.supernet.layers import elastic_layer, extract_layer, plain_layer
from nas.supernet.network import SlotModule
from search_spaces import LayerSpec
from search_spaces.layers import JOINING, Activation, Kind
from tests.nas.export.test_other_formats import correlation, run_ncnn, run_onnx, run_tflite

SIDE = 10


def layer(kind: str, channels: int = 8, size: int = SIDE, **rest: object) -> LayerSpec:
    return LayerSpec("layer", kind, channels, channels, size, **rest)  # type: ignore[arg-type]


CASES = {
    "conv": layer("conv", kernel=3, norm=True, epsilon=1e-3),
    "conv 1x5": layer("conv", kernel=1, kernel_width=5, groups=8, bias=True),
    "conv 5x1": layer("conv", kernel=5, kernel_width=1, groups=8),
    "conv padded after": layer("conv", kernel=3, stride=2, padding=(0, 1, 0, 1), bias=True),
    "conv padded unevenly": layer("conv", kernel=5, stride=2, padding=(1, 2, 1, 2), groups=8),
    "conv unpadded": layer("conv", kernel=3, stride=2, padding=(0, 0, 0, 0)),
    "conv dilated": layer("conv", kernel=3, dilation=2, padding=(2, 2, 2, 2)),
    "conv as wide as the map": layer("conv", kernel=SIDE, padding=(0, 0, 0, 0), bias=True),
    "max_pool": layer("max_pool", kernel=3, stride=2),
    "max_pool over the edge": layer("max_pool", kernel=3, stride=2, padding=(0, 0, 0, 0), ceil_mode=True),
    "max_pool padded and over the edge": layer("max_pool", kernel=3, stride=2, padding=(1, 1, 1, 1), ceil_mode=True),
    "max_pool of one pixel at the edge": layer("max_pool", kernel=3, stride=3, padding=(0, 0, 0, 0), ceil_mode=True),
    "max_pool far over the edge": layer("max_pool", kernel=8, stride=8, padding=(0, 0, 0, 0), ceil_mode=True),
    "max_pool padded after": layer("max_pool", kernel=3, stride=2, padding=(0, 1, 0, 1)),
    "avg_pool": layer("avg_pool", kernel=3),
    "avg_pool unpadded": layer("avg_pool", kernel=2, stride=2, padding=(0, 0, 0, 0)),
    "avg_pool over the edge": layer("avg_pool", kernel=4, stride=4, padding=(0, 0, 0, 0), ceil_mode=True),
    "global_pool": layer("global_pool"),
    "add": layer("add", inputs=("first", "second")),
    "mul": layer("mul", inputs=("first", "pooled")),
    "concat": LayerSpec("layer", "concat", 8, 20, SIDE, inputs=("first", "four", "second")),
    "slice": LayerSpec("layer", "slice", 8, 3, SIDE, start=4),
    "shuffle": layer("shuffle", groups=4),
    "upsample": layer("upsample", target=21),
    "upsample by 2.33": layer("upsample", size=SIDE, target=SIDE * 7 // 3),
    "pad": layer("pad", padding=(1, 2, 0, 1)),
    "layer_norm": layer("layer_norm", epsilon=1e-6),
    "scale": layer("scale"),
    "attention": layer("attention", groups=4, inputs=("second", "two", "slim")),
    "attention to fewer keys": LayerSpec(
        "layer", "attention", 8, 12, SIDE, stride=3, groups=2, inputs=("first", "few", "wide")
    ),
    "scale and shift": layer("scale", bias=True, frozen=True),
    "identity": layer("identity", norm=True),
    "zero": layer("zero"),
    "flatten": layer("flatten"),
    "linear": layer("linear", size=1, bias=True),
} | {activation: layer("identity", activation=activation) for activation in get_args(Activation)}
NO_TFLITE = {"avg_pool over the edge"}


def network(case: str) -> dict[str, list[LayerSpec]]:
    """A network around the layer: what it reads may be negative, and what comes out is told apart."""
    tested = CASES[case]
    stem = LayerSpec("stem", "conv", 3, 8, SIDE, 3, bias=True)
    if tested.kind in ("flatten", "linear"):
        return {"all": [stem, _layer("pooled", "global_pool", 8, "stem"), _reading(tested, "pooled")]}
    layers = [stem]
    if tested.kind in JOINING or tested.kind == "attention":
        layers += [
            _layer("first", "identity", 8, "stem", activation="hard_swish"),
            _layer("second", "conv", 8, "stem", kernel=3),
            _layer("four", "slice", 8, "stem", out=4),
            _layer("pooled", "global_pool", 8, "stem"),
            _layer("two", "slice", 8, "second", out=2, start=3),
            _layer("slim", "slice", 8, "first", out=2),
            _layer("few", "conv", 8, "second", out=4, kernel=3, stride=3),
            _layer("wide", "conv", 8, "first", out=6, kernel=3, stride=3),
        ]
        layers.append(tested)
    else:
        layers.append(_reading(tested, "stem"))
    out, size = tested.out_channels, tested.out_size
    tail = [LayerSpec("mix", "conv", out, 6, size, activation="hard_swish", bias=True, inputs=("layer",))]
    tail.append(LayerSpec("pool", "global_pool", 6, 6, size, inputs=("mix",)))
    tail.append(LayerSpec("classify", "linear", 6, 5, 1, bias=True, inputs=("pool",)))
    return {"all": layers + tail}


def _layer(name: str, kind: str, channels: int, source: str, out: int = 0, **rest: object) -> LayerSpec:
    return LayerSpec(name, kind, channels, out or channels, SIDE, inputs=(source,), **rest)  # type: ignore[arg-type]


def _reading(spec: LayerSpec, source: str) -> LayerSpec:
    return replace(spec, inputs=(source,))


def computed(case: str) -> tuple[dict[str, list[LayerSpec]], dict[str, np.ndarray], torch.Tensor, np.ndarray]:
    """Layers, weights, images and PyTorch's logits."""
    torch.manual_seed(0)
    layers = network(case)
    slot = SlotModule({spec.name: plain_layer(spec) for spec in layers["all"]}, layers["all"]).eval()
    with torch.no_grad():
        for name, tensor in slot.state_dict().items():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5) if "running_var" in name else tensor.normal_(0, 0.5)
        images = torch.randn(4, 3, SIDE, SIDE)
        logits = slot(images).numpy()
    weights = {f"slots.all.{name}": tensor.numpy() for name, tensor in slot.state_dict().items()}
    return layers, weights, images, logits


def assert_same(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.shape == expected.shape
    assert np.abs(expected[0] - expected[1]).max() > 1e-3 or not expected.any()
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(expected).max()))


def test_every_kind_and_activation_is_here() -> None:
    assert {spec.kind for spec in CASES.values()} == set(get_args(Kind))


@pytest.mark.parametrize("case", sorted(CASES.keys() - {"zero"}))
def test_onnx(case: str) -> None:
    layers, weights, images, logits = computed(case)
    assert_same(run_onnx(onnx_graph(layers, weights=weights), images.numpy()), logits)


@pytest.mark.parametrize("case", sorted(CASES.keys() - NO_TFLITE - {"zero"}))
def test_tflite(case: str) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs the extra tflite")
    layers, weights, images, logits = computed(case)
    assert_same(run_tflite(tflite_graph(layers, weights=weights), images.numpy()), logits)


@pytest.mark.parametrize("case", sorted(CASES.keys() - {"zero"}))
def test_ncnn(case: str) -> None:
    layers, weights, images, logits = computed(case)
    assert_same(run_ncnn(*ncnn_graph(layers, weights=weights), images[0].numpy()).ravel(), logits[0])


@pytest.mark.parametrize("case", CASES)
def test_int8_onnx(case: str) -> None:
    layers, weights, images, logits = computed(case)
    quantized = quantize_onnx(onnx_graph(layers, weights=weights), images.numpy())
    if logits.any() and case != "zero":
        assert correlation(run_onnx(quantized, images.numpy()), logits) > 0.97


@pytest.mark.parametrize("case", sorted(CASES.keys() - NO_TFLITE))
def test_int8_tflite(case: str) -> None:
    pytest.importorskip("ai_edge_quantizer", reason="needs the extra tflite")
    layers, weights, images, logits = computed(case)
    quantized = quantize_tflite(tflite_graph(layers, weights=weights), images.numpy())
    if case != "zero":
        assert correlation(run_tflite(quantized, images.numpy()), logits) > 0.97


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        (layer("layer_norm", 12), layer("layer_norm", 7, writes=((0, 3), (6, 10)))),
        (layer("scale", 12, bias=True), layer("scale", 7, bias=True)),
        (layer("identity", 12, norm=True), layer("identity", 7, norm=True, writes=((0, 3), (6, 10)))),
        (layer("conv", 12, kernel=5), layer("conv", 7, kernel=3, reads=((0, 3), (6, 10)), writes=((1, 8),))),
        (layer("conv", 12, groups=12, kernel=5, kernel_width=1), layer("conv", 7, groups=7, kernel=3, kernel_width=1)),
    ],
    ids=lambda spec: f"{spec.kind}{spec.kernel}",
)
def test_narrowed_is_extracted(wide: LayerSpec, narrow: LayerSpec) -> None:
    torch.manual_seed(0)
    elastic = elastic_layer([wide, narrow])
    for module in elastic.children():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
        module.narrow(narrow)  # type: ignore[operator]
    alone = extract_layer(elastic)
    x = torch.randn(3, 7, SIDE, SIDE)
    for training in (True, False, True):
        assert torch.equal(elastic.train(training)(x), alone.train(training)(x))
    if narrow.writes:
        kept = torch.cat([torch.arange(first, end) for first, end in narrow.writes])
        for key, tensor in alone.state_dict().items():
            if tensor.ndim == 1:
                assert torch.equal(elastic.state_dict()[key][kept], tensor)
