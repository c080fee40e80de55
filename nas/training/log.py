"""`log.jsonl`: one JSON object a line, appended while a run goes on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latency_tables.files import write_text

FILE = "log.jsonl"


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
    """The whole records of a log, without a last line that a killed run left unfinished; empty if there is none."""
    path = folder / FILE
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records
