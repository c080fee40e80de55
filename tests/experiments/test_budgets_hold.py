"""The study of budgets: what it writes down of the machine, and that it goes on only as it was begun."""

import json
import sys
from pathlib import Path

import pytest

from experiments.budgets_hold import __main__ as study
from experiments.budgets_hold.task import Configuration
from nas.devices.events import Machine, Start


def test_the_conditions_of_a_configuration_can_be_written_down(tmp_path: Path) -> None:
    configuration = Configuration("cpu", tmp_path, 0)
    configuration.device.probe = lambda: Start(Machine(cpu="a processor"), "1.2")  # type: ignore[method-assign]
    conditions = json.loads(json.dumps(configuration.conditions()))
    assert conditions["runtime_version"] == "1.2"
    assert conditions["machine"]["cpu"] == "a processor"


def test_a_study_that_was_begun_with_another_seed_is_not_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    work.mkdir()
    (work / "conditions.json").write_text('{"seed": 0}')
    monkeypatch.setattr(sys, "argv", ["budgets_hold", "--seed", "1", "--work", str(work), "--out", str(out)])
    with pytest.raises(SystemExit) as ended:
        study.main()
    assert ended.value.code == 2
    assert "was begun with seed 0, not 1; name another folder by --work" in capsys.readouterr().err
    assert not out.exists()
    assert (work / "conditions.json").read_text() == '{"seed": 0}'
