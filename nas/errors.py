"""The ways a run may end other than well; `nas.cli` turns each into its exit code.

A user's mistake anywhere is a plain `ValueError` (exit code 2) whose message is one clear sentence.
"""

from pathlib import Path


class InfeasibleBudget(Exception):
    """No network of the space can keep the budget (exit code 3); the message gives the achievable range."""


class BudgetMissed(Exception):
    """No finalist kept the budget when measured (exit code 4).

    Attributes
    ----------
    folder : the run folder, with what was measured; None where `nas.search` was not called.
    """

    folder: Path | None = None


class TooShort(ValueError):
    """The time that was given for a training is too short for it (exit code 2)."""


class OtherCheckpoint(ValueError):
    """The checkpoint that is there is damaged or of another run, so nothing can go on from it (exit code 2).

    Attributes
    ----------
    reason : the first part of the sentence; the second says what to do about it.
    """

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason}; {advice}")
        self.reason = reason


class Failure(Exception):
    """Something failed that is no mistake of the user's (exit code 1); the message is one clear sentence."""


class MissingExtra(Failure):
    """An optional dependency is absent (exit code 1); the message names the extra to install."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; type: pip install 'shrinkwrap-nas[{extra}]'")
