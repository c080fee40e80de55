"""A device that exists in tests alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.devices.transport import DeviceUnavailable, Events, Transport


class FakeBoard(Transport):
    """Says what an agent would say; every network takes as long as its file is large."""

    def __init__(self, vanish_after: int | None = None, cpu: str = "Fake CPU", board: str = "") -> None:
        self.vanish_after = vanish_after
        self.cpu = cpu
        self.board = board
        self.asked: list[int] = []

    def run(self, job: Mapping[str, Any], models: Mapping[str, Path], *, silence_s: float, limit_s: float) -> Events:
        self.asked.append(len(models) - 1)
        machine = {"cpu": self.cpu, "board": self.board, "cores": 4, "load_average": 0.0}
        yield {"event": "start", "machine": machine, "runtime_version": "1.0", "cores": [0]}
        for number in range(job["rounds"]):
            if number == self.vanish_after:
                raise DeviceUnavailable("the board went away")
            ms = {key: path.stat().st_size / 1e6 for key, path in models.items()}
            yield {"event": "round", "ms": ms, "runs": dict.fromkeys(models, job["runs"]), "waited": 0.0}
        yield {"event": "end", "load_average": 0.1}
