"""Ways in which a file may be wrong: edited, damaged, cut off, or no file at all."""

import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DEEP = "[" * 300 + "]" * 300
REPLACEMENTS: tuple[Any, ...] = (
    *(None, True, [], {}, "", "x", "../../evil", "[/nope]", "é\u202e\x00", "x" * 5000, "NaN", "1"),
    *(
        -1,
        0,
        1,
        3,
        0.5,
        1e-320,
        1e300,
        10**6,
        10**30,
        float("nan"),
        float("inf"),
        [1],
        [[]],
        {"a": 1},
        [None] * 7,
        "DEEP",
    ),
)
CELLS = ("", "nan", "inf", "x", "-1", "0", "1e999", "0.5", '"', "é", "a,b", "1" * 400)


def mutate(path: Path, rng: random.Random) -> str:
    """Make the file wrong in some way; what was done."""
    ways: list[Callable[[Path, random.Random], str]] = [_bytes]
    if path.suffix in (".json", ".jsonl"):
        ways += [_value] * 5
    elif path.suffix in (".csv", ".yaml"):
        ways += [_cell] * 3
    return f"{path.name}: {rng.choice(ways)(path, rng)}"


def _bytes(path: Path, rng: random.Random) -> str:
    content = path.read_bytes()
    way = rng.choice(
        ["cut", "cut", "flip", "flip", "flip", "empty", "not utf-8", "pipe", "folder", "gone", "link", "zeros"]
    )
    path.unlink()
    if way == "cut":
        path.write_bytes(content[: len(content) * rng.randrange(10) // 10])
    elif way == "flip":
        at = rng.randrange(max(1, len(content)))
        way = f"flip of byte {at}"
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :])
    elif way == "pipe":
        os.mkfifo(path)
    elif way == "folder":
        path.mkdir()
    elif way == "link":
        path.symlink_to(path)
    elif way != "gone":
        path.write_bytes({"empty": b"", "not utf-8": b"\xff\xfe{" + content, "zeros": b"\0" * len(content)}[way])
    return way


def _cell(path: Path, rng: random.Random) -> str:
    lines = path.read_text().splitlines()
    at = rng.randrange(len(lines))
    separator = "," if path.suffix == ".csv" else ": "
    cells = lines[at].split(separator)
    column, cell = rng.randrange(len(cells)), rng.choice(CELLS)
    cells[column] = cell
    lines[at] = separator.join(cells)
    path.write_text("\n".join(lines) + "\n")
    return f"line {at + 1}, cell {column + 1} = {cell[:20]!r}"


def _value(path: Path, rng: random.Random) -> str:
    """Delete or replace a value; a digest of the document, where it has one, is made to fit, as a forger would."""
    text = path.read_text()
    lines = text.splitlines()
    at = rng.randrange(len(lines)) if path.suffix == ".jsonl" else 0
    document = json.loads(lines[at] if path.suffix == ".jsonl" else text)
    places = list(_places(document))
    if not places:
        return _bytes(path, rng)
    where, container, key = rng.choice(places)
    if rng.random() < 0.2:
        del container[key]
        done = f"{where} deleted"
    else:
        container[key] = rng.choice(REPLACEMENTS)
        done = f"{where} = {str(container[key])[:20]!r}"
    if path.name == "state.json" and isinstance(document.get("sha256"), str):
        inner = {name: value for name, value in document.items() if name != "sha256"}
        document["sha256"] = hashlib.sha256(json.dumps(inner, sort_keys=True).encode()).hexdigest()
    new = json.dumps(document).replace('"DEEP"', DEEP)
    if path.suffix == ".jsonl":
        lines[at] = new
        new = "\n".join(lines) + "\n"
    path.write_text(new, errors="surrogatepass")
    if path.parent.name == "state" and path.name != "state.json":
        _fit_state(path)
    return done


def _fit_state(path: Path) -> None:
    state = path.with_name("state.json")
    document = json.loads(state.read_text())
    document["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    inner = {name: value for name, value in document.items() if name != "sha256"}
    document["sha256"] = hashlib.sha256(json.dumps(inner, sort_keys=True).encode()).hexdigest()
    state.write_text(json.dumps(document))


def _places(value: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        name = f"{where}.{key}"
        yield name, value, key
        yield from _places(item, name)
