"""The settings of a run, in its folder, from which the run is continued or asked again.

``settings.json`` is plain data. A run folder may come from elsewhere, so every value is checked against the typed
settings of its verb (pydantic, strict), and none is evaluated, imported or called.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from latency_tables.files import write_text

SETTINGS_FILE = "settings.json"
FORMAT = 1
LARGEST_BYTES = 1_000_000
"""A settings file has a few thousand bytes; a larger one is something else."""

S = TypeVar("S")


@dataclass(frozen=True)
class RunSettings(Generic[S]):
    """What a run was asked for.

    Attributes
    ----------
    verb : ``search``, ``train`` and so on.
    settings : all of them, defaults included.
    typed : the keys among them that were given and not left at their default, like ``budget.latency``.
    command : what was typed, for the record.
    """

    verb: str
    settings: S
    typed: frozenset[str] = frozenset()
    command: str = ""

    def write(self, folder: Path) -> None:
        """Write ``settings.json`` into `folder`."""
        document = {
            "format": FORMAT,
            "verb": self.verb,
            "command": self.command,
            "typed": sorted(self.typed),
            "settings": asdict(self.settings),  # type: ignore[call-overload]
        }
        write_text(folder / SETTINGS_FILE, json.dumps(document, indent=1) + "\n")

    def with_typed(self, settings: S, typed: Iterable[str]) -> S:
        """These settings with the values that `settings` has under the keys `typed`."""
        made = self.settings
        for key in typed:
            made = _replaced(made, settings, key.split("."))
        return made


@dataclass
class _Document(Generic[S]):
    format: int
    verb: str
    settings: dict[str, Any]
    command: str = ""
    typed: list[str] = field(default_factory=list)


def read_settings(folder: Path, verb: str, settings: type[S]) -> RunSettings[S]:
    """Read the settings of the run in `folder`.

    Parameters
    ----------
    verb : what the folder shall be a run of.
    settings : the class of its settings.

    Raises
    ------
    ValueError : there are none, they are those of another verb, or a value is not of its type.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        raise ValueError(f"{folder} is no run folder (it has no {SETTINGS_FILE}); runs are under runs/{verb}/")
    if path.stat().st_size > LARGEST_BYTES:
        raise ValueError(f"{path} is not the settings of a run: it is larger than {LARGEST_BYTES:,} bytes")
    document = checked(_Document, path.read_bytes(), str(path))
    if document.format != FORMAT:
        raise ValueError(f"{path} has format {document.format}, this program reads {FORMAT}")
    if document.verb != verb:
        raise ValueError(f"{folder} is a run of nas {document.verb}; type: nas {document.verb} --resume {folder}")
    made = checked(settings, json.dumps(document.settings).encode(), f"{path}, settings")
    return RunSettings(verb, made, frozenset(document.typed), document.command)


def checked(kind: type[S], content: bytes, where: str) -> S:
    """JSON as a dataclass `kind`, every field of its declared type and no field besides.

    Raises
    ------
    ValueError : the first field that is wrong, in one sentence.
    """
    from pydantic import TypeAdapter, ValidationError  # its import takes longer than a refusal may

    adapter = TypeAdapter(kind)
    try:
        made: S = adapter.validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}{': ' if key else ''}{key}: {first['msg']}"[:500]) from error
    if unknown := _unknown(json.loads(content), asdict(made)):  # type: ignore[call-overload]
        raise ValueError(f"{where} has a key that is not known: {unknown}"[:500])
    return made


def _unknown(given: Any, kept: Any) -> str:
    """The first key of `given` that was not taken over into `kept`; empty if there is none."""
    if isinstance(given, Mapping) and isinstance(kept, Mapping):
        for key, value in given.items():
            if key not in kept:
                return str(key)
            if below := _unknown(value, kept[key]):
                return f"{key}.{below}"
    if isinstance(given, list) and isinstance(kept, list | tuple):
        return next(filter(None, map(_unknown, given, kept)), "")
    return ""


def _replaced(old: Any, new: Any, path: list[str]) -> Any:
    """`old` with the value at `path` taken from `new`; both are dataclasses or mappings."""
    if not path:
        return new
    first, rest = path[0], path[1:]
    if isinstance(old, Mapping):
        return {**old, first: _replaced(old.get(first, {}), new[first], rest)}
    return replace(old, **{first: _replaced(getattr(old, first), getattr(new, first), rest)})
