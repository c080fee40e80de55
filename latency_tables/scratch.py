"""Folders for temporary files that never stay: what killed processes leave is removed by the next one."""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MARK = ".scratch"
_NAME = re.compile(r"nas-[a-z0-9_]{8}")


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for temporary files, removed in the end; those that killed processes left are removed first."""
    for path in Path(tempfile.gettempdir()).glob("nas-*"):
        with suppress(OSError):
            if _NAME.fullmatch(path.name) and path.lstat().st_uid == os.getuid() and not path.is_symlink():
                _remove_unlocked(path)
    folder, handle = _locked_folder()
    try:
        yield folder
    finally:
        _empty(folder)
        os.close(handle)


def _locked_folder() -> tuple[Path, int]:
    """A new temporary folder, and the open handle of the mark in it: its lock says that its owner lives."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix="nas-"))
        with suppress(FileNotFoundError):  # another process took it for an abandoned one before its mark was locked
            handle = os.open(folder / _MARK, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            with suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_nlink:
                return folder, handle
            os.close(handle)


def _remove_unlocked(folder: Path) -> None:
    """Remove a temporary folder whose owner is gone, also one that it was just making or removing.

    Raises
    ------
    OSError : it is in use, or holds what is none of ours.
    """
    try:
        with (folder / _MARK).open("rb+") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _empty(folder)
    except FileNotFoundError:
        folder.rmdir()


def _empty(folder: Path) -> None:
    """Remove a temporary folder, its mark last: without one it would be taken for somebody else's."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _MARK:
                path.unlink(missing_ok=True)
        (folder / _MARK).unlink(missing_ok=True)
        folder.rmdir()
