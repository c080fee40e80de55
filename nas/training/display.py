"""What one sees while a run goes on: a bar on a terminal, log lines elsewhere."""

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)


class Display(AbstractContextManager["Display"]):
    """The progress of `n_steps` steps, of which `done` are already taken."""

    def __init__(self, n_steps: int, done: int = 0) -> None:
        console = Console(stderr=True)
        self.n_steps = n_steps
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=n_steps, completed=done, figures="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def step(self, step: int, phase: str) -> None:
        """Note that `step` steps are taken."""
        self._bar.update(self._task, completed=step, description=phase)

    def record(self, record: Mapping[str, Any]) -> None:
        """Show the figures of a log record."""
        figures = " · ".join(
            f"{role} loss {record[f'loss_{role}']:.3f} accuracy {record[f'accuracy_{role}']:.1%}"
            for role in ("max", "min")
            if f"loss_{role}" in record
        )
        for role, accuracy in record.get("validation", {}).items():
            figures += f" · validation {role} {accuracy:.1%}"
        self._bar.update(self._task, figures=figures)
        if self._bar.disable:
            logger.info("step %d/%d (%s): %s", record["step"], self.n_steps, record["phase"], figures)
