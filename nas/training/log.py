"""`log.jsonl`: one JSON object a line, appended while a run goes on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict
from typing_extensions import TypedDict

from latency_tables.files import parse_json, read_text, write_text

FILE = "log.jsonl"
MAX_BYTES = 256 * 2**20


class _Record(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    step: int


class RunLog:
    """The log in `folder`, rewound to `step`: records of later steps, which will come again, are dropped."""

    def __init__(self, folder: Path, step: int = 0) -> None:
        self.path = folder / FILE
        kept = [record for record in read_log(folder) if record["step"] <= step]
        write_text(self.path, "".join(json.dumps(record) + "\n" for record in kept))

    def write(self, record: Mapping[str, Any]) -> None:
        """Append `record`, which has a ``step``."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(record)) + "\n")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The whole records of a log, without a last line that a killed run left unfinished; empty if there is none.

    Raises
    ------
    ValueError : another line is no record.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    lines = read_text(path, max_bytes=MAX_BYTES).splitlines()
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(parse_json(line, _Record, f"{path}, line {number}"))
        except ValueError:
            if number < len(lines):
                raise ValueError(f"{path} is damaged in line {number}; remove the file") from None
    return [dict(record) for record in records]
