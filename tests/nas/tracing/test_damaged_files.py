"""Whatever is in a file of a given network, it is a network or one sentence."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from nas.tracing.program_file import CONFIGS, MODEL, read_program
from nas.tracing.weights import read_state_dict

VALUES = st.sampled_from([None, [], {}, "", "x", -1, True, [[]], {"config": {"a": 1}}, {"config": {"a": {}}}, {"a": 1}])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    torch.save(model.state_dict(), folder / "weights.pth")
    torch.export.save(torch.export.export(model, (torch.zeros(1, 3, 8, 8),)), folder / "net.pt2")
    return folder


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("name", ["weights.pth", "net.pt2"])
def test_a_damaged_file_is_one_sentence(name: str, files: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray((files / name).read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / name
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    said = ""
    try:
        (read_program if name.endswith(".pt2") else read_state_dict)(path)
    except ValueError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 500


def rewritten(files: Path, to: Path, changed: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(files / "net.pt2") as old, zipfile.ZipFile(to, "w", how) as new:
        for name in old.namelist():
            new.writestr(name, changed.get(name.partition("/")[2], old.read(name)))
    return to


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(part=st.sampled_from([MODEL, *CONFIGS]), value=VALUES)
def test_an_edited_part_is_one_sentence(files: Path, tmp_path: Path, part: str, value: Any) -> None:
    path = rewritten(files, tmp_path / "net.pt2", {part: json.dumps(value).encode()})
    with pytest.raises(ValueError, match=r"net\.pt2"):
        read_program(path)


def test_parts_that_nest_without_end_or_unpack_without_end_are_refused(files: Path, tmp_path: Path) -> None:
    deep = rewritten(files, tmp_path / "deep.pt2", {MODEL: b"[" * 100_000 + b"]" * 100_000})
    with pytest.raises(ValueError, match="is no JSON table"):
        read_program(deep)
    bomb = rewritten(files, tmp_path / "bomb.pt2", {"extra": bytes(10**8), MODEL: bytes(10**8)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="unpacks to far more than its size"):
        read_program(bomb)
