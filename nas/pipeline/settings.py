"""The settings of a run as plain data, and back: for ``settings.json`` in its folder and for the command line.

A run is continued, or asked again, from ``settings.json``. A run folder may come from elsewhere, so every value is
checked against the typed settings of its verb, and none is evaluated, imported or called.
"""

import difflib
import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from latency_tables.files import check_value, read_json, shown, write_text
from nas.pipeline.passwords import hide_passwords

SETTINGS_FILE = "settings.json"
FORMAT = 1
NO_MORE = {"fit": {"seed"}}
"""Settings that earlier versions wrote, by verb, and that changed nothing."""

S = TypeVar("S")


@dataclass(frozen=True)
class RunSettings(Generic[S]):
    """What a run was asked for.

    Attributes
    ----------
    verb : ``search``, ``train`` and so on.
    settings : all of them, defaults included.
    command : what was typed, for the record.
    """

    verb: str
    settings: S
    command: str = ""

    def write(self, folder: Path) -> None:
        """Write ``settings.json`` into `folder`, with the password of a storage hidden."""
        document = {
            "format": FORMAT,
            "verb": self.verb,
            "command": hide_passwords(self.command),
            "settings": self.plain(),
        }
        write_text(folder / SETTINGS_FILE, json.dumps(document, indent=1) + "\n")

    def plain(self) -> dict[str, Any]:
        """The settings as they are written."""
        made = to_plain(self.settings)
        return made | {name: hide_passwords(made[name]) for name in ("storage",) if made.get(name) is not None}

    def with_typed(self, settings: S, typed: Iterable[str]) -> S:
        """These settings with the values that `settings` has under the keys `typed`, like ``budget.latency``."""
        made = to_plain(self.settings)
        new = to_plain(settings)
        for key in typed:
            made = _replaced(made, new, key.split("."))
        return from_plain(type(self.settings), made)


@dataclass
class _Document:
    format: int
    verb: str
    settings: dict[str, Any]
    command: str = ""


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
    if not path.exists():
        raise ValueError(f"{folder} is no run folder (it has no {SETTINGS_FILE}); runs are under runs/{verb}/")
    document = read_json(path, _Document)
    if document.format != FORMAT:
        raise ValueError(f"{path} has format {document.format}, this program reads {FORMAT}")
    if document.verb != verb:
        told = shown(document.verb)
        typed = shlex.quote(str(folder))
        raise ValueError(f"{folder} is a run of nas {told}; type: nas {told} --resume {typed}")
    known = {key: value for key, value in document.settings.items() if key not in NO_MORE.get(verb, ())}
    return RunSettings(verb, from_plain(settings, known, f"{path}: "), document.command)


def to_plain(settings: Any) -> dict[str, Any]:
    """A settings dataclass as JSON-able data, complete."""
    if hasattr(settings, "as_dict"):
        own: dict[str, Any] = settings.as_dict()
        return own
    values = {f.name: getattr(settings, f.name) for f in fields(settings)}
    return {name: to_plain(value) if is_dataclass(value) else value for name, value in values.items()}


def by_key(plain: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Plain settings by their whole key, like ``budget.latency``."""
    found: dict[str, Any] = {}
    for key, value in plain.items():
        found |= by_key(value, f"{where}{key}.") if isinstance(value, Mapping) else {f"{where}{key}": value}
    return found


def from_plain(kind: type[S], values: Mapping[str, Any], where: str = "") -> S:
    """Plain data as a settings dataclass; what is left out has its default.

    Parameters
    ----------
    kind : the class. Those with a ``from_dict`` make themselves; fields of the others have their types, strictly.
    where : stands before keys in messages.

    Raises
    ------
    ValueError : a key that there is not, one that is missing, or a value that is not of its type or cannot work.
    """
    hints = get_type_hints(kind)
    names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    for key in values:
        if key not in names:
            close = difflib.get_close_matches(str(key), names, n=1)
            hint = f"did you mean {close[0]}?" if close else "--cfg job prints all of them"
            raise ValueError(f"{where}there is no setting {shown(key)!r} here; {hint}")
    if hasattr(kind, "from_dict"):
        for name in names:
            if name in values and _is_value(hints[name]):
                check_value(values[name], hints[name], where + name)
        itself: S = getattr(kind, "from_dict")(values)  # noqa: B009 (mypy knows no such method of any class)
        return itself
    made = {name: _from_plain(hints[name], values[name], where + name) for name in names if name in values}
    for f in fields(kind):  # type: ignore[arg-type]
        if f.name not in made and f.default is MISSING and f.default_factory is MISSING:
            raise ValueError(f"{where}{f.name} is missing")
    return kind(**made)


def _from_plain(hint: Any, value: Any, key: str) -> Any:
    kind = inner_settings(hint)
    if kind is None or (value is None and type(None) in get_args(hint)):
        return check_value(value, hint, key)
    if not isinstance(value, Mapping):
        raise ValueError(f"{key} must be a mapping of settings, got {shown(value)}")
    return from_plain(kind, value, f"{key}.")


def _is_value(hint: Any) -> bool:
    """Whether a field of this type holds text, a number or a switch."""
    return set(members(hint)) <= {str, int, float, bool, NoneType}


def inner_settings(hint: Any) -> Any:
    """The settings dataclass that a field of this type holds; None if it holds a value."""
    return next((kind for kind in members(hint) if is_dataclass(kind)), None)


def members(hint: Any) -> tuple[Any, ...]:
    """The types that a field of this type may hold."""
    return get_args(hint) if isinstance(hint, UnionType) or get_origin(hint) is Union else (hint,)


def _replaced(old: dict[str, Any], new: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """`old` with the value at `path` taken from `new`."""
    first, rest = path[0], path[1:]
    if first not in new:
        raise ValueError(f"there is no setting {shown(first)!r} here; --cfg job prints all of them")
    return {
        **old,
        first: _replaced(old[first], new[first], rest) if rest and isinstance(new[first], dict) else new[first],
    }
