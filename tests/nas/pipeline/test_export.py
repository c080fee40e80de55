"""What keeps a finished search from being exported again is said before anything is written."""

from pathlib import Path
from typing import Any

import pytest

from nas.errors import MissingExtra
from nas.export.network_file import FileKind
from nas.pipeline.export import batch_of, export_again, keep_latencies, search_record
from nas.supernet import Subnet, save_subnet
from search_spaces import get_space


def test_a_missing_extra_is_said_before_any_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.export.network_file.find_spec", lambda name: None)
    kinds = [FileKind("onnx"), FileKind("tflite")]
    with pytest.raises(MissingExtra, match=r"ai-edge-litert is not installed; .*\[tflite\]"):
        export_again(tmp_path, [tmp_path / kind.file_name for kind in kinds], kinds)
    assert not list(tmp_path.iterdir())


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not the folder of a finished search: it has no result.json"):
        export_again(tmp_path, [tmp_path / "subnet.onnx"], [FileKind()])


def test_nothing_is_written_over_another_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(record: Any) -> None:
        raise AssertionError("its images were read")

    space = get_space("mobilenet_v3_small_images", resolutions=[16], width_mult=0.5)
    source, other, models = tmp_path / "source", tmp_path / "other", tmp_path / "models"
    for folder in (source, other, models):
        folder.mkdir()
    save_subnet(source / "subnet.safetensors", Subnet(space, space.min), {})
    (other / "result.json").write_text("{}")
    (models / "subnet.onnx").write_text("another network")
    monkeypatch.setattr("nas.pipeline.export.search_record", lambda folder: {"architecture": space.format(space.min)})
    monkeypatch.setattr("nas.pipeline.export.TrainedSupernet.of_search", never)
    with pytest.raises(ValueError, match="other is the folder of another search; name another place with --out PATH"):
        export_again(source, [other / "mine.onnx"], [FileKind()])
    with pytest.raises(ValueError, match=r"subnet.onnx is of another network, .*; name another place with --out PATH"):
        export_again(source, [models / "subnet.onnx"], [FileKind()])
    with pytest.raises(AssertionError, match="its images were read"):
        export_again(source, [source / "subnet.onnx"], [FileKind()])
    (source / "subnet.onnx.json").write_text('{"precision": "float32"}')
    with pytest.raises(ValueError, match=r"subnet.onnx is the network in float32, .* name another place"):
        export_again(source, [source / "subnet.onnx"], [FileKind("onnx", "int8")])


def test_a_record_beside_the_weights_of_another_network_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = get_space("mobilenet_v3_small_images", resolutions=[16], width_mult=0.5)
    save_subnet(tmp_path / "subnet.safetensors", Subnet(space, space.min), {})
    (tmp_path / "settings.json").touch()
    monkeypatch.setattr("nas.pipeline.export.search_record", lambda folder: {"architecture": space.format(space.max)})
    with pytest.raises(ValueError, match=f"of another network .* type: nas search --resume {tmp_path}$"):
        export_again(tmp_path, [tmp_path / "subnet.onnx"], [FileKind()])


def test_a_search_that_was_stopped_is_finished_in_the_folder_that_has_its_settings(tmp_path: Path) -> None:
    for folder in (tmp_path / "run" / "pixel", tmp_path / "alone"):
        folder.mkdir(parents=True)
        (folder / "search.json").touch()
    (tmp_path / "run" / "settings.json").touch()
    with pytest.raises(ValueError, match=f"to finish it, type: nas search --resume {tmp_path}/run$"):
        search_record(tmp_path / "run" / "pixel")
    with pytest.raises(ValueError, match="repeat its command to finish it$"):
        search_record(tmp_path / "alone")


def test_the_batch_of_a_search_is_the_one_that_it_was_asked_for() -> None:
    tflite, onnx = {"format": "tflite", "batch": 1}, {"format": "onnx", "batch": None}
    assert batch_of({"exports": [tflite, onnx | {"batch": 8}], "file_batch": None}) is None
    assert batch_of({"exports": [onnx | {"batch": 8}], "file_batch": 1}) == 1
    # By an earlier version.
    assert batch_of({"exports": [tflite, onnx]}) is None
    assert batch_of({"exports": [tflite | {"batch": 32}]}) == 32


def test_a_latency_is_kept_for_the_same_kind_of_file_at_the_same_batch(tmp_path: Path) -> None:
    onnx: dict[str, Any] = {"file": "subnet.onnx", "format": "onnx", "precision": "float32", "batch": 8}
    earlier = [onnx | {"latency": {"latency_ms": 8.0}}, onnx | {"precision": "int8", "latency": {"latency_ms": 4.0}}]
    new = [dict(onnx), onnx | {"batch": 1}, onnx | {"format": "tflite"}]
    keep_latencies(new, earlier, tmp_path)
    assert [export.get("latency") for export in new] == [{"latency_ms": 8.0}, None, None]
