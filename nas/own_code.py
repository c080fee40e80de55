"""The files that a function of the user's own (``--model package.module:function``) is in; none of them is run.

They are all files of Python in the package, and in what it imports from beside it: an edit in any of them may make
another network.
"""

import hashlib
import os
import re
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from latency_tables.files import file_digest

_INSTALLED = ("site-packages", "dist-packages")
_IMPORT = re.compile(rb"^[ \t]*(?:from[ \t]+(\w+)|import[ \t]+([\w., \t]+))", re.MULTILINE)


def code_files(module: str) -> list[Path]:
    """Of the package that a module is in, found as Python would; none where there is no such module.

    Of what is installed among other packages, these are left out.
    """
    spec = _spec(module.partition(".")[0])
    if spec is None:
        return []
    places = [Path(place) for place in spec.submodule_search_locations or [spec.origin or ""]]
    folder = places[0].parent
    files = _python_files(places)
    if folder.name in _INSTALLED:
        return sorted(files)
    known, new = {module.partition(".")[0]}, files
    while new:
        names = {name for file in new for name in _imported(file)} - known
        known |= names
        new = _python_files(_place(folder, name) for name in names) - files
        files |= new
    return sorted(files)


def code_digest(module: str) -> str:
    """Of the contents of `code_files`, wherever they lie; empty where there are none."""
    files = code_files(module)
    if len(files) == 1:
        return file_digest(files[0])
    if not files:
        return ""
    top = os.path.commonpath(files)
    whole = [(os.path.relpath(file, top), file_digest(file)) for file in files]
    return hashlib.sha256(repr(whole).encode()).hexdigest()


def _spec(name: str) -> ModuleSpec | None:
    here = str(Path.cwd())
    for finder in sys.meta_path:
        # Others than the finder of paths look where they were told to: of editable installations, and what is built in.
        path = [here, *sys.path] if finder is PathFinder else None
        if (find := getattr(finder, "find_spec", None)) and (spec := find(name, path)):
            return spec  # type: ignore[no-any-return]
    return None


def _place(folder: Path, name: str) -> Path:
    """Of a module in a folder, if it has one; as in Python, a file goes before a folder without ``__init__.py``."""
    package, file = folder / name, folder / f"{name}.py"
    return file if file.is_file() and not (package / "__init__.py").is_file() else package


def _python_files(places: Iterable[Path]) -> set[Path]:
    """Those at or below each of the places that exist."""
    found: set[Path] = set()
    for place in places:
        if place.is_dir():
            found.update(file for file in place.rglob("*.py") if file.is_file())
        elif place.suffix == ".py" and place.is_file():
            found.add(place)
    return found


def _imported(file: Path) -> set[str]:
    """Names at the front of a file's imports."""
    names = set()
    for of_from, of_import in _IMPORT.findall(file.read_bytes()):
        names.update(re.findall(rb"(?:^|,)\s*(\w+)", of_from or of_import))
    return {name.decode() for name in names}
