"""Files appear whole, those that belong together appear together, and what killed processes leave is removed."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from latency_tables.files import atomic_path, atomic_paths, scratch_folder, write_text

WRITE = """
import os, sys
from pathlib import Path
from latency_tables.files import atomic_paths, scratch_folder
renames, stop = 0, int(sys.argv[2])
def replace(self, target, rename=Path.replace):
    global renames
    if renames == stop:
        os.kill(os.getpid(), 9)
    renames += 1
    return rename(self, target)
Path.replace = replace
folder = Path(sys.argv[1])
with scratch_folder() as scratch, atomic_paths(folder / "weights", folder / "card") as (weights, card):
    (scratch / "x").touch()
    weights.write_text("new")
    card.write_text("new")
"""


def write_killed(folder: Path, before: int, temporary: Path) -> None:
    """Write two files in a process that is killed before its rename number `before`."""
    done = subprocess.run(
        [sys.executable, "-c", WRITE, str(folder), str(before)],
        env=os.environ | {"TMPDIR": str(temporary)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("there", [False, True])
def test_the_second_of_two_files_never_stands_for_another_first(before: int, there: bool, tmp_path: Path) -> None:
    if there:
        write_text(tmp_path / "weights", "old")
        write_text(tmp_path / "card", "old")
    write_killed(tmp_path, before, tmp_path)
    found = {path.name: path.read_text() for path in tmp_path.iterdir() if path.name in ("weights", "card")}
    assert "card" not in found or found["card"] == found["weights"]


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    write_killed(tmp_path, 0, temporary)
    assert list(tmp_path.glob(".*.partial"))
    assert list(temporary.iterdir())
    write_text(tmp_path / "other", "x")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["other"]
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with scratch_folder() as scratch:
        assert list(temporary.iterdir()) == [scratch]
    assert not list(temporary.iterdir())


def test_what_another_live_process_writes_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with atomic_path(tmp_path / "a") as first, scratch_folder() as scratch:
        first.write_text("a")
        write_text(tmp_path / "b", "b")
        with scratch_folder():
            assert scratch.is_dir()
        assert first.read_text() == "a"
    assert (tmp_path / "a").read_text() == "a"


def test_folders_of_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "nas-my-own-work").mkdir()
    with scratch_folder():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["nas-my-own-work"]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    write_text(tmp_path / "card", "old")
    with pytest.raises(RuntimeError), atomic_paths(tmp_path / "weights", tmp_path / "card"):
        raise RuntimeError
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("card", "old")]
