"""Data are read, split and refused as documented."""

import errno
import inspect
import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from nas.data import ImageData, load_data

DATA = sorted((Path(__file__).parents[3] / "conf" / "data").glob("*.yaml"))


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data("digits")


def make_images(folder: Path, classes: dict[str, int], size: tuple[int, int] = (20, 14)) -> Path:
    """An image folder with so many images of each class, each class of one colour."""
    rng = np.random.default_rng(0)
    for shade, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 60, size=(size[1], size[0], 3)) + 60 * shade
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i:03d}.png")
    return folder


@pytest.mark.parametrize("file", DATA, ids=lambda file: file.stem)
def test_shipped_configurations_are_arguments_of_load_data(file: Path) -> None:
    assert set(yaml.safe_load(file.read_text())) == set(inspect.signature(load_data).parameters)


def test_digits_are_rgb_at_the_asked_size(digits: ImageData) -> None:
    assert digits.train.images.shape[1:] == (3, 32, 32)
    assert digits.train.images.dtype == torch.uint8
    assert digits.train.labels.dtype == torch.int64
    assert int(digits.train.images.max()) > 240
    assert not digits.flip
    pixels = digits.train.images.double() / 255
    assert pixels.mean((0, 2, 3)).tolist() == pytest.approx(digits.mean)
    assert pixels.std((0, 2, 3), correction=0).tolist() == pytest.approx(digits.std)


def test_splits_are_disjoint_complete_and_stratified(digits: ImageData) -> None:
    parts = [digits.train, digits.validation, digits.test]
    names = [name for part in parts for name in part.names]
    assert sorted(map(int, names)) == list(range(1797))
    counts = np.stack([np.bincount(part.labels, minlength=10) for part in parts])
    shares = counts / counts.sum(axis=0)
    assert shares == pytest.approx(np.broadcast_to([[0.6], [0.2], [0.2]], shares.shape), abs=0.01)


def test_splits_follow_from_the_seed(digits: ImageData) -> None:
    again, other = load_data("digits"), load_data("digits", seed=1)
    assert again.splits() == digits.splits()
    assert other.test.names != digits.test.names
    assert other.fingerprint != digits.fingerprint
    assert json.loads(json.dumps(digits.splits()))["seed"] == 0


def test_folder_split_by_seed(tmp_path: Path) -> None:
    root = make_images(tmp_path, {"red": 10, "blue": 20})
    data = load_data("folder", root, resolution=16)
    assert data.classes == ("blue", "red")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [18, 6, 6]
    assert data.flip
    for part in (data.train, data.validation, data.test):
        assert part.images.shape[1:] == (3, 16, 16)
        assert [name.split("/")[0] for name in part.names] == [data.classes[label] for label in part.labels]


def test_folder_with_its_own_test_split(tmp_path: Path) -> None:
    make_images(tmp_path / "train", {"a": 10, "b": 10})
    make_images(tmp_path / "test", {"a": 3, "b": 1})
    data = load_data("folder", tmp_path)
    assert sorted(data.test.names) == ["test/a/000.png", "test/a/001.png", "test/a/002.png", "test/b/000.png"]
    assert all(name.startswith("train/") for name in data.train.names + data.validation.names)
    assert [len(data.train), len(data.validation)] == [16, 4]


def test_changed_pixels_change_the_fingerprint(tmp_path: Path) -> None:
    root = make_images(tmp_path, {"a": 5, "b": 5})
    before = load_data("folder", root)
    Image.new("RGB", (20, 14), (1, 2, 3)).save(root / "a" / "004.png")
    after = load_data("folder", root)
    assert after.train.names == before.train.names
    assert after.fingerprint != before.fingerprint


def test_any_mode_is_cropped_to_the_centre_and_made_rgb(tmp_path: Path) -> None:
    root = make_images(tmp_path, {"a": 4, "b": 4})
    wide = np.zeros((16, 48), dtype=np.uint8)
    wide[:, 16:32] = 200  # only the centre square is light
    Image.fromarray(wide).save(root / "a" / "000.png")
    Image.fromarray(wide).convert("P").save(root / "a" / "001.gif")
    Image.fromarray(np.dstack([wide] * 3 + [wide])).save(root / "a" / "002.png")
    data = load_data("folder", root, resolution=16)
    images = {
        name: image
        for part in (data.train, data.validation, data.test)
        for name, image in zip(part.names, part.images, strict=True)
    }
    for name in ("a/000.png", "a/001.gif", "a/002.png"):
        assert int(images[name].min()) >= 199, name


def test_unreadable_image_is_skipped_with_a_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_images(tmp_path, {"a": 6, "b": 6})
    whole = (root / "b" / "002.png").read_bytes()
    (root / "b" / "002.png").write_bytes(whole[: len(whole) // 2])
    (root / "a" / "001.jpg").write_text("no image")
    with caplog.at_level(logging.WARNING):
        data = load_data("folder", root)
    assert "skipped 2 of 13 images" in caplog.text
    assert "001.jpg" in caplog.text
    assert data.splits()["skipped"] == ["a/001.jpg", "b/002.png"]
    assert sum(map(len, (data.train, data.validation, data.test))) == 11
    with pytest.raises(ValueError, match=r"001\.jpg cannot be read"):
        load_data("folder", root, on_unreadable="fail")


def bad_folder(kind: str, root: Path) -> None:
    if kind == "one class":
        make_images(root, {"only": 5})
    elif kind == "few":
        make_images(root, {"many": 5, "few": 2})
    elif kind == "no images":
        make_images(root, {"a": 5})
        (root / "b").mkdir()
    elif kind == "no test":
        make_images(root / "train", {"a": 5, "b": 5})
    elif kind == "other classes":
        make_images(root / "train", {"a": 5, "b": 5})
        make_images(root / "test", {"a": 5, "c": 5})
    elif kind == "empty":
        root.mkdir(exist_ok=True)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "does not exist"),
        ("empty", "has no class folders"),
        ("one class", "has one class, 'only'"),
        ("few", "class 'few' has 2 readable images; splitting needs at least 3"),
        ("no images", r"the class folder .*b has no images \(\.bmp"),
        ("no test", r"has train/ but no test/.*data\.root=.*train"),
        ("other classes", "only one of them has: b, c"),
    ],
)
def test_bad_folders_are_one_sentence(tmp_path: Path, kind: str, message: str) -> None:
    root = tmp_path / "images"
    bad_folder(kind, root)
    with pytest.raises(ValueError, match=message) as error:
        load_data("folder", root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "imagenet"}, "unknown data 'imagenet'; known: digits, folder, cifar10"),
        ({"name": "folder"}, r"needs the folder of its images: data\.root"),
        ({"validation_fraction": 0.7, "test_fraction": 0.4}, "together below 1"),
        ({"validation_fraction": 0.0}, "must be positive"),
        ({"resolution": 4}, "at least 8 pixels"),
        ({"on_unreadable": "ignore"}, "skip or fail, not 'ignore'"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_data(**arguments)


def write_cifar10(folder: Path) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        records = rng.integers(0, 256, size=(20, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(20) % 10
        records[0, 1:1025] = 255  # the first image is red at its most
        records.tofile(folder / f"{name}.bin")


def test_cifar10_binary_version(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "cifar-10-batches-bin")
    data = load_data("cifar10", tmp_path)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [80, 20, 20]
    assert data.test.names[0] == "test_batch/0"
    assert int(data.test.labels[3]) == 3
    assert (data.test.images[0, 0] == 255).all()
    assert not (data.test.images[0, 1] == 255).all()
    assert load_data("cifar10", tmp_path / "cifar-10-batches-bin").fingerprint == data.fingerprint


def test_cifar10_refusals(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no CIFAR-10; unpack the binary version"):
        load_data("cifar10", tmp_path)
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(ValueError, match=r"only the pickled Python version; .*or use an image folder"):
        load_data("cifar10", tmp_path)
    write_cifar10(tmp_path / "cifar-10-batches-bin")
    batch = tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin"
    batch.write_bytes(batch.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"data_batch_3\.bin is not a CIFAR-10 batch"):
        load_data("cifar10", tmp_path)
    batch.unlink()
    with pytest.raises(ValueError, match=r"data_batch_3\.bin is missing"):
        load_data("cifar10", tmp_path)


def test_images_too_many_for_memory_are_kept_in_a_file_and_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root, folder = make_images(tmp_path / "images", {"a": 6, "b": 6}), tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    (root / "b" / "002.png").write_text("no image")
    in_memory = load_data("folder", root, resolution=16)
    with caplog.at_level(logging.INFO):
        in_file = load_data("folder", root, resolution=16, memory_gb=1e-5)
    assert f"they go to a temporary file in {folder}" in caplog.text
    assert (in_memory.train.in_file, in_file.train.in_file) == (False, True)
    assert in_file.fingerprint == in_memory.fingerprint
    assert in_file.splits() == in_memory.splits()
    assert (in_file.mean, in_file.std) == (in_memory.mean, in_memory.std)
    mapped = Path("/proc/self/maps")
    if mapped.exists():
        assert str(folder) in mapped.read_text()
    assert not list(folder.iterdir())  # a killed process leaves nothing


def test_no_room_for_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ValueError, match=r"No space left on device\); set TMPDIR to a folder on a larger disk"):
        load_data("folder", make_images(tmp_path, {"a": 5, "b": 5}), memory_gb=0)
