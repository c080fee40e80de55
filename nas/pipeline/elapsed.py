"""How long a search took, over all processes that worked on it one after the other."""

import json
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Self

from typing_extensions import TypedDict

from latency_tables.files import read_json, write_text
from nas.pipeline.run_folder import REFUSALS, SECONDS


class _Kept(TypedDict):
    seconds: float


class Elapsed:
    """Counts from when it is made, on top of what earlier processes needed in the same folder.

    Left as a context, it keeps that there, unless the work was refused.

    Parameters
    ----------
    folder : of the search.
    shared : seconds that were spent on this search and on others together; they are counted, and not kept.
    """

    def __init__(self, folder: Path, shared: float = 0.0) -> None:
        self.path, self.shared = folder / SECONDS, shared
        earlier = read_json(self.path, _Kept)["seconds"] if self.path.is_file() else 0.0
        self._began = perf_counter() - earlier

    @property
    def seconds(self) -> float:
        """So far."""
        return self.shared + perf_counter() - self._began

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.path.parent.is_dir() and not (kind is not None and issubclass(kind, REFUSALS)):
            write_text(self.path, json.dumps(_Kept(seconds=round(self.seconds - self.shared, 1))) + "\n")
