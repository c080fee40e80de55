"""A run folder and a command line from elsewhere run no code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nas.cli.overrides import SWITCH, check_overrides

TARGET = "{_target_: pathlib.Path.touch, self: ran}"


@pytest.mark.parametrize(
    "override",
    [
        f"+hydra.callbacks.x={TARGET}",
        f"++hydra.callbacks.x={TARGET}",
        "+hydra.callbacks.x._target_=os.getcwd",
        "hydra.callbacks={}",
        "hydra={}",
        "~hydra.callbacks",
        "hydra.job_logging.handlers.console.class=subprocess.Popen",
        "+hydra.job_logging.handlers.x={class: subprocess.Popen}",
        "hydra/job_logging=default",
        "hydra/sweeper=optuna",
        "hydra/launcher=mine",
        "hydra/launcher=basic,mine",
        "hydra.launcher._target_=os.getcwd",
        "+hydra.launcher.x={_target_: os.getcwd}",
        "hydra.searchpath=[file:///tmp]",
        "hydra.job.env_set.LD_PRELOAD=x.so",
        "hydra.run={dir: x}",
        "hydra@x=y",
        "recipe@hydra.callbacks=bignas",
        f"+recipe.x={TARGET}",
        "+recipe.x=[{_target_: os.getcwd}]",
        "+recipe.x={a: {_target_: os.getcwd}},1",
        "+_target_=os.getcwd",
        "+recipe._target_=os.getcwd",
    ],
)
def test_overrides_that_could_run_code_are_refused(override: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=f"refused.*{SWITCH}=1"):
        check_overrides([], [override])
    monkeypatch.setenv(SWITCH, "1")
    check_overrides([], [override])


@pytest.mark.parametrize("flags", [["--config-dir", "/tmp"], ["-cd", "/tmp"], ["--config-name", "x"], ["-cn", "x"]])
def test_configurations_from_elsewhere_are_refused(flags: list[str]) -> None:
    with pytest.raises(ValueError, match="refused"):
        check_overrides(flags, [])


def test_what_a_run_needs_is_allowed() -> None:
    allowed = ["hydra/launcher=joblib", "+hydra.launcher.partition=gpu", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=x"]
    swept = ["recipe=ofa,bignas", "recipe=glob(*)", "space=glob([m*,f*],exclude=*v4)", "seed=0,1"]
    check_overrides(["-m", "--cfg", "job"], [*allowed, *swept, "+space.depths=[1,2]"])


def run(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("nas")), *words]
    return subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """The folder of a finished training as somebody else may have prepared it."""
    folder = tmp_path / "run"
    (folder / ".hydra").mkdir(parents=True)
    overrides = [f"+hydra.callbacks.x={TARGET}", "+hydra.callbacks.y={_target_: os.mkdir, path: ran}"]
    (folder / ".hydra" / "overrides.yaml").write_text(json.dumps(overrides))
    return folder


@pytest.mark.parametrize(
    "words", [("train", "--resume"), ("search", "--resume"), ("search", "--latency=1ms", "--from")]
)
def test_recorded_overrides_are_not_read(words: tuple[str, ...], foreign: Path) -> None:
    done = run(*words, "run", cwd=foreign.parent)
    assert done.returncode == 2, done.stderr
    assert "has no settings.json" in done.stderr
    assert [path.name for path in foreign.parent.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hydra": {"callbacks": {"x": {"_target_": "os.mkdir", "path": "ran"}}}}, "there is no setting 'hydra'"),
        ({"_target_": "os.mkdir"}, "there is no setting '_target_'"),
        ({"seed": "0"}, "seed: should be a valid integer"),
        ({"runs": None}, "runs: should be a valid string"),
        ({"seed": {"_target_": "os.mkdir", "path": "ran"}}, "seed: "),
    ],
)
def test_recorded_settings_are_checked(settings: dict[str, object], said: str, foreign: Path) -> None:
    document = {"format": 1, "verb": "train", "settings": {"name": "x"} | settings}
    (foreign / "settings.json").write_text(json.dumps(document))
    done = run("train", "--resume", "run", cwd=foreign.parent)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in foreign.parent.iterdir()] == ["run"]


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"format": 2, "verb": "train", "settings": {}}', "\ud800"])
def test_settings_that_are_none_are_refused(text: str, foreign: Path) -> None:
    (foreign / "settings.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    done = run("train", "--resume", "run", cwd=foreign.parent)
    assert done.returncode == 2, done.stderr
    assert "settings.json" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_values_in_recorded_settings_are_not_evaluated(foreign: Path) -> None:
    """An interpolation is text: it names no data set, and the environment is not read."""
    settings = {"name": "${oc.env:SECRET}", "data": {"name": "${oc.env:SECRET}"}, "recipe": {}, "space": {}}
    (foreign / "settings.json").write_text(json.dumps({"format": 1, "verb": "train", "settings": settings}))
    done = run("train", "--resume", "run", cwd=foreign.parent, SECRET="hidden")
    assert done.returncode == 2, done.stderr
    assert "hidden" not in done.stderr


def test_a_run_of_another_verb_is_named(foreign: Path) -> None:
    (foreign / "settings.json").write_text(json.dumps({"format": 1, "verb": "search", "settings": {}}))
    done = run("train", "--resume", "run", cwd=foreign.parent)
    assert "is a run of nas search; type: nas search --resume run" in done.stderr


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", "evil:make"),
        ("model", "evil.network:make"),
        ("storage", "sqlite:////tmp/x.db"),
        ("storage", "sqlite:///../x.db"),
        ("storage", "sqlite+pysqlite:////tmp/x.db"),
        ("storage", "sqlite:///file:/tmp/x.db?uri=true"),
        ("storage", "postgresql://host/nas"),
        ("runs", "../elsewhere"),
        ("runs", "/tmp/elsewhere"),
    ],
)
def test_what_leads_outside_or_runs_code_is_typed_again(key: str, value: str, foreign: Path) -> None:
    settings = {"name": "x", "supernet": None if key == "model" else "t", key: value}
    (foreign / "settings.json").write_text(json.dumps({"format": 1, "verb": "search", "settings": settings}))
    (foreign.parent / "evil.py").write_text("open('ran', 'w')")
    done = run("search", "--resume", "run", cwd=foreign.parent)
    assert done.returncode == 2, done.stderr
    assert f"to allow it, type {key}= again" in done.stderr
    assert {path.name for path in foreign.parent.iterdir()} == {"run", "evil.py"}
