"""Images read from their files while training: the same images, bounded memory, and processes that end."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import photos, read
from tiny_run import SIDE, in_files, tiny_data, tiny_recipe, tiny_supernet

from nas.data import Split
from nas.data.streaming import PictureFiles, StreamedImages, decode_all
from nas.training import Trainer, train


def test_streamed_sets_are_those_in_memory(tmp_path: Path) -> None:
    photos(tmp_path, ["a", "b"], n=10)
    whole, _ = read(tmp_path)
    streamed, said = read(tmp_path, memory_gb=0.0, workers=0)
    assert "read from their files while training" in said
    assert (whole.train.streamed, streamed.train.streamed) == (False, True)
    assert streamed.fingerprint == whole.fingerprint
    assert streamed.splits() == whole.splits()
    assert (streamed.mean, streamed.std) == (whole.mean, whole.std)
    rows = np.array([3, 0, 7])
    assert torch.equal(streamed.train.batch(rows), whole.train.batch(rows))
    for (ours, labels), (theirs, their_labels) in zip(streamed.test.batches(3), whole.test.batches(3), strict=True):
        assert torch.equal(ours, theirs)
        assert torch.equal(labels, their_labels)
    assert torch.equal(streamed.train.take(rows).batch(np.arange(3)), whole.train.batch(rows))
    assert streamed.train.digest() == whole.train.digest()


def test_only_the_search_validation_split_is_kept_in_memory(tmp_path: Path) -> None:
    photos(tmp_path, ["a", "b"], n=10)
    data, _ = read(tmp_path, memory_gb=20 * 3 * 16**2 * 0.7 / 1e9)
    assert [split.streamed for split in (data.train, data.validation, data.test)] == [True, False, True]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_file_is_replaced_by_one_of_its_class(tmp_path: Path, workers: int) -> None:
    photos(tmp_path, ["a", "b"], n=10)
    (tmp_path / "a" / "bad.png").write_bytes(b"no picture")
    data, _ = read(tmp_path, memory_gb=0.0, workers=workers)
    split = data.train
    if "a/bad.png" not in split.names:  # the seed has put it elsewhere
        split = data.validation if "a/bad.png" in data.validation.names else data.test
    row = split.names.index("a/bad.png")
    others = [r for r in range(len(split)) if split.labels[r] == split.labels[row] and r != row]
    images = torch.cat([some for some, _ in split.batches(4)])
    assert any(torch.equal(images[row], images[other]) for other in others)
    strict, _ = read_lenient(tmp_path, workers)
    with pytest.raises(ValueError, match=r"a/bad\.png cannot be read: cannot identify"):
        list(strict.batches(4))


def read_lenient(root: Path, workers: int) -> tuple[Split, str]:
    """A split that fails on the first unreadable file."""
    paths = sorted(map(str, (root / "a").iterdir()))
    images = StreamedImages(PictureFiles(paths, 16), np.zeros(len(paths), dtype=np.int64), workers, skip=False)
    return Split(images, torch.zeros(len(paths), dtype=torch.int64), tuple(paths)), ""


def weights(folder: Path) -> bytes:
    return (folder / "supernet.safetensors").read_bytes()


def run(folder: Path, pictures: Path, workers: int) -> None:
    data = tiny_data()
    streamed = replace(data, train=in_files(data.train, pictures, workers))
    settings = {"threads": 1, "device": "cpu", "log_every": 2, "checkpoint_s": 0.0, "evaluations": 2}
    train(tiny_supernet(), streamed, tiny_recipe(), folder, **settings)  # type: ignore[arg-type]


def test_a_killed_training_resumes_bitwise_with_another_number_of_processes(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    run(tmp_path / "whole", tmp_path, workers=2)
    child = os.fork()
    if child == 0:
        try:
            quick = Trainer.accumulate

            def deadly(self: Trainer, step: int) -> object:
                done = quick(self, step)
                if step == 13:
                    os.kill(os.getpid(), signal.SIGKILL)
                return done

            Trainer.accumulate = deadly  # type: ignore[method-assign,assignment]
            run(tmp_path / "killed", tmp_path, workers=2)
        finally:  # an error must not let the child go on with the tests
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert not (tmp_path / "killed" / "supernet.safetensors").exists()
    run(tmp_path / "killed", tmp_path, workers=1)
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")


READER = """
import sys, time
import numpy as np
from nas.data.streaming import PictureFiles, StreamedImages, decode_all
paths = sys.argv[2:]
images = StreamedImages(PictureFiles(paths, 512), np.zeros(len(paths), dtype=np.int64), 2)
batches = images.batches(np.arange(len(paths)) for _ in range(1000))
next(batches)
print("reading", flush=True)
if sys.argv[1] == "leave":
    sys.exit(0)
time.sleep(60)
"""


@pytest.mark.parametrize("how", ["leave", "kill"])
def test_no_process_is_left_behind(tmp_path: Path, how: str) -> None:
    photos(tmp_path, ["a"], n=16)
    main = subprocess.Popen(
        [sys.executable, "-c", READER, how, *map(str, (tmp_path / "a").iterdir())],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert main.stdout is not None
    assert main.stdout.readline() == "reading\n"
    if how == "kill":
        main.kill()
    main.wait(timeout=30)
    deadline = time.monotonic() + 15
    while group_lives(main.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not group_lives(main.pid)


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_set_is_decoded_alike_by_any_number_of_processes(tmp_path: Path) -> None:
    photos(tmp_path, ["a"], n=150)
    (tmp_path / "a" / "77.png").write_bytes(b"no picture")
    files = PictureFiles(sorted(map(str, (tmp_path / "a").iterdir())), SIDE)
    alone, told = decode_all(files, 0), []
    for workers in (1, 2):
        found = decode_all(files, workers, lambda done, of: told.append((done, of)))
        assert (found.pixels == alone.pixels).all()
        assert (found.digests == alone.digests).all()
        assert found.faults.keys() == alone.faults.keys()
        assert len(found.faults) == 1
    assert told[-1] == (150, 150)
    assert alone.pixels.any(axis=(1, 2, 3)).sum() == 149


def test_decoding_at_a_reduced_size_is_used_where_jpeg_allows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    from PIL import Image

    small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    small.resize((3200, 2400)).save(tmp_path / "large.jpg")
    files = PictureFiles([str(tmp_path / "large.jpg")], SIDE)
    began = time.perf_counter()
    files.__getitems__([0])
    reduced = time.perf_counter() - began
    began = time.perf_counter()
    with Image.open(tmp_path / "large.jpg") as picture:
        picture.load()
    assert reduced < time.perf_counter() - began
