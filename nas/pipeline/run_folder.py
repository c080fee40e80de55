"""A run folder belongs to one run: created for it alone, locked while it is in use.

The lock is the operating system's (filelock), so that of a process that died is free at once.
"""

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from latency_tables.files import plain_name, read_json, read_text, remove_abandoned, write_text
from latency_tables.writable import check_writable, not_writable
from nas.errors import Failure, InfeasibleBudget, MissingExtra
from nas.pipeline.settings import SETTINGS_FILE, RunSettings, by_key, read_settings
from nas.progress import SILENT, Listener
from nas.training.launched import is_helper, is_one_of_several

LOCK = ".lock"
OWNER = ".in_use.json"
SECONDS = "seconds.json"
"""How long was worked in a run folder; see `nas.pipeline.elapsed`."""
TRAINING = ("train", "search", "finetune")
"""Verbs whose work several processes may share (the first of them holds the folder), and that can be continued."""
REFUSALS = (ValueError, InfeasibleBudget, MissingExtra)
"""What ends a run before its work; other errors may come after hours of it."""
WAIT_S = 7 * 86_400
"""How long a run waits for another one's training; the lock of one that has died is free at once."""
MAY_DIFFER = {"json", "name", "runs", "threads", "accelerator", "usual_start"}
"""Settings that a run may be continued with whatever they were."""
MAY_CHANGE = MAY_DIFFER | {"data.root", "data.memory_gb", "data.workers", "storage"}
MAY_CHANGE |= {"samples", "baselines", "finetune_time", "format", "max_accuracy_drop"}
"""Those that may be typed anew with `--resume`: where things are, and what follows or adds to what was done."""
OF_A_SUPERNET = ("supernet", "data", "moved_data")
"""Those that may be typed anew where a supernet was given: its weights count, and the contents of the images."""


@dataclass(frozen=True)
class _Owner:
    """Who holds a folder, for others to read."""

    pid: int
    host: str
    since: str
    what: str


@contextmanager
def held_run_folder(
    run: RunSettings[Any],
    named: Path | None = None,
    resume: Path | None = None,
    *,
    note: Callable[[Path], None] = lambda folder: None,
) -> Iterator[Path]:
    """The folder of a run with its settings in it, held while the context lasts.

    It is removed if nothing was made in it, unless it was there before, or the run was interrupted and can go on there.
    Where a run is continued with other settings and these are refused, its own are written back.

    Parameters
    ----------
    named : the folder, which may hold the same run, killed earlier; a new one below ``runs/<verb>`` if None.
    resume : the folder of the run that is continued.
    note : called with the folder before anything is written there, so that an interruption at any later moment can
        name it.

    Raises
    ------
    ValueError : another run has or holds the folder, it cannot be written, or several processes train
        and none is named.
    """
    if named is not None:
        check_writable(named)
    place = resume or named
    if place is None and run.verb in TRAINING and is_one_of_several():
        raise ValueError(
            "several processes train together in one folder; name it, like --out runs/train/photos, or go on with a "
            "former run, --resume RUN"
        )
    own = Path(run.settings.runs) / run.verb
    above = [each for each in (place.parents if place is not None else (own, *own.parents)) if not each.exists()]
    folder = place or new_run_folder(own, getattr(run.settings, "name", None) or run.settings.label)
    note(folder)
    if run.verb in TRAINING and is_helper():
        yield folder
        return
    with in_use(folder, f"nas {run.verb}"):
        kept = (folder / SETTINGS_FILE).exists()
        before = None if resume is None else read_text(folder / SETTINGS_FILE)
        try:
            keep_settings(run, folder, changed=resume is not None)
            yield folder
        except REFUSALS:  # nothing was done by what was typed anew: the run can still be continued as it was
            if before is not None:
                write_text(folder / SETTINGS_FILE, before)
            raise
        except (KeyboardInterrupt, SystemExit):
            kept = kept or (run.verb in TRAINING and (folder / SETTINGS_FILE).exists())
            raise
        finally:
            if not kept:  # while it is held: a run that is refused must not remove the folder of another
                remove_if_unused(folder, above)


def new_run_folder(parent: Path, name: str) -> Path:
    """Create ``parent/<date>_<time>_<name>`` for one run; a number is put behind it where another run has it.

    Raises
    ------
    ValueError : `name` is no plain name, or nothing can be written there.
    """
    stem = f"{datetime.now():%Y-%m-%d_%H%M%S}_{plain_name(name)}"
    number = 1
    while True:
        folder = parent / (stem if number == 1 else f"{stem}_{number}")
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except FileExistsError:
            if not parent.is_dir():
                raise ValueError(f"{parent} is a file, not a folder") from None
            number += 1
        except OSError as error:
            raise ValueError(not_writable(folder, error)) from error
        else:
            return folder


@contextmanager
def in_use(folder: Path, what: str, *, wait: bool = False, listener: Listener = SILENT) -> Iterator[None]:
    """Hold `folder`, which is created if it is not there, while the context lasts.

    Parameters
    ----------
    what : this run, for others to read, like ``nas search``.
    wait : for another run to leave the folder, and say so, instead of raising.

    Raises
    ------
    ValueError : another run has the folder (the sentence says which), or nothing can be written there.
    Failure : it still has, after `WAIT_S`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise ValueError(f"{folder} is in use by {_owner(folder)}; name another folder, or wait") from None
            days = f"{WAIT_S / 86_400:.0f} days"
            listener.say(f"waiting for {_owner(folder)}, which works in {folder}, for {days} at most")
            try:
                lock.acquire(timeout=WAIT_S)
            except Timeout:
                raise Failure(f"{folder} has been in use by {_owner(folder)} for {days}; end it") from None
    except OSError as error:
        raise ValueError(not_writable(folder, error)) from error
    try:
        with suppress(OSError):  # a full disk is noticed by what the folder is for
            owner = _Owner(os.getpid(), socket.gethostname(), f"{datetime.now():%F %T}", what)
            write_text(folder / OWNER, json.dumps(asdict(owner)) + "\n")
        remove_abandoned(folder)
        yield
    finally:
        with suppress(OSError):
            (folder / OWNER).unlink()
        lock.release()
        with suppress(OSError):
            (folder / LOCK).unlink()


def say_folder(folder: Path, listener: Listener) -> None:
    """Name the folder before the long work, so that a run which is killed can be gone on with."""
    listener.say(f"run folder {folder}")


def remove_if_unused(folder: Path, above: Iterable[Path]) -> None:
    """Remove a run folder in which nothing was made, and those `above` it, made for it, that are empty then."""
    with suppress(OSError):
        if {path.name for path in folder.iterdir()} <= {SETTINGS_FILE, LOCK, OWNER, SECONDS, "multirun.yaml"}:
            shutil.rmtree(folder)
            for each in above:
                each.rmdir()  # raises where it holds something


def _owner(folder: Path) -> str:
    try:
        owner = read_json(folder / OWNER, _Owner)
    except ValueError:
        return "another run"
    return f"{owner.what} (process {owner.pid} on {owner.host}, since {owner.since})"


def keep_settings(run: RunSettings[Any], folder: Path, *, changed: bool = False) -> None:
    """Write the settings of a run into its folder; the same run typed again goes on there.

    Parameters
    ----------
    changed : whether it is continued with settings that may have been typed anew, `MAY_CHANGE`.

    Raises
    ------
    ValueError : another run is there.
    """
    if (folder / SETTINGS_FILE).exists():
        there, own = (by_key(each.plain()) for each in (read_settings(folder, run.verb, type(run.settings)), run))
        given = changed and None not in (own.get("supernet"), there.get("supernet"))
        for key in own:
            if own[key] == there.get(key) or key in (MAY_CHANGE if changed else MAY_DIFFER):
                continue
            if given and key.partition(".")[0] in OF_A_SUPERNET:
                continue
            if changed:
                raise ValueError(
                    f"{folder} was begun with another {key}, and goes on with that; leave it out, or leave --resume "
                    "out to begin a run of its own"
                )
            raise ValueError(f"{folder} holds another run, with another {key}; name another folder, or remove that one")
    run.write(folder)
