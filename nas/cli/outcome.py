"""Each way to end as an exit code and one sentence."""

import os
import re
import sys
import traceback

from omegaconf.errors import OmegaConfBaseException

from latency_tables.files import shown
from nas.cli import interrupted
from nas.errors import BudgetMissed, Failure, InfeasibleBudget
from nas.pipeline.passwords import hide_passwords

EXIT_OK, EXIT_OTHER, EXIT_BAD_ARGUMENT, EXIT_INFEASIBLE, EXIT_MISSED = 0, 1, 2, 3, 4
LONGEST = 1_200
"""Characters of a sentence; a longer one holds something that was read from outside."""


def outcome(error: BaseException) -> tuple[int, str]:
    """The exit code and the sentence that an error ends with; no password stands in it."""
    code, sentence = _outcome(error)
    return code, hide_passwords(sentence)


def _outcome(error: BaseException) -> tuple[int, str]:
    match error:
        case InfeasibleBudget():
            return EXIT_INFEASIBLE, str(error)
        case BudgetMissed():
            return EXIT_MISSED, str(error)
        case ValueError() | OmegaConfBaseException():
            return EXIT_BAD_ARGUMENT, one_sentence(error)
        case KeyboardInterrupt():
            return EXIT_OTHER, interrupted.sentence()
        case OSError():
            where = f" ({shown(str(error.filename), 200)})" if error.filename else ""
            return EXIT_OTHER, f"{error.strerror or error}{where}; {interrupted.KEPT}"
        case Failure():
            return EXIT_OTHER, str(error)
        case MemoryError():
            return EXIT_OTHER, "the memory of this machine is not enough; try a smaller batch or resolution"
        case _:
            return EXIT_OTHER, f"{type(error).__name__}: {error} (NAS_DEBUG=1 shows where)"


def fail(verb: str, message: str, code: int) -> int:
    """Print why a verb ends (the traceback too, where NAS_DEBUG is set), and return `code`."""
    if os.environ.get("NAS_DEBUG"):
        traceback.print_exc()
    sentence = shown(hide_passwords(" ".join(message.splitlines())), LONGEST)
    print(f"{'nas ' + verb if verb else 'nas'}: {sentence}", file=sys.stderr)
    return code


def one_sentence(error: BaseException) -> str:
    """The gist of Hydra's and OmegaConf's many-line messages."""
    # Hydra wraps what is wrong with a value in what it was doing at the time.
    text = str(error.__cause__ or error) if str(error).startswith("Error merging override") else str(error)
    key = re.search(r"Could not override '(?P<key>[^']+)'", text)
    if key:
        return f"there is no setting {shown(key['key'])!r} here; --cfg job prints all of them"
    lines = [part.strip() for part in text.splitlines() if part.strip()]
    full_key = re.search(r"full_key: (\S+)", text)
    where = f"{full_key[1]}: " if full_key else ""
    return where + (lines[0] if lines else type(error).__name__)
