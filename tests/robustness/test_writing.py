"""Files appear whole, those that belong together appear together, and what killed processes leave is removed."""

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest

from latency_tables.files import atomic_path, atomic_paths, write_text
from latency_tables.scratch import scratch_folder

STEPS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "open")


def write_killed(files: Path, before: int) -> bool:
    """Write two files that belong together, in a process that is killed before its step `before`; whether it was."""
    if (pid := os.fork()) == 0:
        done = 0

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal done
            if event in STEPS:
                if done == before:
                    os.kill(os.getpid(), signal.SIGKILL)
                done += 1

        try:
            sys.addaudithook(hook)
            with scratch_folder() as scratch, atomic_paths(files / "weights", files / "card") as (weights, card):
                (scratch / "x").touch()
                (scratch / "y").mkdir()
                (scratch / "y" / "z").touch()
                weights.write_text("new")
                card.write_text("new")
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("there", [False, True])
def test_killed_at_any_step_nothing_false_and_nothing_for_ever_is_left(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of two files never stands for another first, and the next process removes what is left."""
    files, temporary = tmp_path / "files", tmp_path / "tmp"
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    killed = True
    for step in range(100):
        for folder in (files, temporary):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        if there:
            write_text(files / "weights", "old")
            write_text(files / "card", "old")
        if not (killed := write_killed(files, step)):
            break
        found = {path.name: path.read_text() for path in files.iterdir() if path.name in ("weights", "card")}
        assert "card" not in found or found["card"] == found["weights"], step
        write_text(files / "other", "x")
        assert {path.name for path in files.iterdir()} <= {"weights", "card", "other"}, step
        with scratch_folder() as scratch:
            assert list(temporary.iterdir()) == [scratch], step
        assert not list(temporary.iterdir())
    assert step > 15
    assert not killed


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
