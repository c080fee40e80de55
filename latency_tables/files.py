"""Files that are safe to write and safe to read.

Writing: a temporary file, fsync, rename, so that a reader never sees half of one; what killed processes leave is
removed by the next one. Reading: whatever lies at a path,
the caller gets a value of the type it asked for, or a `ValueError` of one sentence that names the file, the field and
what is wrong. pydantic checks the types (https://docs.pydantic.dev).

Lives in the lowest package because every other one reads and writes files.
"""

import fcntl
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, TypeAdapter, ValidationError

T = TypeVar("T")

MAX_BYTES = 32 * 2**20
"""Of a file that is read whole; the largest that the product writes, a list of 200,000 image names, is a third."""
MAX_DEPTH = 50
"""Of lists and mappings within each other; the product's own files have at most six."""
MAX_INTEGER = 10**300
"""Search spaces have more than 2**63 networks; larger integers than this are no floats either."""
MAX_SHOWN = 60
MAX_NAME = 100
_PARTIAL = ".partial"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is synced and becomes `path`, else it is removed.

    Raises
    ------
    OSError : the folder is not writable, or the disk is full; `path` is then as it was.
    """
    with atomic_paths(path) as (temporary,):
        yield temporary


@contextmanager
def atomic_paths(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """As `atomic_path`, of files in one folder that belong together.

    All are written before the first appears. The last one says that the others are there: the old one goes before they
    change, and the new one appears after them. So whoever finds the last one finds all, whenever the writer was killed.
    """
    folder = paths[0].parent
    folder.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder)
    made: list[tuple[Path, int]] = []
    try:
        for path in paths:
            made.append(_locked_file(path))
        temporaries = tuple(temporary for temporary, _ in made)
        yield temporaries
        for temporary in temporaries:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o644)
        if len(paths) > 1:
            paths[-1].unlink(missing_ok=True)
            _sync_folder(folder)
        for temporary, path in zip(temporaries, paths, strict=True):
            temporary.replace(path)
        _sync_folder(folder)
    except BaseException:
        for temporary, _ in made:
            with suppress(OSError):
                temporary.unlink()
        raise
    finally:
        for _, handle in made:
            os.close(handle)


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files that killed processes left in `folder`; those of others are locked and stay."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(_PARTIAL) and entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                with suppress(OSError), open(entry.path, "rb+") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(entry.path)


def _locked_file(path: Path) -> tuple[Path, int]:
    """A new temporary file beside `path`, and its open handle: the lock says that its writer lives."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PARTIAL)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_nlink:  # else it was taken for an abandoned one before it was locked
            return Path(name), handle
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Make sure that a rename survives a loss of power."""
    with suppress(OSError):  # not every file system can
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_text(path: Path, *, max_bytes: int = MAX_BYTES) -> str:
    """The text of a regular file.

    Raises
    ------
    ValueError : it is not there, not readable, no regular file (a folder, a pipe, a device), larger than `max_bytes`,
        or not UTF-8.
    """
    check_regular(path)
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise ValueError(f"{shown(str(path), 200)} cannot be read: {error.strerror or error}") from error
    if len(content) > max_bytes:
        raise ValueError(f"{path} is larger than {max_bytes / 2**20:g} MiB, the most that is read of such a file")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: byte {error.start} is 0x{content[error.start]:02x}") from error


def file_digest(path: Path) -> str:
    """SHA-256 of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_regular(path: Path) -> None:
    """Refuse what is no file with contents: opening a pipe or a device may wait for ever, or do something.

    Raises
    ------
    ValueError : it is not there, or is a folder, a pipe or a device.
    """
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise ValueError(f"{shown(str(path), 200)} cannot be read: {reason}") from error
    if not regular:
        raise ValueError(f"{path} is not a regular file")


def read_json(path: Path, model: type[T], *, max_bytes: int = MAX_BYTES) -> T:
    """A JSON file as a value of `model`.

    Parameters
    ----------
    model : what pydantic can validate: a dataclass, a TypedDict (of typing_extensions), a `BaseModel`,
        ``dict[str, float]`` and so on. Types are strict: the text "3" is no number. Not-a-number and infinity are
        refused anywhere.

    Raises
    ------
    ValueError : it cannot be read, is no JSON, or does not fit `model`.
    """
    return parse_json(read_text(path, max_bytes=max_bytes), model, str(path))


def parse_json(text: str | bytes, model: type[T], name: str) -> T:
    """JSON text from within a file as a value of `model`, as `read_json`; `name` is what it is called in messages.

    Raises
    ------
    ValueError : it is no JSON, or does not fit `model`.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_repeats)
    except RecursionError as error:
        raise ValueError(f"{name} has more than {MAX_DEPTH} levels of lists and mappings") from error
    except ValueError as error:
        raise ValueError(f"{name} is not valid JSON: {error}") from error
    return check_value(value, model, name)


def read_yaml(path: Path, model: type[T], *, max_bytes: int = 2**20) -> T:
    """A YAML file as a value of `model`, as `read_json`; dates stay text, and aliases (``*name``) are refused.

    Raises
    ------
    ValueError : it cannot be read, is no YAML, or does not fit `model`.
    """
    text = read_text(path, max_bytes=max_bytes)
    try:
        value = yaml.load(text, _PlainLoader)  # a safe loader
    except RecursionError as error:
        raise ValueError(f"{path} has more than {MAX_DEPTH} levels of lists and mappings") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    return check_value(value, model, str(path))


def check_value(value: Any, model: type[T], name: str) -> T:
    """`value` (as read from JSON or YAML) as a value of `model`; `name` is that of its file or setting.

    Raises
    ------
    ValueError : it does not fit; the sentence names the field.
    """
    _check_plain(value, name)
    try:
        # Through JSON, whose rules for strict types are those wanted here: a list may become a tuple, text no number.
        found: T = _adapter(model).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise ValueError(f"{name}: {_sentence(error)}") from error
    return found


def from_fields(kind: Callable[..., T], settings: Mapping[str, Any], where: str) -> T:
    """A dataclass from a mapping of its fields; `where` stands before a field's name in messages.

    Raises
    ------
    ValueError : a field that there is not, or a value that cannot work.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(set(settings) - set(known)):
        raise ValueError(f"there is no setting {where}{shown(unknown[0])}; known: {', '.join(known)}")
    return kind(**settings)


def shown(value: Any, most: int = MAX_SHOWN) -> str:
    """`value` as it may stand in a message: text as it is, the rest as Python writes it; cut where it is long."""
    text = value if isinstance(value, str) else repr(value)
    text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def last_part(path: str) -> str:
    """The name of what lies at `path`, also where that is ``.`` or ends with ``..``."""
    return os.path.basename(os.path.abspath(path))


def plain_name(name: str) -> str:
    """`name`, if it can name a file in a folder and stays in that folder.

    Raises
    ------
    ValueError : empty, too long, ``.`` or ``..``, or with a character that separates folders or is not printable.
    """
    if not name or name in (".", "..") or any(c in "/\\:" or not c.isprintable() for c in name):
        raise ValueError(f"must be a plain name without / \\ : and control characters, got {shown(name)!r}")
    if len(name.encode()) > MAX_NAME:
        raise ValueError(f"must be a name of at most {MAX_NAME} bytes, got {shown(name)!r}")
    return name


PlainName = Annotated[str, AfterValidator(plain_name)]
"""A field that names a file or a folder within another."""


def inner_path(path: str) -> str:
    """`path`, if it is relative and leads to nothing but what lies in a folder.

    Raises
    ------
    ValueError : it is absolute, has ``..`` in it, or is not printable.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in path or not path.isprintable():
        raise ValueError(f"must be a relative path without .., got {shown(path)!r}")
    return path


InnerPath = Annotated[str, AfterValidator(inner_path)]
"""A field that leads to a file or a folder inside of another folder."""


_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


def _sentence(error: ValidationError) -> str:
    """The first thing that is wrong, and how many more there are."""
    first, *others = error.errors(include_url=False)
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{shown(part)}" for part in first["loc"]).lstrip(".")
    unknown = dict.fromkeys(("extra_forbidden", "unexpected_keyword_argument"), "is not a known field")
    said = {"missing": "is missing", **unknown}.get(first["type"], "")
    if first["type"] == "value_error":
        said = str(first["ctx"]["error"])
    elif not said:
        rule = first["msg"].removeprefix("Input ")
        said = f"{rule[0].lower()}{rule[1:]}, got {shown(repr(first['input']))}"
    more = f" (and {len(others)} more)" if others else ""
    return f"{field} {said}{more}".strip()


def _check_plain(value: Any, name: str) -> None:
    """Refuse what JSON cannot hold, or what breaks programs that read it; the value may contain itself."""
    level, waiting = 0, [value]
    while waiting:
        if level > MAX_DEPTH:
            raise ValueError(f"{name} has more than {MAX_DEPTH} levels of lists and mappings")
        inner: list[Any] = []
        for item in waiting:
            if isinstance(item, dict):
                if odd := [key for key in item if not isinstance(key, str)]:
                    raise ValueError(f"{name}: the key {shown(odd[0])} must be text; put it in quotes")
                inner += [*item.keys(), *item.values()]
            elif isinstance(item, list):
                inner += item
            elif isinstance(item, float) and not isfinite(item):
                raise ValueError(f"{name} holds {item}, which is no finite number")
            elif isinstance(item, int) and abs(item) > MAX_INTEGER:
                raise ValueError(f"{name} holds an integer that is too large")
            elif isinstance(item, str) and not item.isascii() and not _is_unicode(item):
                raise ValueError(f"{name} holds text that is not valid Unicode: {shown(item)!r}")
            elif not isinstance(item, str | int | float | None):
                raise ValueError(f"{name} holds a value of an unusual type: {shown(item)}")
        level, waiting = level + 1, inner


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is no finite number")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the field {shown(next(name for name in names if names.count(name) > 1))!r} appears twice")
    return found


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, which can make a small file endless, and without dates."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, "aliases (*name) are not allowed", mark)
        return super().compose_node(parent, index)
