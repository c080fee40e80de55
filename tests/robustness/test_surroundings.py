"""The environment, signals and command lines of all kinds: a result, or a sentence before the work."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.robustness.tiny import SEARCH, TRAIN, call, run, start

ENVIRONMENTS: dict[str, dict[str, str | None]] = {
    "notebook": {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "WORLD_SIZE": "2"},
    "nothing of one's own": {
        **{"HOME": None, "XDG_CACHE_HOME": None, "TMPDIR": "/nonexistent", "PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
        **{"MPLBACKEND": "nonsense", "RANK": "nonsense", "LOCAL_RANK": ""},
    },
    "a launcher that is gone": {"WORLD_SIZE": "4", "RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"},
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_environment_does_no_harm(name: str, copy: Path) -> None:
    """Fitting needs a folder of its own, a figure and a table: none of it needs what the environment says."""
    ended = run(copy, "fit", "--device", "mine", "--out", "fitted", **ENVIRONMENTS[name])
    assert ended.code == 0, ended.stderr
    assert {"parity.png", "settings.json"} <= {path.name for path in (copy / "fitted").iterdir()}


@pytest.mark.parametrize("left", ["2", "x", "0", "-1"])
def test_a_leftover_number_of_processes_is_named_before_the_work(
    left: str, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", left)
    ended = call(copy, "train", *TRAIN, "--out", "new")
    assert ended.code == 2
    assert "unset WORLD_SIZE" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not (copy / "new").exists()


@pytest.mark.parametrize("after_s", [0.0, 5.0])
def test_control_c_ends_soon_and_says_how_to_go_on(after_s: float, copy: Path) -> None:
    words = [word for word in TRAIN if "epochs" not in word]
    process = start(copy, "train", *words, "recipe.epochs=200", "--out", "new")
    while not (copy / "new" / "settings.json").exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    time.sleep(after_s)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - began < 4  # 1.8 s, and what a busy machine adds
    assert process.returncode == 1, said
    assert "interrupted; what was finished is kept; go on with: nas train --resume new" in said
    assert "Traceback" not in said


def test_a_killed_search_is_finished_by_its_command(copy: Path) -> None:
    words = ("search", "--supernet", "t", *SEARCH, "--out", "again")
    process = start(copy, *words)
    while not (copy / "again" / "search.json").exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    if not (copy / "again" / "result.json").exists():
        report = call(copy, "report", "again")
        assert report.code == 2
        assert "was stopped before its end; to finish it, type: nas search --resume again" in report.stderr
    ended = call(copy, *words)
    assert ended.code == 0, ended.stderr
    assert (copy / "again" / "subnet.onnx").read_bytes() == (copy / "s" / "subnet.onnx").read_bytes()
    assert not list(copy.rglob("*.partial"))


def test_a_search_goes_on_with_its_supernet_wherever_that_lies_and_with_no_other(copy: Path) -> None:
    (copy / "t").rename(copy / "moved")
    ended = call(copy, "search", "--resume", "s", "--supernet", "moved")
    assert ended.code == 0, ended.stderr
    kept = json.loads((copy / "s" / "search.json").read_text())
    # By an earlier version, the folder does not say of which weights it is.
    for weights, code in ((kept.pop("weights of the supernet"), 0), ("others", 2)):
        (copy / "s" / "search.json").write_text(json.dumps(kept))
        ended = call(copy, "search", "--resume", "s")
        assert ended.code == code, ended.stderr
        assert json.loads((copy / "s" / "search.json").read_text()).get("weights of the supernet") == weights
        kept["weights of the supernet"] = "others"
    assert "it differs in weights of the supernet" in ended.stderr


def test_a_folder_in_use_is_left_alone(copy: Path) -> None:
    words = ("train", *TRAIN, "recipe.epochs=100", "--out", "new")
    process = start(copy, *words)
    try:
        while not (copy / "new" / "settings.json").exists():
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.02)
        for other in (words, (*words, "--seed", "1")):
            ended = call(copy, *other)
            assert ended.code == 2
            assert "in use by nas train" in ended.stderr
    finally:
        process.kill()
        process.communicate()


WORDS = (
    *(
        "report",
        "export",
        "train",
        "search",
        "devices",
        "fit",
        "s",
        "t",
        "../s",
        "~",
        "2024",
        "null",
        "-",
        "--",
        "=",
        "+=1",
    ),
    *(
        "hydra=null",
        "hydra={}",
        "+x={_target_: os.getcwd}",
        "batch=100000000",
        "seed=-1",
        "seed=null",
        "[/nope]",
        "{",
        "${x}",
    ),
    *(
        "--latency",
        "1e-320ms",
        "nanms",
        "20",
        "-5%",
        "pixel=2ms,pixel=4ms",
        "--device",
        "x" * 10_000,
        "pixel,pixel",
        "../x",
    ),
    *(
        "--out",
        "mine.csv",
        "s/result.json/x",
        "y" * 300,
        "\N{BELL}",
        "é\udcff",
        "--seed",
        "--resume",
        "--from",
        "--data",
        "./s",
    ),
    *(
        "--storage",
        "sqlite:///../x.db",
        "mysql://a",
        "--threads",
        "--samples",
        "0",
        "true",
        "--import",
        "/dev/zero",
        "--cfg",
    ),
    *(
        "--space",
        "recipe=x",
        "recipe.epochs=inf",
        "data.flip=maybe",
        "experiment=dmeo",
        "name=../../evil",
        "max_accuracy_drop=nan",
    ),
)


def test_a_command_line_of_any_words_shows_no_exception(copy: Path) -> None:
    @settings(max_examples=70, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**32))
    def check(seed: int) -> None:
        rng = random.Random(seed)
        verb = rng.choice(["report", "export", "fit", "search", "train", "finetune", "measure", "evaluate", "spaces"])
        words = rng.choices(WORDS, k=rng.randint(1, 4))
        # Whatever is asked for, there are no images: nothing is trained and nothing is measured.
        if verb in ("search", "train", "measure"):
            words += ["--data", "./nowhere"] if verb != "measure" else ["--device", "nowhere"]
        ended = call(copy, verb, *words)
        assert ended.well, f"nas {verb} {' '.join(words)[:300]}: {ended}"
        assert len(ended.stderr) < 3_000

    before = {path for path in copy.parent.iterdir()}
    check()
    assert {path for path in copy.parent.iterdir()} == before
    assert os.path.exists(copy / "s" / "result.json")
