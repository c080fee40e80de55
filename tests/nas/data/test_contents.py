"""The same photographs are the same, however their folder is named and wherever it lies."""

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pictures import photo, photos, read
from safetensors.numpy import load_file, save_file

from latency_tables.sealed import BLANK, KEY, seal
from nas.data import DataSettings, cache, contents, pictures, statistics
from nas.data.cache import keep_arrays, kept_arrays
from nas.data.contents import content_digest, hash_files
from nas.data.streaming import StreamedImages
from nas.pipeline.given import space_to_train
from nas.pipeline.images import why_anew
from nas.pipeline.request import SearchRequest
from search_spaces import get_space
from search_spaces.settings import SpaceSettings

Refuse = Callable[[object, str], None]


@pytest.fixture
def refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """All that is read is kept in ``cache``; gives what makes a function fail from then on."""
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    for module in (pictures, statistics):
        monkeypatch.setattr(module, "_KEPT_FROM_S", -1.0)

    def fail(*_: object) -> None:
        raise AssertionError("read again")

    return lambda owner, name: monkeypatch.setattr(owner, name, fail)


def training_folder(root: str, **data: object) -> Path:
    return SearchRequest(data=DataSettings.from_dict({"name": "folder", "root": root} | data)).training_folder


def test_all_spellings_of_a_folder_find_the_same_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(tmp_path / "photos", ["a", "b"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    shutil.copytree(tmp_path / "photos", tmp_path / "moved" / "elsewhere")
    first = training_folder("./photos")
    for other in ("photos", "photos/", str(tmp_path / "photos"), "link", "~/photos", "moved/elsewhere", "moved"):
        assert training_folder(other) == first, other
    assert training_folder("photos", workers=3, memory_gb=7.0) == first
    assert read("moved")[0].fingerprint == read("photos/")[0].fingerprint


def test_another_set_or_setting_is_another_training(tmp_path: Path) -> None:
    root = photos(tmp_path, ["a", "b"])
    folders = {
        training_folder(str(root)),
        training_folder(str(root), seed=1),
        training_folder(str(root), resolution=48),
        training_folder(str(root), mean=[0.5] * 3, std=[0.5] * 3),
        training_folder(str(root), mean=[0.5] * 3, std=[0.25] * 3),
    }
    photo(root / "a" / "new.png", 99)
    folders.add(training_folder(str(root)))
    (root / "a" / "new.png").rename(root / "b" / "new.png")
    folders.add(training_folder(str(root)))
    photo(root / "b" / "new.png", 98)
    folders.add(training_folder(str(root)))
    assert len(folders) == 8


def test_a_training_keeps_its_folder_when_settings_come_up_that_it_does_not_have() -> None:
    """As `nas search` named it before there were ``data.mean`` and ``data.std``."""
    assert content_digest(DataSettings())[:10] == "44af5af19e"


def test_hashes_that_are_kept_are_used_for_files_that_have_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(contents, "_KEPT_FROM_S", -1.0)
    monkeypatch.setattr(contents, "_SETTLED_NS", 0)
    root = photos(tmp_path / "photos", ["a", "b"])
    settings = DataSettings("folder", str(root))
    for path in root.rglob("*.png"):
        os.utime(path, ns=(0, time.time_ns() - 10**10))
    before = content_digest(settings)
    hashed: list[str] = []
    real = contents._digest
    monkeypatch.setattr(contents, "_digest", lambda path: hashed.append(path) or real(path))
    assert content_digest(settings) == before
    assert hashed == []
    photo(root / "a" / "0.png", 77)
    after = content_digest(settings)
    assert after != before
    assert hashed == [str(root / "a" / "0.png")]
    path, stat = root / "a" / "1.png", (root / "a" / "1.png").stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as tools do that keep times
    assert content_digest(settings) != after
    after = content_digest(settings)
    for file in (tmp_path / "cache").iterdir():
        file.write_bytes(b"damaged")
    assert content_digest(settings) == after


def test_hashes_that_an_earlier_version_kept_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(contents, "_KEPT_FROM_S", -1.0)
    monkeypatch.setattr(contents, "_SETTLED_NS", 0)
    path = str(photo(tmp_path / "x.png", 0))
    before = hash_files([path], str(tmp_path))
    (kept,) = (tmp_path / "cache").iterdir()
    old = load_file(kept)
    old["stats"] = np.ascontiguousarray(old["stats"][:, :2])
    save_file(old | {"hashes": old["hashes"] * 0}, kept, metadata={KEY: BLANK})
    seal(kept)
    assert (hash_files([path], str(tmp_path)) == before).all()
    assert load_file(kept)["stats"].shape == (1, 3)


def test_a_cache_that_cannot_be_written_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(contents, "_KEPT_FROM_S", -1.0)
    path = photo(tmp_path / "x.png", 0)
    assert hash_files([str(path)], str(tmp_path)).shape == (1, 16)
    assert keep_arrays("key", {"a": np.zeros(3, dtype=np.uint8)}) is None
    assert kept_arrays("key") is None


def test_decoded_images_are_kept_for_the_next_command(tmp_path: Path, refuse: Refuse) -> None:
    root = photos(tmp_path / "photos", ["a", "b"])
    before = read(root)[0]
    refuse(pictures, "decode_all")
    after = read(root)[0]
    assert after.train.digest() == before.train.digest()
    with pytest.raises(AssertionError, match="read again"):
        read(root, resolution=24)
    for file in (tmp_path / "cache").glob("images_*"):
        file.write_bytes(b"damaged")
    with pytest.raises(AssertionError, match="read again"):
        read(root)


def test_an_unreadable_image_is_tried_again_and_the_others_are_kept(
    tmp_path: Path, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = photos(tmp_path / "photos", ["a", "b"], n=10)
    (root / "a" / "2.png").write_bytes(b"no picture")
    before, told = read(root)
    refuse(pictures, "decode_all")
    after, told_again = read(root)
    assert told_again == told
    assert "skipped 1 of 20 images that cannot be read: a/2.png" in told
    assert (after.skipped, after.fingerprint) == (before.skipped, before.fingerprint)
    assert after.train.digest() == before.train.digest()
    monkeypatch.setattr("nas.data.streaming.read_square", lambda *_: np.full((3, 16, 16), 7, dtype=np.uint8))
    assert read(root)[0].skipped == ()  # the package that reads it has been installed since


def test_what_is_summed_up_of_images_is_kept(tmp_path: Path, refuse: Refuse) -> None:
    root = photos(tmp_path / "photos", ["a", "b"])
    before, _ = read(root, memory_gb=0.0, workers=0)
    refuse(StreamedImages, "batches")
    after, _ = read(root, memory_gb=0.0, workers=0)
    assert (after.mean, after.std) == (before.mean, before.std)
    for other in ({"resolution": 24}, {"seed": 1}, {"on_unreadable": "fail"}):
        with pytest.raises(AssertionError, match="read again"):
            read(root, memory_gb=0.0, workers=0, **other)


def test_the_cache_is_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "MOST_BYTES", 3000)
    for number in range(5):
        assert keep_arrays(str(number), {"a": np.zeros(1000, dtype=np.uint8)}) is not None
        os.utime(tmp_path / f"images_{number}.safetensors", (number, number))
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 3300
    assert kept_arrays("4") is not None
    assert kept_arrays("0") is None
    assert keep_arrays("large", {"a": np.zeros(2000, dtype=np.uint8)}) is None


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"space": SpaceSettings(name="mobilenet_v3", width_mult=1.2)},
        {"space": SpaceSettings(name="mobilenet_v3", strides=(1, 2, 2, 1, 2))},
        {"init": "efficientnet_lite0"},
        {"model": "my_networks:build"},
    ],
    ids=["default", "width", "strides", "init", "model"],
)
def test_that_images_have_changed_since_a_training_is_said(
    tmp_path: Path, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = photos(tmp_path / "photos", ["a", "b"])
    request = SearchRequest(data=DataSettings("folder", str(root)), runs=str(tmp_path / "runs"), **asked)
    assert why_anew(request) == ""
    told = DataSettings("folder", str(root)).portable() | {"resolution": 32, "value_range": [0, 4095]}
    given = SimpleNamespace(space=get_space("mobilenet_v3"))  # tracing a network takes seconds
    monkeypatch.setattr("nas.pipeline.given.adopted", lambda _: given)
    trained = space_to_train(request, 2)
    card = {"data_settings": told, "recipe": {"name": request.recipe.name}, "seed": 0}
    folder = tmp_path / "runs" / "train" / "folder_before"
    folder.mkdir(parents=True)
    space = {"name": trained.name, "options": trained.options}
    record = {"space": space, "kernel_transform": False, "sha256": "0" * 64, "card": card}
    (folder / "supernet.json").write_text(json.dumps(record))
    assert ", the given network, or settings" in why_anew(request) or request.model is None
    assert "have changed since" in why_anew(request)
    assert str(folder) in why_anew(request)
    assert why_anew(replace(request, seed=1)) == ""
