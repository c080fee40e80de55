"""A run folder belongs to one run."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

import nas
from nas.cli import interrupted
from nas.cli.config import FitConfig
from nas.cli.main import main
from nas.cli.verb import VERBS
from nas.data.settings import DataSettings
from nas.errors import BudgetMissed, Failure, InfeasibleBudget, MissingExtra
from nas.pipeline import fleet, precisions, run_folder, search
from nas.pipeline.request import SearchRequest, TrainRequest
from nas.pipeline.run_folder import held_run_folder, in_use, new_run_folder
from nas.pipeline.settings import RunSettings, read_settings
from nas.progress import Listener
from search_spaces.settings import SpaceSettings

HOLD = """
import sys, time
from pathlib import Path
from nas.errors import Failure
from nas.pipeline import run_folder
from nas.pipeline.run_folder import in_use
with in_use(Path(sys.argv[1]), "nas train"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holder(folder: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def run(seed: int = 0) -> RunSettings[TrainRequest]:
    return RunSettings("train", TrainRequest(seed=seed))


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path: Path) -> None:
    folders = [new_run_folder(tmp_path, "x") for _ in range(5)]
    assert len(set(folders)) == 5
    assert all(folder.is_dir() for folder in folders)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "..", "a\nb", "x" * 300])
def test_a_name_stays_in_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a"):
        new_run_folder(tmp_path / "runs", name)
    assert list(tmp_path.iterdir()) == []


def test_a_run_goes_on_with_the_settings_that_it_was_begun_with(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with held_run_folder(run(), folder):
        (folder / "log.jsonl").touch()
    for changed, key in (({"seed": 1}, "seed"), ({"space": SpaceSettings(depths=(1,))}, "space.depths")):
        other = RunSettings("train", replace(run().settings, **changed))
        with pytest.raises(ValueError, match=f"was begun with another {key}"), held_run_folder(other, resume=folder):
            raise AssertionError("it must not go on")
    moved = RunSettings("train", replace(run().settings, data=DataSettings(name="folder", root="/there"), threads=2))
    # Where something is refused later, the run can be continued as it was.
    with pytest.raises(ValueError, match="name"), held_run_folder(moved, resume=folder):
        raise AssertionError("it must not go on")
    patient = RunSettings("train", replace(run().settings, threads=2))
    with suppress(ValueError), held_run_folder(patient, resume=folder):
        raise ValueError
    assert read_settings(folder, "train", TrainRequest).settings.threads is None
    with held_run_folder(patient, resume=folder):
        pass
    assert read_settings(folder, "train", TrainRequest).settings.threads == 2


def test_another_number_of_evaluations_is_a_search_of_its_own(tmp_path: Path) -> None:
    request, folder = SearchRequest(), tmp_path / "run"
    with held_run_folder(RunSettings("search", request), folder):
        (folder / "log.jsonl").touch()
    more = RunSettings("search", replace(request, evaluations=120))  # other subnets, not these and 40 more
    with pytest.raises(ValueError, match="was begun with another evaluations"), held_run_folder(more, resume=folder):
        raise AssertionError("it must not go on")


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (MissingExtra("litert", "tflite"), None),
        (InfeasibleBudget("too small"), None),
        (BudgetMissed("none kept it"), 2),
        (Failure("device board was lost"), 2),
        (OSError("no space left"), 2),
    ],
)
def test_settings_that_work_was_done_by_are_those_of_the_run(
    error: Exception, kept: int | None, tmp_path: Path
) -> None:
    with held_run_folder(run(), tmp_path / "run") as folder:
        (folder / "log.jsonl").touch()
    changed = RunSettings("train", replace(run().settings, threads=2))
    with pytest.raises(type(error)), held_run_folder(changed, resume=folder):
        raise error
    assert read_settings(folder, "train", TrainRequest).settings.threads == kept


def test_a_supernet_and_its_images_may_lie_elsewhere(tmp_path: Path) -> None:
    """Which supernet it is, its weights say, and which images, their contents: both are looked at later."""
    here, there = (DataSettings(name="folder", root=f"./{name}") for name in ("old", "new"))
    begun = SearchRequest(supernet="t", moved_data=here, data=here)
    for number, settings in enumerate((begun, SearchRequest(supernet="t"))):
        with held_run_folder(RunSettings("search", settings), tmp_path / str(number)) as folder:
            (folder / "search.json").touch()
        moved = replace(settings, moved_data=there, data=there, supernet="elsewhere/t")
        with held_run_folder(RunSettings("search", moved), resume=folder):
            pass
        assert read_settings(folder, "search", SearchRequest).settings == moved
        for other, key in ((replace(moved, seed=1), "seed"), (replace(moved, supernet=None), "supernet")):
            with (
                pytest.raises(ValueError, match=f"begun with another {key},"),
                held_run_folder(RunSettings("search", other), resume=folder),
            ):
                pass


def test_a_second_run_is_told_who_has_the_folder(tmp_path: Path) -> None:
    process = holder(tmp_path / "run", 60)
    try:
        said = rf"in use by nas train \(process {process.pid} on .*, since 20"
        with pytest.raises(ValueError, match=said), in_use(tmp_path / "run", "nas train"):
            pass
    finally:
        process.kill()
        process.wait()
    with in_use(tmp_path / "run", "nas train"):  # a dead process holds nothing
        pass
    assert list((tmp_path / "run").iterdir()) == []


def test_waiting_is_said_and_ends(tmp_path: Path) -> None:
    process, said = holder(tmp_path / "run", 1.5), []
    began = time.monotonic()
    with in_use(tmp_path / "run", "nas train", wait=True, listener=Listener(say=said.append)):
        assert time.monotonic() - began > 0.5
    assert len(said) == 1
    assert f"waiting for nas train (process {process.pid}" in said[0]
    process.wait()


def test_waiting_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "WAIT_S", 0.2)
    process = holder(tmp_path / "run", 30)
    with pytest.raises(Failure, match="has been in use by nas train"), in_use(tmp_path / "run", "x", wait=True):
        pass
    process.kill()
    process.wait()


def test_a_run_in_which_nothing_was_made_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="refused"), held_run_folder(run(), tmp_path / "runs" / "train" / "x"):
        raise ValueError("refused")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="refused"), held_run_folder(run(), tmp_path / "mine" / "deep" / "x"):
        raise ValueError("refused")
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


@pytest.mark.parametrize("ended_by", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_run_can_be_continued_before_anything_is_made(
    ended_by: type[BaseException], tmp_path: Path
) -> None:
    with pytest.raises(ended_by), held_run_folder(run(7), tmp_path / "x"):
        raise ended_by
    with pytest.raises(ValueError, match="another seed"), held_run_folder(run(8), tmp_path / "x"):
        pass
    assert read_settings(tmp_path / "x", "train", TrainRequest).settings.seed == 7
    with held_run_folder(run(7), resume=tmp_path / "x"):
        pass


def test_an_interruption_at_any_moment_knows_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings are there before the run begins: Ctrl-C in between says how to go on; before, nothing is left."""
    noted: list[Path] = []

    def typed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run_folder, "keep_settings", typed)
        with pytest.raises(KeyboardInterrupt), held_run_folder(run(), tmp_path / "runs/x", note=noted.append):
            pass
    assert noted == [tmp_path / "runs/x"]
    assert list(tmp_path.iterdir()) == []
    interrupted.begin()
    interrupted.note_run("train", tmp_path / "runs/x")
    assert interrupted.sentence() == interrupted.PLAIN
    with pytest.raises(KeyboardInterrupt), held_run_folder(run(), tmp_path / "runs/x"):
        raise KeyboardInterrupt
    assert interrupted.sentence() == f"{interrupted.PLAIN}; go on with: nas train --resume {tmp_path / 'runs/x'}"


def test_an_interrupted_run_that_cannot_be_continued_leaves_nothing(tmp_path: Path) -> None:
    assert set(run_folder.TRAINING) == {verb.name for verb in VERBS.values() if "resume" in verb.flags}
    with pytest.raises(KeyboardInterrupt), held_run_folder(RunSettings("fit", FitConfig()), tmp_path / "runs/fit/x"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_the_same_run_goes_on_and_another_is_refused(tmp_path: Path) -> None:
    with held_run_folder(run(), tmp_path / "x") as folder:
        (folder / "weights").touch()
    with held_run_folder(run(), tmp_path / "x") as folder:
        assert (folder / "weights").exists()
    with (
        pytest.raises(ValueError, match="holds another run, with another seed"),
        held_run_folder(run(1), tmp_path / "x"),
    ):
        pass


def test_the_settings_of_a_fit_by_an_earlier_version_are_read(tmp_path: Path) -> None:
    RunSettings("fit", FitConfig()).write(tmp_path)
    written = json.loads((tmp_path / "settings.json").read_text())
    written["settings"]["seed"] = 3
    (tmp_path / "settings.json").write_text(json.dumps(written))
    with held_run_folder(RunSettings("fit", FitConfig()), tmp_path):
        pass


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "x", Path("/proc/x"), tmp_path / ("x" * 300)):
        with pytest.raises(ValueError, match="name (another|one)|takes 255"), held_run_folder(run(), place):
            pass


def test_two_searches_train_their_supernet_once(tmp_path: Path) -> None:
    words = ["--data", "digits", "--macs", "90%", "space.depths=[1]", "space.width_mult=0.5", "data.resolution=16"]
    words += ["recipe.epochs=2", "evaluations=6", "candidates=300", "finalists=2", "threads=1", "samples=3"]
    words += ["--device", "pixel"]
    command = [str(Path(sys.executable).with_name("nas")), "search", *words]
    both = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=250)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("training a supernet" in text for text in said) == 1
    assert len(list((tmp_path / "runs" / "train").iterdir())) == 1
    assert len(list((tmp_path / "runs" / "search").iterdir())) == 2
    assert not list(tmp_path.rglob("*.partial"))


def test_a_killed_run_is_taken_over(tmp_path: Path) -> None:
    process = holder(tmp_path / "run", 60)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with in_use(tmp_path / "run", "nas train"):
        pass


@pytest.mark.parametrize("rank", ["0", "1"])
def test_several_processes_need_the_name_of_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {"WORLD_SIZE": "2", "RANK": rank, "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="name it, like --out runs/train/photos"), held_run_folder(run()):
        pass
    assert not list(tmp_path.iterdir())
    with held_run_folder(run(), tmp_path / "x") as folder:
        assert folder == tmp_path / "x"


def test_the_folder_is_named_before_the_long_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that is killed there can be gone on with."""

    class LongWork(Exception):
        pass

    def long_work(*_: object) -> None:
        raise LongWork

    for module in (search, fleet, precisions):
        monkeypatch.setattr(module, "prepare_task", lambda *_: None)
        monkeypatch.setattr(module, "check_reachable", lambda *_: None)
        monkeypatch.setattr(module, "get_supernet", long_work)
    request = SearchRequest(supernet="cifar10", device="cpu", runs=str(tmp_path))
    for find in (search.search, fleet.search_fleet, precisions.search_precisions):
        said: list[str] = []
        with pytest.raises(LongWork):
            find(request, tmp_path / "run", Listener(said.append))
        assert said[-1] == f"run folder {tmp_path / 'run'}"
    monkeypatch.setattr("nas.pipeline.train.train_supernet", long_work)
    monkeypatch.setattr("nas.cli.verbs.train.train_supernet", long_work)
    said.clear()
    with pytest.raises(LongWork):
        nas.train(data="digits", out=tmp_path / "trained", runs=tmp_path, listener=Listener(said.append))
    assert said == [f"run folder {tmp_path / 'trained'}"]
    assert main(["train", "--data", "digits", "--out", str(tmp_path / "typed")]) == 1
    assert f"run folder {tmp_path / 'typed'}" in capsys.readouterr().err
