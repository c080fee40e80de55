"""Under what conditions a study's numbers came about, and the rule for numbers of other conditions.

A study that writes its tables whole writes `machine` beside them. One whose tables grow from command to command puts
`made_on` into every row, or refuses to add where `differing` finds something. Rows from before that was so say that
the processor was not recorded.
"""

import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from latency_tables.files import write_text
from nas.devices import agent

ABSENT = "absent"


def processor() -> str:
    """The name of this machine's processor."""
    return str(agent.machine()["cpu"])


def installed(package: str) -> str:
    """The version of a package, or that there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ABSENT


def machine(*packages: str) -> dict[str, Any]:
    """What a reader must know of this machine and of the packages that were used."""
    facts = {key: value for key, value in agent.machine().items() if key in ("cpu", "cores", "load_average", "python")}
    return facts | {package: installed(package) for package in packages}


def made_on(*packages: str) -> str:
    """The same in one line, without what changes from minute to minute."""
    facts = machine()
    versions = [f"Python {platform.python_version()}", *(f"{package} {installed(package)}" for package in packages)]
    return ", ".join([facts["cpu"], f"{facts['cores']} cores", *versions])


def differing(path: Path, facts: Mapping[str, Any]) -> list[str]:
    """In what `facts` differ from those in the JSON file `path`, where it has them: "seed 0, not 1"."""
    if not path.is_file():
        return []
    known = json.loads(path.read_text(encoding="utf-8"))
    now = json.loads(json.dumps(facts))
    return [f"{key} {known[key]}, not {now[key]}" for key in now if key in known and known[key] != now[key]]


def write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Write facts as JSON."""
    write_text(path, json.dumps(facts, indent=1) + "\n")


def add_rows(path: Path, rows: Iterable[Mapping[str, Any]], keys: list[str]) -> None:
    """Add rows to a CSV file, in which those of the same `keys` are replaced; what is there stays as it is written."""
    new = _as_text(pd.DataFrame(rows).to_csv(index=False))
    if path.is_file():
        old = _as_text(path.read_text(encoding="utf-8"))
        new = pd.concat([old, new], ignore_index=True).fillna("")
        named = pd.MultiIndex.from_frame(new[keys])
        new = new.drop(index=new.index[: len(old)][named[: len(old)].isin(named[len(old) :])])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, new.to_csv(index=False))


def _as_text(table: str) -> pd.DataFrame:
    return pd.read_csv(StringIO(table), dtype=str, keep_default_na=False)
