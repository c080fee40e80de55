"""The folder `conf/`: shipped recipes, spaces, data sets and devices, each a YAML file that says what differs.

In the repository it stands at the top, in an installed package below `nas/`, so that no other package meets its name.
"""

import re
from pathlib import Path
from typing import Any

from latency_tables.files import read_yaml, shown

_PACKAGE = Path(__file__).parents[1]
CONF = next((folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir()), _PACKAGE / "conf")


def choices(group: str) -> list[str]:
    """The names in a group, sorted; `group` is a folder of `conf/` such as ``recipe``."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def read_choice(group: str, name: str) -> dict[str, Any]:
    """What the file of that name says.

    Raises
    ------
    ValueError : there is none; lists those there are.
    """
    if name not in (known := choices(group)):
        raise ValueError(f"unknown {group} {shown(name)!r}; known: {', '.join(known)}")
    return read_yaml(CONF / group / f"{name}.yaml", dict[str, Any])


def set_by_experiment(name: str) -> set[str]:
    """The settings that an experiment's file sets, and the groups that it chooses from, such as ``recipe``.

    Raises
    ------
    ValueError : there is no such experiment.
    """
    said = read_choice("experiment", name)
    chosen = [str(entry) for choice in said.pop("defaults", []) if isinstance(choice, dict) for entry in choice]
    return {*said, *(re.split("[/@]", entry.removeprefix("override ").lstrip("/"))[0] for entry in chosen)}
