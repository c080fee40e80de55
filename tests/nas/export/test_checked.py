"""What is written after it was checked: files with their JSON, refusals, rejections, and nothing half-written."""

import hashlib
import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.data import ImageData, prepare
from nas.evaluation.confusion import Confusion
from nas.export import checked
from nas.export.checked import Int8Judged, check_replaceable, export_checked, rejections
from nas.export.network_file import FileKind, describe, file_kinds
from nas.export.parity import Parity, ParityFailed
from nas.supernet import Subnet

TFLITE = pytest.mark.skipif(
    find_spec("ai_edge_litert") is None or find_spec("ai_edge_quantizer") is None,
    reason="needs the extra tflite: pip install 'shrinkwrap-nas[tflite]'",
)
FORMATS = ["onnx", pytest.param("tflite", marks=TFLITE)]
INT8 = FileKind("onnx", "int8")


def test_kinds_are_every_combination_once() -> None:
    names = [kind.file_name for kind in file_kinds("onnx, tflite", "float32,int8,int8")]
    assert names == ["subnet.onnx", "subnet.tflite", "subnet.int8.onnx", "subnet.int8.tflite"]
    with pytest.raises(ValueError, match="unknown precision 'int4'"):
        file_kinds("onnx", "int4")


@pytest.mark.parametrize("form", FORMATS)
def test_a_float32_file_and_what_is_said_of_it(form: str, learnt: Subnet, digits: ImageData, tmp_path: Path) -> None:
    kind = FileKind(form)
    record = export_checked(learnt, digits, tmp_path / kind.file_name, kind, provenance={"search": "here"})
    assert sorted(path.name for path in tmp_path.iterdir()) == [kind.file_name, kind.file_name + ".json"]
    beside = json.loads((tmp_path / (kind.file_name + ".json")).read_text())
    assert beside == json.loads(json.dumps(record))
    content = (tmp_path / kind.file_name).read_bytes()
    assert (beside["bytes"], beside["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert beside["parity"]["n"] >= 200
    assert beside["parity"]["top1_agreement"] == 1
    assert beside["parity"]["max_abs_difference"] < 1e-3
    assert beside["classes"] == list(digits.classes)
    assert (beside["mean"], beside["std"]) == (list(digits.mean), list(digits.std))
    assert beside["architecture"] == learnt.architecture
    assert beside["search"] == "here"
    assert 0.7 < min(beside["accuracy"], beside["test_accuracy"]) <= 1
    test = beside["test"]
    matrix = np.array(test["confusion_matrix"])
    assert matrix.sum() == len(digits.test) == test["images"]
    assert np.trace(matrix) / matrix.sum() == beside["test_accuracy"]
    np.testing.assert_allclose(np.diagonal(matrix) / matrix.sum(axis=1), test["recall"])
    assert np.mean(test["recall"]) == pytest.approx(beside["test_balanced_accuracy"])


@pytest.mark.parametrize("form", FORMATS)
def test_int8_keeps_the_accuracy_of_a_trained_network(
    form: str, learnt: Subnet, digits: ImageData, tmp_path: Path
) -> None:
    kind = FileKind(form, "int8")
    record = export_checked(learnt, digits, tmp_path / kind.file_name, kind, max_accuracy_drop=0.03)
    assert record["float32_accuracy"] > 0.7, "the fixture should have learnt something"
    assert record["accepted"]
    assert record["accuracy_drop"] == pytest.approx(record["float32_accuracy"] - record["accuracy"])
    assert record["parity"]["n"] == len(digits.validation)
    assert record["parity"]["top1_agreement"] > 0.9
    assert rejections([record]) == []


def test_an_int8_file_that_lost_too_much_is_marked(
    learnt: Subnet, digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / INT8.file_name
    for stale in (path, path.with_name(path.name + ".json")):
        stale.write_text("of an earlier export")

    def grey(data: ImageData, resolution: int, n_images: int) -> list[torch.Tensor]:
        return [torch.zeros(n_images, 3, resolution, resolution)]

    # Calibrated on nothing but grey, ranges are far too narrow.
    monkeypatch.setattr(checked, "calibration_batches", grey)
    record = export_checked(learnt, digits, path, INT8)
    assert not record["accepted"]
    assert record["accuracy_drop"] > 0.01
    assert sorted(p.name for p in tmp_path.iterdir()) == ["subnet.int8.rejected.onnx", "subnet.int8.rejected.onnx.json"]
    assert not json.loads((tmp_path / "subnet.int8.rejected.onnx.json").read_text())["accepted"]
    (sentence,) = rejections([record])
    assert "more than the 1 allowed: rejected" in sentence
    export_checked(learnt, digits, path, INT8, max_accuracy_drop=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["subnet.int8.onnx", "subnet.int8.onnx.json"]


@pytest.mark.parametrize("there", ["subnet.int8.onnx", "subnet.int8.rejected.onnx"])
def test_files_of_another_network_are_not_replaced(there: str, learnt: Subnet, tmp_path: Path) -> None:
    path, beside = tmp_path / INT8.file_name, tmp_path / f"{there}.json"
    check_replaceable([path], [INT8], learnt, "runs/b")
    (tmp_path / there).write_text("a network")
    refused = pytest.raises(ValueError, match=rf"{there} is of another network, .* name another place with --out PATH")
    for known in (None, "no JSON", '{"weights_sha256": "0", "search": "runs/a"}'):
        if known is not None:
            beside.write_text(known)
        with refused:
            check_replaceable([path], [INT8], learnt, "runs/b")
    check_replaceable([path], [INT8], learnt, "runs/a")
    beside.write_text(json.dumps({"weights_sha256": describe(learnt)["weights_sha256"], "search": "runs/a"}))
    check_replaceable([path], [INT8], learnt, "runs/b")


@pytest.mark.parametrize("there", ["net.onnx", "net.rejected.onnx"])
def test_a_file_of_the_same_network_in_another_precision_is_not_replaced(
    there: str, learnt: Subnet, tmp_path: Path
) -> None:
    known = {"weights_sha256": describe(learnt)["weights_sha256"], "precision": "float32"}
    (tmp_path / f"{there}.json").write_text(json.dumps(known))
    path = tmp_path / "net.onnx"
    for subnet in (learnt, None):
        with pytest.raises(ValueError, match=rf"{there} is the network in float32, .* another place with --out PATH"):
            check_replaceable([path], [INT8], subnet, "runs/a")
        check_replaceable([path], [FileKind()], subnet, "runs/a")


def test_the_images_compared_are_of_all_classes(learnt: Subnet, digits: ImageData) -> None:
    order = np.argsort(digits.validation.labels.numpy(), kind="stable")
    data = replace(digits, validation=digits.validation.take(order))
    images = checked._parity_images(learnt, data)
    split = prepare(data.validation.images, learnt.resolution, data.mean, data.std)
    rows = [int(np.flatnonzero((split == image).all(dim=(1, 2, 3)))[0]) for image in images]
    assert len(set(rows)) == 256
    assert set(data.validation.labels[rows].tolist()) == set(range(10))


def test_what_is_said_of_the_input_is_all_that_an_app_must_do(
    learnt: Subnet, digits: ImageData, tmp_path: Path
) -> None:
    record = export_checked(learnt, digits, tmp_path / "subnet.onnx", FileKind())
    assert (record["stored_resolution"], record["resolution"]) == (32, 16)
    assert record["input"].startswith("the middle square of the upright picture, resized to stored_resolution")
    assert "clipped to -128..127" in checked._input(FileKind("tflite", "int8"), 1, 16)


def test_a_drop_of_exactly_the_limit_is_allowed(
    learnt: Subnet, digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of(right: int) -> Confusion:
        return Confusion(np.diag([right, 0]) + np.array([[0, 1000 - right], [0, 0]]))

    for right, accepted in ((890, True), (889, False)):
        judged = Int8Judged(of(right), of(900), Parity(0.1, 1.0, 0.9, 1000), np.zeros((1000, 2), np.float32))
        monkeypatch.setattr(checked, "judge_int8", lambda *_, judged=judged: judged)
        assert export_checked(learnt, digits, tmp_path / INT8.file_name, INT8)["accepted"] is accepted


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_that_computes_something_else_is_not_written(
    form: str, learnt: Subnet, digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = FileKind(form)
    path = tmp_path / kind.file_name
    path.write_text("of an earlier export")
    torch.manual_seed(1)
    other = Subnet(learnt.space, learnt.genotype).eval()
    write = checked.network_file
    monkeypatch.setattr(checked, "network_file", lambda subnet, *rest, **options: write(other, *rest, **options))
    with pytest.raises(ParityFailed, match=f"{kind.file_name} differs from PyTorch"):
        export_checked(learnt, digits, path, kind)
    assert [p.name for p in tmp_path.iterdir()] == [kind.file_name]
    assert path.read_text() == "of an earlier export"


def test_a_failed_write_leaves_the_old_file(
    learnt: Subnet, digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "subnet.onnx"
    path.write_text("of an earlier export")
    write_bytes = Path.write_bytes

    def full_disk(self: Path, data: bytes) -> int:
        if self.parent == tmp_path:
            raise OSError(28, "No space left on device")
        return write_bytes(self, data)

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space left"):
        export_checked(learnt, digits, path, FileKind())
    assert path.read_text() == "of an earlier export"
    assert [p.name for p in tmp_path.iterdir()] == ["subnet.onnx"]


def test_a_folder_that_cannot_be_made_is_an_os_error(learnt: Subnet, digits: ImageData, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        export_checked(learnt, digits, tmp_path / "file" / "subnet.onnx", FileKind())


def test_too_few_training_images_for_int8(learnt: Subnet, digits: ImageData, tmp_path: Path) -> None:
    few: Any = replace(digits, train=digits.train.take(np.arange(9)))
    with pytest.raises(ValueError, match="at least 16 training images to calibrate on, got 9"):
        export_checked(learnt, few, tmp_path / INT8.file_name, INT8)
    assert list(tmp_path.iterdir()) == []
