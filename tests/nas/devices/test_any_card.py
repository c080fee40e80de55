"""Whatever a card or a table holds, reading it ends well or in one sentence."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from latency_tables.card import read_card
from latency_tables.table import read_rows
from nas.devices.registry import get_device, list_devices
from nas.devices.spec import DeviceSpec, read_spec

DEVICE = {"name": "x", "aliases": ["y"], "transport": "ssh", "host": "me@x", "threads": 2, "core": 0, "folder": "/tmp"}
TABLE = {"name": "x", "chip": "Fast", "threads": 1, "conditions": {"cpu": "A", "sessions": [{"noise": 0.1}]}}
ROWS = "space,architecture,resolution,batch,precision,latency_ms,p10_ms,p90_ms,runs\na,x,32,1,float32,1.5,1.4,1.6,9\n"

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("x" * 10_000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def answers(read: Any, path: Path) -> None:
    """It gives something, or a sentence of bounded length."""
    error = None
    try:
        read(path)
    except ValueError as caught:
        error = caught
    if error is not None:
        assert type(error) is ValueError
        assert "\n" not in str(error)
        assert len(str(error)) < 1_000 + len(str(path))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_changed_card(data: st.DataObject) -> None:
    content, read = data.draw(st.sampled_from([(DEVICE, read_spec), (TABLE, read_card)]))
    key = data.draw(st.sampled_from([*content, "unknown"]))
    changed: dict[str, Any] = {**content, key: data.draw(ANY)}
    if data.draw(st.booleans()):
        changed.pop(key)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.yaml"
        path.write_text(yaml.safe_dump(changed), encoding="utf-8")
        answers(read, path)


@settings(max_examples=100, deadline=None)
@given(
    text=st.text(max_size=200) | st.text(alphabet="[]{}:-&*!|>'\"\n \t,?%@`x1", max_size=80), cut=st.integers(0, 150)
)
def test_text_that_is_no_card_and_no_table(text: str, cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, start, read in (("x.yaml", yaml.safe_dump(DEVICE), read_spec), ("x.csv", ROWS, read_rows)):
            path = Path(folder) / name
            path.write_text(start[:cut] + text, encoding="utf-8")
            answers(read, path)


@settings(max_examples=60, deadline=None)
@given(cell=st.text(max_size=12) | st.floats().map(str) | st.integers().map(str), column=st.integers(0, 8))
def test_a_changed_cell(cell: str, column: int) -> None:
    cells = ROWS.split("\n")[1].split(",")
    cells[column] = cell
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        path.write_text(ROWS.split("\n")[0] + "\n" + ",".join(cells) + "\n", encoding="utf-8")
        answers(read_rows, path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"\0", b"name: x\nthreads: 2\nthreads: 3\n", b"[" * 10_000])
def test_bytes_that_are_no_card(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "x.yaml").write_bytes(content)
    answers(read_spec, tmp_path / "devices" / "x.yaml")
    assert get_device("cpu").spec == DeviceSpec("cpu", aliases=("local",))
    assert "pixel1" in [known.spec.name for known in list_devices()]
