"""Whatever is in a file of a run folder, a command ends in a result or in a sentence, never in an exception."""

import random
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.robustness.mutations import mutate
from experiments.robustness.tiny import COMMANDS, NOT_READ, call

EXAMPLES = {"finetune": 4, "devices": 4, "search --resume": 5, "search --supernet": 5, "train --resume": 6}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_mutated_file_shows_no_exception(name: str, home: Path, tmp_path: Path) -> None:
    words, folders = COMMANDS[name]

    @settings(
        max_examples=EXAMPLES.get(name, 9),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**32))
    def check(seed: int) -> None:
        rng = random.Random(seed)
        there = tmp_path / "home"
        shutil.rmtree(there, ignore_errors=True)
        shutil.copytree(home, there)
        files = sorted(p for folder in folders for p in (there / folder).rglob("*") if p.suffix not in NOT_READ)
        done = mutate(rng.choice([path for path in files if path.is_file()]), rng)
        ended = call(there, *words)
        assert ended.well, f"{done}: {ended}"
        outside = {path.name for path in there.iterdir()} - {"s", "t", "runs", "mine.csv", "e", "f", "again", "tuned"}
        assert outside <= {"fitted"}, done

    check()


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("t/checkpoint.safetensors", ("train", "--resume", "t")),
        ("t/supernet.safetensors", ("evaluate", "t", "random=0")),
        ("s/subnet.safetensors", ("export", "s", "--out", "e")),
        ("s/state/accuracy.safetensors", ("search", "--from", "s", "--macs", "80%")),
        ("s/state/latency_ms.json", ("search", "--from", "s", "--macs", "80%")),
        ("s/state/state.json", ("search", "--from", "s", "--macs", "80%")),
    ],
)
@pytest.mark.parametrize("place", [0.002, 0.3, 0.999])
def test_a_flipped_bit_is_refused(file: str, words: tuple[str, ...], place: float, copy: Path) -> None:
    content = bytearray((copy / file).read_bytes())
    content[int(place * len(content))] ^= 4
    (copy / file).write_bytes(content)
    ended = call(copy, *words)
    assert ended.code == 2, ended
    assert Path(file).name in ended.stderr
    assert "Traceback" not in ended.stderr
