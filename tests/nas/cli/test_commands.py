"""The console scripts as a user meets them: each command in its own process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nas.cli.verb import VERBS
from search_spaces import SPACES


def nas(*words: str, cwd: Path, script: str = "nas") -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name(script)), *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_needs_no_torch_and_no_hydra(verb):
    code = (
        "import sys; from nas.cli.main import main; code = main(sys.argv[1:]);"
        "assert not {'torch', 'hydra', 'pandas'} & set(sys.modules); sys.exit(code)"
    )
    words = [verb, "--help"] if verb else ["--help"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60, check=True)
    assert "nas" in done.stdout
    assert done.stderr == ""


def test_spaces_as_json(tmp_path):
    done = nas("spaces", "--json", cwd=tmp_path)
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert set(rows) == set(SPACES)
    assert rows["mobilenet_v3"]["networks"] == 25 * 7371**5
    assert all(20 < len(row["purpose"]) < 120 for row in rows.values())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["sarch"], "unknown verb 'sarch'; known: search"),
        (["train", "--space", "resnet"], "unknown space 'resnet'; known: efficientnet_lite0, fbnet"),
        (["train", "recipe=foo"], "unknown recipe 'foo'; known: "),
        (["train", "seed=abc"], "seed: should be a valid integer, got 'abc'"),
        (["train", "sed=1"], "no setting 'sed'"),
        (["search", "--latency", "20"], "20ms"),
        (["search", "--latency", "10ms,20ms"], "add -m"),
        (["search", "--device", "cpu,pixel", "--latency", "10ms,20ms"], "--latency cpu=10ms,pixel=20ms"),
        (
            ["search", "--device", "cpu,pixel", "--latency", "cpu=10ms"],
            "one for each of them: --latency cpu=20ms,pixel1",
        ),
        (["search", "--device", "cpu,cpu", "--macs", "1M"], "names cpu twice"),
        (["search", "--from", "nowhere", "--latency", "60%"], "nowhere is no run folder (it has no settings.json)"),
        (["search", "--from", "nowhere", "--device", "cpu"], "leave --device out"),
        (["search", "--latency", "60%", "--shared"], "--shared is for several devices"),
        (["search", "--device", "cpu,cpu-int8", "--latency", "60%", "--shared"], "cpu float32, cpu-int8 int8"),
        (["search", "--device", "toaster", "--latency", "20ms"], "toaster"),
        (["export"], "nas export RUN"),
        (["train", "threads=0"], "threads must be at least 1"),
        (["search", "--latency", "60%", "finalists=0"], "finalists must be at least 1"),
        (["search", "--supernet", "nowhere", "--latency", "60%"], "nowhere is no trained supernet"),
        (["measure", "--device", "pixel"], "published figures alone"),
        (["train", "--resume", "nowhere"], "nowhere is no run folder"),
        (["search", "--device", "pixel", "--latency", "2ms", "--confidence", "2"], "confidence must be at least 0.5"),
    ],
)
def test_mistakes_end_with_2_and_one_sentence(words, sentence, tmp_path):
    done = nas(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
