"""Can a folder be written into? Asked before the work whose result shall lie there."""

import os
from pathlib import Path

OUT_HINT = "name another place with --out PATH"
RUNS_HINT = "name another folder for supernets and devices with runs=PATH"


def check_writable(folder: Path, hint: str = OUT_HINT) -> None:
    """See that a run folder could be made at `folder`; nothing is made.

    Parameters
    ----------
    hint : what to do where it could not.

    Raises
    ------
    ValueError : it could not.
    """
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    except OSError as error:  # too long a name
        raise ValueError(not_writable(folder, error)) from error
    if not existing.is_dir():
        raise ValueError(f"{existing} is a file, not a folder; {hint}")
    longest = max(len(part.encode()) for part in folder.absolute().parts)
    if longest > 255:
        raise ValueError(f"a part of {str(folder)[:60]}... is {longest} bytes long, a file system takes 255")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"nothing can be written into {existing}; {hint}")


def not_writable(folder: Path, error: OSError) -> str:
    """What is said where a run folder cannot be made."""
    return f"the run folder {str(folder)[:200]} cannot be written: {error.strerror or error}; name one with --out PATH"
