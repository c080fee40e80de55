"""Which of several processes this one is, read from the environment that a launcher such as torchrun sets."""

import os
from dataclasses import dataclass

NEEDED = ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT")
ALL = (*NEEDED, "LOCAL_RANK")


@dataclass(frozen=True)
class Launched:
    """A process among those that work on one training.

    Attributes
    ----------
    n : how many there are.
    rank : number of this one.
    local : its number on this machine.
    """

    n: int = 1
    rank: int = 0
    local: int = 0


def launched() -> Launched:
    """Which process this is; the only one without a launcher.

    Raises
    ------
    ValueError : the variables do not fit together, as when an earlier program left some of them behind.
    """
    said = {name: os.environ[name] for name in ALL if os.environ.get(name)}
    if said.get("WORLD_SIZE", "1") == "1":
        return Launched()
    missing = [name for name in NEEDED if name not in said]
    odd = [name for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK") if not said.get(name, "0").isdecimal()]
    if missing or odd or not int(said["RANK"]) < int(said["WORLD_SIZE"]) <= 10_000:
        shown = ", ".join(f"{name}={value[:20]}" for name, value in said.items())
        why = f"without {', '.join(missing)}" if missing else "and cannot be"
        raise ValueError(
            f"the environment says that several processes train together ({shown}), {why}; start them with torchrun, "
            f"or type: unset {' '.join(said)}"
        )
    return Launched(int(said["WORLD_SIZE"]), int(said["RANK"]), int(said.get("LOCAL_RANK", "0")))


def is_helper() -> bool:
    """Whether this is one of several processes and not the first, which holds the run folder."""
    return _leniently().rank > 0


def is_one_of_several() -> bool:
    """Whether several processes work on one training."""
    return _leniently().n > 1


def _leniently() -> Launched:
    try:
        return launched()
    except ValueError:  # is said by what needs several processes
        return Launched()
