"""Int8 files against PyTorch in their own runtimes: random subnets, and files that were broken on purpose."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from subnets import FORMATS, TFLITE, random_subnets, some_images, write

from nas.data import ImageData
from nas.export import checked
from nas.export.checked import export_checked
from nas.export.network_file import FileKind, network_file
from nas.export.parity import outputs
from nas.supernet import Subnet
from search_spaces import SPACES

N_SUBNETS = {"efficientnet_lite0": 4, "fbnet_imagenet": 5, "hybrid": 6}
"""Of spaces that cannot be made narrow, or whose networks have many layers; ten of the others."""


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", SPACES)
def test_random_subnets_of_every_space(
    name: str, form: str, tmp_path: Path, digits: ImageData, narrow_fbnet: None
) -> None:
    """Random weights say nothing of accuracy; the logits must follow all the same."""
    for subnet in random_subnets(name, seed=2, n=N_SUBNETS.get(name, 10)):
        images = some_images(digits, subnet.resolution, 16)
        path = write(tmp_path, subnet, FileKind(form, "int8"), calibration=images.contiguous().numpy())
        found = outputs(path, subnet, [images])
        error = np.linalg.norm(found.exported - found.expected) / np.linalg.norm(found.expected)
        assert error < 0.5, "another network would be off by about 1"


@pytest.mark.parametrize("form", FORMATS)
def test_an_int8_file_is_less_than_half_the_size(form: str, learnt: Subnet, digits: ImageData) -> None:
    images = some_images(digits, 16, 16).contiguous().numpy()
    int8 = network_file(learnt, FileKind(form, "int8"), calibration=images)
    assert len(int8) < 0.5 * len(network_file(learnt, FileKind(form)))


def broken_onnx(content: bytes) -> bytes:
    """The largest weight's integers in another order."""
    model = onnx.load_model_from_string(content)
    weight = max(
        (w for w in model.graph.initializer if w.data_type == onnx.TensorProto.INT8), key=lambda w: w.ByteSize()
    )
    array = numpy_helper.to_array(weight)
    weight.CopyFrom(numpy_helper.from_array(array[::-1].copy(), weight.name))
    return model.SerializeToString()


def broken_tflite(content: bytes) -> bytes:
    """The largest weight's integers in another order."""
    model = import_module("ai_edge_litert.schema_py_generated").ModelT.InitFromPackedBuf(content)
    largest = max((bytes(b.data) for b in model.buffers if b.data is not None), key=len)
    place = content.index(largest)
    return content[:place] + largest[::-1] + content[place + len(largest) :]


@pytest.mark.parametrize(
    ("form", "broken"), [("onnx", broken_onnx), pytest.param("tflite", broken_tflite, marks=TFLITE)]
)
def test_a_broken_int8_file_is_rejected(
    form: str, broken: Any, learnt: Subnet, digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = FileKind(form, "int8")
    assert export_checked(learnt, digits, tmp_path / kind.file_name, kind, max_accuracy_drop=0.05)["accepted"]
    whole = checked.network_file
    monkeypatch.setattr(checked, "network_file", lambda *rest, **options: broken(whole(*rest, **options)))
    record = export_checked(learnt, digits, tmp_path / kind.file_name, kind, max_accuracy_drop=0.05)
    assert not record["accepted"]
    assert record["accuracy_drop"] > 0.2
    assert sorted(path.name for path in tmp_path.glob(f"*.{form}")) == [f"subnet.int8.rejected.{form}"]
