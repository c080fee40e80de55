"""Networks on their way out: what is measured is what ships, and the record says what was found."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from nas.cli.console import track
from nas.data import DataSettings, ImageData, load_data, prepare
from nas.devices import Device
from nas.devices.protocol import Measurement, Protocol
from nas.devices.runtimes import file_kind
from nas.devices.spec import DeviceSpec
from nas.devices.transport import DeviceUnavailable
from nas.evaluation import evaluate_on_test
from nas.evaluation.calibrated_loss import calibrated_loss
from nas.evaluation.trained import TrainedSupernet
from nas.export.checked import calibrated_file, sentence
from nas.export.inference import open_file
from nas.export.network_file import FileKind
from nas.pipeline.deploy import deploy, evaluate_exported, measure_exported
from nas.pipeline.remarks import file_remarks
from nas.supernet import Supernet
from search_spaces import get_space

QUICK = Protocol(rounds=5, runs=1, seconds=0.05)
FLOAT, INT8 = FileKind(), FileKind("onnx", "int8")


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data(DataSettings(resolution=16))


@pytest.fixture(scope="module")
def trained(digits: ImageData) -> TrainedSupernet:
    torch.manual_seed(0)
    space = get_space("mobilenet_v3_small_images", resolutions=[16], width_mult=0.5)
    evaluated: Any = SimpleNamespace(objective="accuracy")
    return TrainedSupernet(Supernet(space), digits, evaluated)


class Shelf(Device):
    """A device that keeps what it was given to measure, and says how many bytes that was."""

    def measure_models(self, models: Any, *, progress: Any = None) -> Any:
        self.seen = {path.name: path.read_bytes() for path in models}
        found = [Measurement(float(len(content)), 1.0, 2.0, 3) for content in self.seen.values()]
        return SimpleNamespace(measurements=found)


def shelf(runtime: str, precision: str = "float32") -> Shelf:
    return Shelf(DeviceSpec("shelf", runtime=runtime, precision=precision))


def test_finalists_are_measured_as_they_would_ship(trained: TrainedSupernet) -> None:
    population = np.stack([trained.space.min, trained.space.max])
    sizes = {}
    for precision in ("float32", "int8"):
        device = shelf("onnxruntime", precision)
        latency, p10, p90 = measure_exported(trained, device, track)(population)
        assert (p10 == 1).all()
        assert (p90 == 2).all()
        sizes[precision] = latency
        models = [onnx.load_model_from_string(content) for content in device.seen.values()]
        quantised = ["QuantizeLinear" in {node.op_type for node in model.graph.node} for model in models]
        assert quantised == [precision == "int8"] * 2
        architectures = [{e.key: e.value for e in model.metadata_props}["architecture"] for model in models]
        assert architectures == trained.space.format(population)
    assert (sizes["int8"] < sizes["float32"]).all()


@pytest.mark.parametrize(("runtime", "precision"), [("onnxruntime", "float32"), ("onnxruntime", "int8")])
def test_a_device_that_takes_a_batch_is_given_files_of_that_batch(
    trained: TrainedSupernet, runtime: str, precision: str
) -> None:
    device = Shelf(DeviceSpec("shelf", runtime=runtime, precision=precision), batch=8)
    measure_exported(trained, device, track)(trained.space.min[None])
    (content,) = device.seen.values()
    model = onnx.load_model_from_string(content)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 8


def test_a_runtime_whose_files_are_not_exported_measures_a_stand_in(trained: TrainedSupernet) -> None:
    device = shelf("pytorch")
    measure_exported(trained, device, track)(trained.space.max[None])
    assert json.loads(device.seen["finalist0.json"])["architecture"] == trained.space.format(trained.space.max[None])[0]


@pytest.mark.skipif(find_spec("ai_edge_quantizer") is None, reason="needs the extra tflite")
def test_a_litert_device_gets_tflite_files(trained: TrainedSupernet) -> None:
    device = shelf("litert", "int8")
    measure_exported(trained, device, track)(trained.space.max[None])
    assert device.seen["finalist0.tflite"][4:8] == b"TFL3"


def test_an_int8_device_judges_networks_by_their_int8_files(trained: TrainedSupernet, tmp_path: Path) -> None:
    assert evaluate_exported(trained, shelf("onnxruntime")) is trained.evaluated
    evaluate = evaluate_exported(trained, shelf("onnxruntime", "int8"))
    (accuracy,) = evaluate(trained.space.min[None])
    device = shelf("onnxruntime", "int8")
    measure_exported(trained, device, track)(trained.space.min[None])
    path = tmp_path / "subnet.onnx"
    path.write_bytes(device.seen["finalist0.onnx"])
    data = trained.data
    images = prepare(data.validation.images, 16, data.mean, data.std).contiguous().numpy()
    outputs, labels = open_file(path)(images), data.validation.labels.numpy()
    assert accuracy == pytest.approx((outputs.argmax(1) == labels).mean())
    known, unknown = evaluate.losses(np.stack([trained.space.min, trained.space.max]))
    assert known == pytest.approx(calibrated_loss(outputs, labels))
    assert np.isnan(unknown)


def test_a_finalist_is_quantised_once(trained: TrainedSupernet, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[FileKind] = []

    def counted(subnet: Any, kind: FileKind, data: Any, *, batch: int) -> bytes:
        written.append(kind)
        return calibrated_file(subnet, kind, data, batch=batch)

    monkeypatch.setattr("nas.pipeline.deploy.calibrated_file", counted)
    fresh = replace(trained, files={})
    device = shelf("onnxruntime", "int8")
    both = np.stack([trained.space.min, trained.space.max])
    measure_exported(fresh, device, track)(both)
    first = dict(device.seen)
    measure_exported(fresh, device, track)(both)
    assert device.seen == first
    evaluate_exported(fresh, device)(both)
    assert written == [INT8, INT8]


def test_every_file_is_measured_and_described(trained: TrainedSupernet, tmp_path: Path) -> None:
    device = Device(DeviceSpec("here"), folder=tmp_path / "devices", protocol=QUICK)
    facts = deploy(
        trained, trained.subnet(trained.space.min), tmp_path, [FLOAT, INT8], max_accuracy_drop=1, device=device
    )
    assert facts["files"] == {
        "ONNX float32": "subnet.onnx",
        "ONNX int8": "subnet.int8.onnx",
        "weights": "subnet.safetensors",
    }
    costs = trained.space.costs(trained.space.min[None])
    for record, bytes_each in zip(facts["exports"], (4, 1), strict=True):
        assert record["latency"]["latency_ms"] > 0
        assert record["latency"]["runtime"] == "onnxruntime"
        assert f"{record['latency']['latency_ms']:.3g} ms in onnxruntime on here" in sentence(record)
        assert json.loads((tmp_path / (record["file"] + ".json")).read_text())["latency"] == record["latency"]
        assert record["bytes"] == (tmp_path / record["file"]).stat().st_size
        assert record["peak_activation_bytes"] == costs.peak_activation_bytes[0] * bytes_each / 4


def test_what_the_search_measured_is_the_latency_of_its_own_file(trained: TrainedSupernet, tmp_path: Path) -> None:
    known = {"accuracy": 0.5, "latency_ms": 123.0, "p10_ms": 120.0, "p90_ms": 130.0}
    device = Device(DeviceSpec("here"), folder=tmp_path / "devices", protocol=QUICK)
    subnet, kinds = trained.subnet(trained.space.min), [FLOAT, INT8]
    facts = deploy(trained, subnet, tmp_path, kinds, max_accuracy_drop=1, device=device, known=known)
    own, other = (record["latency"] for record in facts["exports"])
    assert own == {"device": "here", "runtime": "onnxruntime", "threads": 1} | {
        key: known[key] for key in ("latency_ms", "p10_ms", "p90_ms")
    }
    assert other["latency_ms"] < 100
    far = Device(DeviceSpec("board", transport="ssh", host="nowhere"))
    facts = deploy(trained, subnet, tmp_path, kinds, max_accuracy_drop=1, device=far, known=known)
    assert ["latency" in record for record in facts["exports"]] == [True, False]


def test_a_device_that_computes_in_float16_is_given_the_file_that_ships_and_measures_it_so(
    trained: TrainedSupernet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, asked = shelf("openvino", "float16"), []
    assert file_kind("openvino", "float16") == FLOAT
    measure_exported(trained, device, track)(trained.space.min[None])
    model = onnx.load_model_from_string(device.seen["finalist0.onnx"])
    assert "architecture" in {entry.key for entry in model.metadata_props}  # with its trained weights
    monkeypatch.setattr(device, "under", lambda spec, folder: asked.append(spec.precision) or device)
    subnet = trained.subnet(trained.space.min)
    deploy(trained, subnet, tmp_path, [FLOAT], device=device)
    assert asked == ["float16"]
    known = {"accuracy": 0.5, "latency_ms": 123.0, "p10_ms": 120.0, "p90_ms": 130.0}
    facts = deploy(trained, subnet, tmp_path, [FLOAT], device=device, known=known)
    assert facts["exports"][0]["latency"]["latency_ms"] == 123.0


def test_files_that_cannot_be_measured_are_not_lost(
    trained: TrainedSupernet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise DeviceUnavailable("cpu went silent")

    monkeypatch.setattr(Device, "measure_models", gone)
    device = Device(DeviceSpec("here"), folder=tmp_path / "devices", protocol=QUICK)
    facts = deploy(trained, trained.subnet(trained.space.min), tmp_path, [FLOAT], device=device)
    (record,) = facts["exports"]
    assert "latency" not in record
    assert json.loads((tmp_path / "subnet.onnx.json").read_text()) == record
    assert "subnet.onnx was not measured: cpu went silent." in file_remarks([record], facts["classes"])


@pytest.mark.parametrize("kind", [FLOAT, INT8])
def test_accuracies_are_those_of_the_file(kind: FileKind, trained: TrainedSupernet, tmp_path: Path) -> None:
    facts = deploy(trained, trained.subnet(trained.space.min), tmp_path, [kind], max_accuracy_drop=1)
    (record,) = facts["exports"]
    assert facts["test_accuracy"] == record["test_accuracy"]
    run = open_file(tmp_path / kind.file_name)
    data = trained.data
    for split, found in ((data.validation, record["accuracy"]), (data.test, record["test_accuracy"])):
        images = prepare(split.images, 16, data.mean, data.std).contiguous().numpy()
        assert found == pytest.approx(float((run(images).argmax(1) == split.labels.numpy()).mean()))
    in_pytorch = evaluate_on_test(trained.subnet(trained.space.min), data)
    expected = record["test_accuracy"] if kind == FLOAT else record["float32_test_accuracy"]
    assert expected == pytest.approx(in_pytorch)
    assert "latency" not in record


def test_balanced_accuracy_decides_where_it_is_the_objective(trained: TrainedSupernet, tmp_path: Path) -> None:
    evaluated: Any = SimpleNamespace(objective="balanced_accuracy")
    balanced = replace(trained, evaluated=evaluated, files={})
    (judged,) = evaluate_exported(balanced, shelf("onnxruntime", "int8"))(trained.space.min[None])
    facts = deploy(balanced, trained.subnet(trained.space.min), tmp_path, [INT8], max_accuracy_drop=1)
    (record,) = facts["exports"]
    assert judged == record["balanced_accuracy"]
    assert record["accuracy_drop"] == pytest.approx(record["float32_balanced_accuracy"] - record["balanced_accuracy"])
    assert facts["objective"] == record["objective"] == "balanced_accuracy"
    assert facts["test_balanced_accuracy"] == pytest.approx(np.mean(record["test"]["recall"]))
