"""Whatever goes wrong in a verb is one sentence on stderr and an exit code."""

from pathlib import Path
from typing import NoReturn

import pytest

from nas.cli import interrupted
from nas.cli.job import guarded
from nas.devices.transport import DeviceUnavailable
from nas.errors import BudgetMissed, InfeasibleBudget, MissingExtra
from nas.export.parity import ParityFailed


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ValueError("int8 needs at least 16 training images"), 2, "int8 needs at least 16 training images"),
        (InfeasibleBudget("nothing is that fast"), 3, "nothing is that fast"),
        (BudgetMissed("none kept it"), 4, "none kept it"),
        (OSError(28, "No space left on device"), 1, "No space left on device; what was finished is kept"),
        (OSError(30, "Read-only file system", "/x"), 1, "Read-only file system (/x); what was finished is kept"),
        (MissingExtra("tool", "tflite"), 1, "tool is not installed; type: pip install 'shrinkwrap-nas[tflite]'"),
        (ParityFailed("subnet.onnx differs"), 1, "subnet.onnx differs"),
    ],
)
def test_one_sentence_and_a_code(error: Exception, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    interrupted.begin()  # what tests before this one have noted

    def job() -> NoReturn:
        raise error

    assert guarded("export", job) == (code, said)
    captured = capsys.readouterr()
    assert captured.err == f"nas export: {said}\n"
    assert not captured.out


@pytest.mark.parametrize(
    ("error", "further"),
    [
        (OSError(28, "No space left on device"), True),
        (DeviceUnavailable("device board was lost"), True),
        (ValueError("another seed"), False),
        (BudgetMissed("none kept it"), False),
    ],
)
def test_what_stopped_a_run_midway_says_how_it_goes_on(
    error: Exception, further: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def job() -> NoReturn:
        raise error

    (tmp_path / "settings.json").touch()
    interrupted.begin()
    interrupted.note_run("search", tmp_path)
    guarded("search", job)
    assert (f"; go on with: nas search --resume {tmp_path}\n" in capsys.readouterr().err) == further
    interrupted.begin()
    guarded("search", job)
    assert "--resume" not in capsys.readouterr().err
