"""Data are read, split and refused as documented."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from nas.data import DataSettings, ImageData, cifar10, load_data
from nas.data.transforms import resize
from nas.progress import Listener

DATA = sorted((Path(__file__).parents[3] / "conf" / "data").glob("*.yaml"))


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data(DataSettings())


def make_images(folder: Path, classes: dict[str, int], size: tuple[int, int] = (20, 14), seed: int = 0) -> Path:
    """An image folder with so many images of each class, each class of one colour."""
    rng = np.random.default_rng(seed)
    for shade, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 60, size=(size[1], size[0], 3)) + 60 * shade
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i:03d}.png")
    return folder


@pytest.mark.parametrize("file", DATA, ids=lambda file: file.stem)
def test_shipped_configurations_are_settings(file: Path) -> None:
    settings = yaml.safe_load(file.read_text())
    root = {"root": "images"} if settings["name"] != "digits" else {}
    made = DataSettings.from_dict(settings | root)
    assert made.name == file.stem
    assert all(value != getattr(DataSettings(), key) for key, value in settings.items() if key not in ("name", "root"))


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
    again, other = load_data(DataSettings()), load_data(DataSettings(seed=1))
    assert again.splits() == digits.splits()
    assert other.test.names != digits.test.names
    assert other.fingerprint != digits.fingerprint
    assert json.loads(json.dumps(digits.splits()))["seed"] == 0


def test_folder_split_by_seed(tmp_path: Path) -> None:
    root = make_images(tmp_path, {"red": 10, "blue": 20})
    data = load_data(DataSettings("folder", root, resolution=16))
    assert data.classes == ("blue", "red")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [18, 6, 6]
    assert data.flip
    for part in (data.train, data.validation, data.test):
        assert part.images.shape[1:] == (3, 16, 16)
        assert [name.split("/")[0] for name in part.names] == [data.classes[label] for label in part.labels]


def test_folder_with_its_own_test_split(tmp_path: Path) -> None:
    make_images(tmp_path / "train", {"a": 10, "b": 10})
    make_images(tmp_path / "test", {"a": 3, "b": 1}, seed=1)
    data = load_data(DataSettings("folder", tmp_path))
    assert sorted(data.test.names) == ["test/a/000.png", "test/a/001.png", "test/a/002.png", "test/b/000.png"]
    assert all(name.startswith("train/") for name in data.train.names + data.validation.names)
    assert [len(data.train), len(data.validation)] == [16, 4]


def test_changed_pixels_change_the_fingerprint(tmp_path: Path) -> None:
    root = make_images(tmp_path, {"a": 5, "b": 5})
    before = load_data(DataSettings("folder", root))
    Image.new("RGB", (20, 14), (1, 2, 3)).save(root / "a" / "004.png")
    after = load_data(DataSettings("folder", root))
    assert after.train.names == before.train.names
    assert after.fingerprint != before.fingerprint


def test_any_mode_is_cropped_to_the_centre_and_made_rgb(tmp_path: Path) -> None:
    root = make_images(tmp_path, {"a": 4, "b": 4})
    wide = np.zeros((16, 48), dtype=np.uint8)
    wide[:, 16:32] = 200  # only the centre square is light
    Image.fromarray(wide).save(root / "a" / "000.png")
    Image.fromarray(wide).convert("P").save(root / "a" / "001.gif")
    Image.fromarray(np.dstack([wide] * 3 + [wide])).save(root / "a" / "002.png")
    data = load_data(DataSettings("folder", root, resolution=16))
    images = {
        name: image
        for part in (data.train, data.validation, data.test)
        for name, image in zip(part.names, part.images, strict=True)
    }
    for name in ("a/000.png", "a/001.gif", "a/002.png"):
        assert int(images[name].min()) >= 199, name


def test_unreadable_image_is_skipped_with_a_count(tmp_path: Path) -> None:
    root = make_images(tmp_path, {"a": 6, "b": 6})
    whole = (root / "b" / "002.png").read_bytes()
    (root / "b" / "002.png").write_bytes(whole[: len(whole) // 2])
    (root / "a" / "001.jpg").write_text("no image")
    said: list[str] = []
    data = load_data(DataSettings("folder", root), Listener(say=said.append))
    assert "skipped 2 of 13 images" in " ".join(said)
    assert "001.jpg" in " ".join(said)
    assert data.splits()["skipped"] == ["a/001.jpg", "b/002.png"]
    assert sum(map(len, (data.train, data.validation, data.test))) == 11
    with pytest.raises(ValueError, match=r"001\.jpg cannot be read"):
        load_data(DataSettings("folder", root, on_unreadable="fail"))


def bad_folder(kind: str, root: Path) -> None:
    if kind == "one class":
        make_images(root, {"only": 5})
    elif kind == "few":
        make_images(root, {"many": 5, "few": 2})
    elif kind == "no images":
        make_images(root, {"a": 5})
        (root / "b").mkdir()
    elif kind == "other classes":
        make_images(root / "train", {"a": 5, "b": 5})
        make_images(root / "test", {"a": 5, "c": 5}, seed=1)
    elif kind == "empty":
        root.mkdir(exist_ok=True)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "does not exist"),
        ("empty", "has no class folders"),
        ("one class", "has one class, 'only'"),
        ("few", "class 'few' has 2 images; splitting needs at least 3"),
        ("no images", r"the class folder .*b has no images that can be read \(it is empty\)"),
        ("other classes", "has classes that train/ lacks: c"),
    ],
)
def test_bad_folders_are_one_sentence(tmp_path: Path, kind: str, message: str) -> None:
    root = tmp_path / "images"
    bad_folder(kind, root)
    with pytest.raises(ValueError, match=message) as error:
        load_data(DataSettings("folder", root))
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
        ({"resolution": 32.5}, "must be a whole number of pixels, got 32.5"),
        ({"seed": True}, "must be a whole number, got True"),
        ({"root": 2024}, "must be a folder, got 2024"),
        ({"flip": 1}, "must be true or false, got 1"),
        ({"workers": -1}, "must not be negative"),
        ({"memory_gb": -1.0}, "must not be negative"),
        ({"mean": [0.5, 0.5, 0.5]}, r"data\.mean and data\.std go together"),
        ({"mean": [123.7, 116.3, 103.5], "std": [0.5] * 3}, r"data\.mean must be three numbers from 0 to 1, in units"),
        ({"mean": 0.5, "std": 0.5}, r"data\.mean must be three numbers .* got 0\.5"),
        ({"mean": [0.5] * 4, "std": [0.5] * 3}, r"data\.mean must be three numbers"),
        ({"mean": [0.5, 0.5, True], "std": [0.5] * 3}, r"data\.mean must be three numbers"),
        ({"mean": ["0.5"] * 3, "std": [0.5] * 3}, r"data\.mean must be three numbers"),
        ({"mean": [0.5] * 3, "std": [0.5, 0, 0.5]}, r"data\.std must be three numbers from 0\.001 to 1"),
        ({"mean": [0.5] * 3, "std": [0.5, float("nan"), 0.5]}, r"data\.std must be three numbers"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataSettings(**arguments)


def test_mean_and_std_may_be_said(digits: ImageData) -> None:
    settings = DataSettings.from_dict({"mean": [0.5, 0.5, 0], "std": [0.5, 0.5, 1]})
    data = load_data(settings)
    assert (data.mean, data.std) == ((0.5, 0.5, 0.0), (0.5, 0.5, 1.0))
    assert data.fingerprint == digits.fingerprint
    assert DataSettings.from_dict(json.loads(json.dumps(settings.as_dict()))) == settings
    assert json.loads(json.dumps(settings.portable())) == settings.portable()


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
    data = load_data(DataSettings("cifar10", tmp_path))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [80, 20, 20]
    assert data.test.names[0] == "test_batch/0"
    assert int(data.test.labels[3]) == 3
    assert (data.test.images[0, 0] == 255).all()
    assert not (data.test.images[0, 1] == 255).all()
    assert load_data(DataSettings("cifar10", tmp_path / "cifar-10-batches-bin")).fingerprint == data.fingerprint


def test_cifar10_is_enlarged_a_few_images_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once: list[int] = []

    def few(images: torch.Tensor, resolution: int) -> torch.Tensor:
        at_once.append(len(images))
        return resize(images, resolution)

    monkeypatch.setattr(cifar10, "resize", few)
    monkeypatch.setattr(cifar10, "_AT_ONCE", 30)
    write_cifar10(tmp_path / "cifar-10-batches-bin")
    train, _, _ = cifar10.read_cifar10(tmp_path, 48)
    assert at_once == [30, 30, 30, 10, 20]
    assert isinstance(train.images, torch.Tensor)
    small, _, _ = cifar10.read_cifar10(tmp_path, 32)
    assert isinstance(small.images, torch.Tensor)
    assert torch.equal(train.images, resize(small.images, 48))


def test_cifar10_refusals(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no CIFAR-10; unpack the binary version"):
        load_data(DataSettings("cifar10", tmp_path))
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(ValueError, match=r"only the pickled Python version; .*or use an image folder"):
        load_data(DataSettings("cifar10", tmp_path))
    write_cifar10(tmp_path / "cifar-10-batches-bin")
    batch = tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin"
    batch.write_bytes(batch.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"data_batch_3\.bin is not a CIFAR-10 batch"):
        load_data(DataSettings("cifar10", tmp_path))
    batch.unlink()
    with pytest.raises(ValueError, match=r"data_batch_3\.bin is missing"):
        load_data(DataSettings("cifar10", tmp_path))
