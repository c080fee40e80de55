"""How the running job was asked for: what a verb is told besides its settings."""

from dataclasses import dataclass
from pathlib import Path


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
