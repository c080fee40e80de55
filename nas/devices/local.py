"""This machine, in a process of its own."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.devices.transport import AGENT, Events, Transport, stream_events


@dataclass(frozen=True)
class Local(Transport):
    """Runs the agent with the interpreter that runs this program, or another one.

    Attributes
    ----------
    python : the interpreter, where the runtime is installed elsewhere.
    """

    python: str = sys.executable

    def run(self, job: Mapping[str, Any], models: Mapping[str, Path], *, silence_s: float, limit_s: float) -> Events:
        """See `Transport.run`."""
        content = json.dumps({**job, "models": {key: str(path.resolve()) for key, path in models.items()}})
        yield from stream_events(
            [self.python, str(AGENT)],
            stdin=content.encode(),
            silence_s=silence_s,
            limit_s=limit_s,
            where="this machine",
        )
