"""How the running job was asked for: what a verb is told besides its settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Call:
    """One job of the command line.

    Attributes
    ----------
    folder : its run folder.
    command : what was typed, for the record.
    typed : the keys of the settings that were given, like ``budget.latency``.
    """

    folder: Path
    command: str
    typed: frozenset[str] = frozenset()

    def says(self, key: str) -> bool:
        """Whether `key`, or something below it, was given."""
        return any(name == key or name.startswith(f"{key}.") for name in self.typed)

    def given_data(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Of all settings of the images those that were given; a group like ``digits`` says where they are, no more."""
        whole = ("name", "root") if "data" in self.typed else ()
        return {name: value for name, value in data.items() if name in whole or f"data.{name}" in self.typed}
