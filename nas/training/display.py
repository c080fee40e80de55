"""What one sees while a run goes on: a bar on a terminal, log lines elsewhere."""

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)


class Display(AbstractContextManager["Display"]):
    """The progress of `n_steps` steps, of which `done` are already taken."""

    def __init__(self, n_steps: int, done: int = 0) -> None:
        console = Console(stderr=True)
        self.n_steps = n_steps
        self._validation = ""
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
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
        roles = [role for role in ("max", "min") if f"loss_{role}" in record]
        parts = [f"{role} {record[f'accuracy_{role}']:.1%} loss {record[f'loss_{role}']:.2f}" for role in roles]
        if validation := record.get("validation"):
            self._validation = "validation " + " ".join(f"{role} {value:.1%}" for role, value in validation.items())
        figures = " · ".join([*parts, self._validation] if self._validation else parts)
        self._bar.update(self._task, figures=figures)
        if self._bar.disable:
            logger.info("step %d/%d (%s): %s", record["step"], self.n_steps, record["phase"], figures)
