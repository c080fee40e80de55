"""How the jobs of a sweep ended reaches the process that started them."""

import shlex
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from nas.cli import app, arguments, job
from nas.cli.call import Call
from nas.cli.config import TrainConfig
from nas.cli.job import Ended
from nas.cli.main import main
from nas.errors import Failure


def test_jobs_write_how_they_ended_into_the_folder_of_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, write = [], job._write

    def noted(ended: Ended, path: Path) -> None:
        written.append(path)
        write(ended, path)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(job, "_write", noted)
    assert main(["train", "--data", "./nonexistent", "seed=1,2", "-m", "--out", "sweep"]) == 2
    assert [path.name for path in written] == ["0.json", "1.json"]
    assert {path.parents[1] for path in written} == {tmp_path / "sweep"}
    assert not written[0].parent.exists()


def test_a_machine_without_that_folder_fails_only_jobs_that_failed(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / ".codes" / "0.json"
    job._write(Ended(0, "", "runs/x", []), path)
    with pytest.raises(Failure, match="none kept it"):
        job._write(Ended(4, "none kept it", "runs/x", []), path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["train", "-m", "experiment=slurm"], "slurm"),
        (["search", "-m", "--macs=60%", "hydra/launcher=joblib"], "sweeps"),
    ],
)
def test_a_launcher_that_is_not_installed_is_named(
    words: list[str], extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(arguments, "version", absent)
    assert main(words) == 1
    assert f"pip install 'shrinkwrap-nas[{extra}]'" in capsys.readouterr().err


def test_a_sweep_that_one_killed_job_ends_says_how_the_others_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def launched(**settings: Any) -> Any:
        raise RuntimeError("Job 7_1 has not produced any output, its log says:\n" + "no memory\n" * 1000)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(app.hydra, "main", launched)
    assert main(["search", "--macs", "60%,80%", "-m", "--out", "sweep"]) == 1
    said = capsys.readouterr().err
    assert "Job 7_1 has not produced any output" in said
    assert said.endswith("; type: nas report sweep, when the other runs have ended\n")
    assert main(["train", "seed=0,1", "-m", "--out", "trained"]) == 1
    assert "nas report" not in capsys.readouterr().err


def test_control_c_ends_a_sweep_and_says_how_all_of_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun: list[str] = []

    def typed(config: TrainConfig, call: Call) -> int:
        begun.append(str(call.folder.relative_to(tmp_path)))
        raise KeyboardInterrupt

    def done(config: TrainConfig, call: Call) -> int:
        begun.append(str(call.folder.relative_to(tmp_path)))
        return 0

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nas.cli.verbs.train.run", typed)
    assert main(["train", "--data", "digits", "seed=1,2", "-m"]) == 1
    (folder,) = (tmp_path / "runs" / "train").iterdir()
    sweep = folder.relative_to(tmp_path)
    assert begun == [f"{sweep}/0"]
    (said,) = capsys.readouterr().err.splitlines()
    command = f"nas train -m seed=1,2 data=digits --out {sweep}"
    assert said == f"nas train: interrupted; what was finished is kept; go on with: {command}"
    monkeypatch.setattr("nas.cli.verbs.train.run", done)
    assert main(shlex.split(command)[1:]) == 0
    assert begun[1:] == [f"{sweep}/0", f"{sweep}/1"]
