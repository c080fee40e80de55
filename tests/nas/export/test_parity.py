"""Exported files against PyTorch, on real images, in their own runtimes; and files that were broken on purpose."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from subnets import FORMATS, TFLITE, random_subnets, small, some_images, trained_like, write

from nas.data import ImageData
from nas.errors import MissingExtra
from nas.export.inference import open_file
from nas.export.network_file import FileKind, network_file, read_metadata
from nas.export.onnx_graph import onnx_graph
from nas.export.parity import ParityFailed, check_parity
from nas.export.tflite_graph import tflite_graph
from nas.supernet import Subnet
from search_spaces import SPACES, LayerSpec, get_space


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", SPACES)
def test_twenty_random_subnets_of_every_space(
    name: str, form: str, tmp_path: Path, digits: ImageData, narrow_fbnet: None
) -> None:
    for subnet in random_subnets(name, seed=1):
        path = write(tmp_path, subnet, FileKind(form), batch=None)
        parity = check_parity(path, subnet, some_images(digits, subnet.resolution, 2))
        assert parity.n == 2
        assert parity.top1_agreement == 1


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("batch", [1, 3, None])
def test_any_batch_size(batch: int | None, form: str, tmp_path: Path, digits: ImageData) -> None:
    subnet = trained_like(get_space("mobilenet_v3_small_images"))
    path = write(tmp_path, subnet, FileKind(form), batch=batch)
    parity = check_parity(path, subnet, some_images(digits, 32, 7))
    assert parity.n == 7
    assert parity.max_abs_difference < 1e-3 * max(1, parity.max_abs_logit)
    assert not subnet.training


@pytest.mark.parametrize("nudge", [0.5, float("nan")])
def test_a_changed_weight_is_found(nudge: float, tmp_path: Path, digits: ImageData) -> None:
    subnet = trained_like(get_space("mobilenet_v3_small_images"))
    path = write(tmp_path, subnet)
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    array = numpy_helper.to_array(tensor).copy()
    array[0] += nudge
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(model, path)
    with pytest.raises(ParityFailed, match="differs from PyTorch"):
        check_parity(path, subnet, some_images(digits, 32))


@TFLITE
def test_a_changed_tflite_weight_is_found(tmp_path: Path, digits: ImageData) -> None:
    subnet = trained_like(get_space("mobilenet_v3_small_images"))
    path = write(tmp_path, subnet, FileKind("tflite"))
    content = bytearray(path.read_bytes())
    weight = next(m for m in subnet.modules() if isinstance(m, torch.nn.Linear)).weight.detach().numpy()
    place = content.find(weight[0].tobytes())
    assert place > 0
    content[place : place + weight[0].nbytes] = (weight[0] + 0.5).tobytes()
    path.write_bytes(content)
    with pytest.raises(ParityFailed, match="differs from PyTorch"):
        check_parity(path, subnet, some_images(digits, 32))


@pytest.mark.parametrize("form", FORMATS)
def test_other_normalisation_statistics_are_found(form: str, tmp_path: Path, digits: ImageData) -> None:
    subnet = trained_like(get_space("mobilenet_v3_small_images"))
    path = write(tmp_path, subnet, FileKind(form))
    next(m for m in subnet.modules() if isinstance(m, torch.nn.BatchNorm2d)).running_mean += 0.3
    with pytest.raises(ParityFailed):
        check_parity(path, subnet, some_images(digits, 32))


def nearly_equal(folder: Path, gap: float) -> tuple[Path, Subnet]:
    """A file and a network whose two first classes are so far apart, each the other way round; the largest is 1."""
    subnet = trained_like(get_space("mobilenet_v3_small_images"))
    linear = next(m for m in subnet.modules() if isinstance(m, torch.nn.Linear))
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias[:] = torch.tensor([1.0, 1 - gap, *[0.0] * 8])
        path = write(folder, subnet)
        linear.bias[1] = 1 + gap
    return path, subnet


def test_another_class_is_found_even_within_the_tolerance(tmp_path: Path, digits: ImageData) -> None:
    path, subnet = nearly_equal(tmp_path, 4e-4)
    with pytest.raises(ParityFailed, match="agrees on 0.0%"):
        check_parity(path, subnet, some_images(digits, 32))


def test_a_tie_may_be_decided_otherwise(tmp_path: Path, digits: ImageData) -> None:
    path, subnet = nearly_equal(tmp_path, 4e-5)
    assert check_parity(path, subnet, some_images(digits, 32)).top1_agreement == 0


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    subnet = trained_like(get_space("mobilenet_v3_small_images"))
    path = write(tmp_path, subnet, metadata={"classes": ["a", "b"], "mean": [0.5, 0.5, 0.5]})
    about = read_metadata(path)
    assert about["architecture"] == subnet.architecture
    assert json.loads(about["classes"]) == ["a", "b"]
    assert about["resolution"] == "32"
    assert about["opset"] == str(onnx.load(path).opset_import[0].version)
    assert len(about["weights_sha256"]) == 64
    with torch.no_grad():
        next(subnet.parameters()).add_(1)
    assert read_metadata(write(tmp_path, subnet))["weights_sha256"] != about["weights_sha256"]


def test_int8_onnx_is_a_valid_model_that_keeps_opset_and_metadata(tmp_path: Path, digits: ImageData) -> None:
    subnet = trained_like(get_space("mobilenet_v3_small_images"))
    calibration = some_images(digits, 32, 16).contiguous().numpy()
    path = write(tmp_path, subnet, FileKind("onnx", "int8"), batch=None, calibration=calibration)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {o.version for o in model.opset_import if o.domain == ""} == {17}
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in model.graph.node}
    assert read_metadata(path)["architecture"] == subnet.architecture
    assert check_shapes(path, digits)


def check_shapes(path: Path, digits: ImageData) -> bool:
    return all(open_file(path)(some_images(digits, 32, n).numpy()).shape == (n, 10) for n in (1, 3))


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "noise.onnx").write_bytes(b"no protobuf at all")
    with pytest.raises(ValueError, match="is not an ONNX model"):
        read_metadata(tmp_path / "noise.onnx")
    with pytest.raises(ValueError, match="cannot be read by onnxruntime"):
        open_file(tmp_path / "noise.onnx")
    for absent in (read_metadata, open_file):
        with pytest.raises(ValueError, match="there is no file"):
            absent(tmp_path / "absent.onnx")
    (tmp_path / "page.html").touch()
    with pytest.raises(ValueError, match=r"no exported network; known: .onnx, .tflite"):
        open_file(tmp_path / "page.html")


@TFLITE
def test_what_is_no_tflite_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "noise.tflite").write_bytes(b"no flatbuffer at all")
    with pytest.raises(ValueError, match="cannot be read by LiteRT"):
        open_file(tmp_path / "noise.tflite")


def test_mistakes_are_one_sentence(digits: ImageData) -> None:
    subnet = trained_like(get_space("mobilenet_v3_small_images"))
    images = some_images(digits, 32, 15).contiguous().numpy()
    with pytest.raises(ValueError, match="at least 16 training images to calibrate on, got 15"):
        network_file(subnet, FileKind("onnx", "int8"), calibration=images)
    with pytest.raises(ValueError, match="must be 3 x 32 x 32 as the network reads them, got 3 x 24 x 24"):
        network_file(subnet, FileKind("onnx", "int8"), calibration=np.zeros((16, 3, 24, 24), np.float32))
    with pytest.raises(ValueError, match="unknown format 'coreml'; known: onnx, tflite"):
        FileKind("coreml")
    with pytest.raises(ValueError, match="unknown precision 'int4'"):
        FileKind("onnx", "int4")


@TFLITE
def test_what_tflite_cannot_express_is_named_by_its_layer() -> None:
    fold = LayerSpec("x", "fold", 3, 3, 8)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="layer stem/x: TFLite export knows no kind 'fold'"):
        tflite_graph({"stem": (fold,)})
    strided = LayerSpec("pool", "avg_pool", 3, 3, 8, kernel=3, stride=2)
    with pytest.raises(ValueError, match="layer stem/pool: TFLite has no average pooling"):
        tflite_graph({"stem": (strided,)})
    subnet = trained_like(small("nasbench201"))
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        network_file(subnet, FileKind("tflite"), batch=0)


def test_layers_that_nobody_reads_are_left_out() -> None:
    specs = (
        LayerSpec("unread", "conv", 3, 3, 8, kernel=3),
        LayerSpec("read", "conv", 3, 5, 8, inputs=("",)),
        LayerSpec("last", "linear", 5 * 64, 2, 1, inputs=("read",)),
    )
    names = {node.name for node in onnx_graph({"only": specs}).graph.node}
    assert {"only/read"} <= names
    assert "only/unread" not in names


def test_images_of_another_size_are_refused(tmp_path: Path, digits: ImageData) -> None:
    subnet = trained_like(get_space("mobilenet_v3_small_images"))
    path = write(tmp_path, subnet)
    with pytest.raises(ValueError, match="must be 3 x 32 x 32 as the network reads them, got 3 x 28 x 28"):
        check_parity(path, subnet, some_images(digits, 28))
    with pytest.raises(ValueError, match="at least one image"):
        check_parity(path, subnet, some_images(digits, 32, 0))


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.export.network_file.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"ai-edge-litert is not installed; .*shrinkwrap-nas\[tflite\]"):
        FileKind("tflite").require()
    FileKind("onnx", "int8").require()
