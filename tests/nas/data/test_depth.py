"""Deep pictures of a set become black to white by one range, which is found from the training pictures."""

import runpy
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pictures import photos, read
from PIL import Image

from nas.data import DataSettings, ImageData, depth
from nas.data.contents import content_digest
from nas.export.checked import about

EXAMPLES = Path(__file__).parents[3] / "examples"
SIDE = 16
Values = NDArray[np.float64]


def deep_photos(root: Path, made: Callable[[Values], Values], kind: str = "uint16", n: int = 6) -> Path:
    """Pictures in classes a and b, whose values `made` makes of noise from 0 to 1."""
    for number, label in enumerate("ab"):
        for i in range(n):
            values = made(np.random.default_rng([number, i]).random((SIDE, SIDE)))
            path = root / label / f"{i}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values.astype(kind)).save(path)
    return root


def levels(data: ImageData) -> int:
    """How many grey levels the training images use."""
    assert isinstance(data.train.images, torch.Tensor)
    return len(data.train.images.unique())


@pytest.mark.parametrize(
    ("made", "kind", "ends"),
    [
        (lambda v: v * 250, "uint16", (0, 255)),
        (lambda v: v * 1000, "uint16", (0, 1023)),
        (lambda v: v * 4000, "uint16", (0, 4095)),
        (lambda v: v * 16000, "uint16", (0, 16383)),
        (lambda v: v * 65535, "uint16", (0, 65535)),
        (lambda v: v * 1e9, "int32", (0, 2**30 - 1)),
        (lambda v: 27000 + v * 4000, "uint16", (26000, 32000)),
        (lambda v: v * 4000 - 1000, "int32", (-2000, 4000)),
        (lambda v: v, "float32", (0, 1)),
        (lambda v: v * 255, "float32", (0, 255)),
        (lambda v: 20 + v * 12, "float32", (17, 35)),
        (lambda v: np.where(v > 0.5, np.nan, v), "float32", (0, 1)),
    ],
    ids=["8 bits", "10 bits", "12 bits", "14 bits", "16 bits", "30 bits", "thermal", "signed", "F of 1", "F of 255",
         "metres", "F with gaps"],
)  # fmt: skip
def test_one_range_is_found_for_a_set(
    tmp_path: Path, made: Callable[[Values], Values], kind: str, ends: tuple[float, float]
) -> None:
    data, said = read(deep_photos(tmp_path, made, kind))
    assert data.value_range is not None
    assert np.allclose(data.value_range, ends, atol=0.02 * (ends[1] - ends[0]))
    assert levels(data) > 100
    assert said.count("pictures of 16 bits and more: values from ") == 1
    assert "become black to white in all of them, as 12 of them show; data.value_range=[LOW,HIGH] sets others" in said
    assert "careful" not in said


def test_single_wrong_pixels_do_not_matter(tmp_path: Path) -> None:
    def hot(values: Values) -> Values:
        wrong = values.flat[0] > 0.9
        values = values * 4000
        values.flat[0] = 65535 if wrong else 0
        return values

    data, _ = read(deep_photos(tmp_path, hot, n=20))
    assert isinstance(data.train.images, torch.Tensor)
    assert data.train.images.max() == 255
    assert data.value_range == (0, 4095)


def test_a_dark_picture_stays_dark_beside_its_siblings(tmp_path: Path) -> None:
    root = deep_photos(tmp_path, lambda values: values * 65535)
    for label in "ab":
        for i in range(6):
            dark = np.random.default_rng(i).integers(0, 200 + i, (SIDE, SIDE)).astype(np.uint16)
            Image.fromarray(dark).save(root / label / f"dark{label}{i}.tif")
    data, _ = read(root)
    rows = [row for row, name in enumerate(data.train.names) if "dark" in name]
    assert data.train.batch(np.array(rows)).max() <= 1


def test_pictures_of_eight_bits_beside_deep_ones_are_as_they_were(tmp_path: Path) -> None:
    root = photos(tmp_path, ["a", "b"])
    before = read(root)[0]
    deep_photos(root, lambda values: values * 4000)
    after, _ = read(root)
    assert after.value_range == (0, 4095)
    pixels = dict(zip(before.train.names, before.train.batch(np.arange(len(before.train))), strict=True))
    both = [row for row, name in enumerate(after.train.names) if name in pixels]
    assert both
    for row in both:
        assert (after.train.batch(np.array([row]))[0] == pixels[after.train.names[row]]).all()


def test_the_range_of_own_splits_is_that_of_the_training_images(tmp_path: Path) -> None:
    deep_photos(tmp_path / "train", lambda values: values * 4000)
    for split, most in (("val", 60_000), ("test", 200)):
        deep_photos(tmp_path / split, lambda values, most=most: (1 - values) * most)  # type: ignore[misc]
    data, _ = read(tmp_path)
    assert data.value_range == (0, 4095)
    assert data.validation.batch(np.arange(4)).float().mean() > 230
    assert data.test.batch(np.arange(4)).max() <= 13


def test_whole_numbers_and_floating_point_in_one_set_are_said(tmp_path: Path) -> None:
    deep_photos(tmp_path, lambda values: values * 4000)
    Image.fromarray(np.random.default_rng(9).random((SIDE, SIDE)).astype(np.float32)).save(tmp_path / "a" / "f.tif")
    assert "Careful: some are of whole numbers and others floating point" in read(tmp_path)[1]


def test_streamed_images_have_the_same_range(tmp_path: Path) -> None:
    root = deep_photos(tmp_path, lambda values: values * 4000)
    whole, streamed = read(root)[0], read(root, memory_gb=0.0, workers=0)[0]
    assert streamed.train.streamed
    assert streamed.fingerprint == whole.fingerprint
    assert streamed.train.digest() == whole.train.digest()
    rows = np.arange(3)
    assert (streamed.train.take(rows).batch(rows) == whole.train.batch(rows)).all()


def test_the_range_belongs_to_the_images(tmp_path: Path) -> None:
    root = str(deep_photos(tmp_path, lambda values: values * 4000))
    found, given = read(root)[0], read(root, value_range=[0, 4095])
    assert given[0].fingerprint == found.fingerprint
    assert given[1].count("values from 0 to 4,095 become black to white in all of them\n") == 1
    assert read(root, value_range=(0, 9000))[0].fingerprint != found.fingerprint
    assert content_digest(DataSettings("folder", root, value_range=(0, 9000))) != content_digest(
        DataSettings("folder", root)
    )


def test_a_set_is_named_as_before_unless_it_is_read_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(tmp_path / "plain", ["a", "b"])
    deep_photos(tmp_path / "full", lambda values: values * 65535)
    deep_photos(tmp_path / "part", lambda values: values * 4000)
    names = ("plain", "full", "part")

    def digests() -> list[tuple[str, str]]:
        roots = [str(tmp_path / name) for name in names]
        return [(content_digest(DataSettings("folder", root)), read(root)[0].fingerprint) for root in roots]

    now = digests()
    monkeypatch.setattr("nas.data.contents.depth_of", lambda _: None)
    monkeypatch.setattr("nas.data.pictures.depth_of", lambda _: None)
    assert [a == b and c == d for (a, c), (b, d) in zip(now, digests(), strict=True)] == [True, True, False]


def test_a_range_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(depth, "_KEPT_FROM_S", -1.0)
    deep_photos(tmp_path / "deep", lambda values: values * 4000)
    photos(tmp_path / "plain", ["a", "b"])
    before = [read(tmp_path / name) for name in ("deep", "plain")]
    depth._found.cache_clear()
    monkeypatch.setattr(depth, "deep_mode", lambda _: pytest.fail("looked at again"))
    for name, (data, said) in zip(("deep", "plain"), before, strict=True):
        again, told = read(tmp_path / name)
        assert (again.value_range, told) == (data.value_range, said)


@pytest.mark.parametrize(
    ("given", "name"), [([5, 5], "folder"), ([1], "folder"), (7, "folder"), (["a", 2], "folder"), ([0, 9], "digits")]
)
def test_a_range_that_cannot_be_is_refused(given: object, name: str) -> None:
    with pytest.raises(ValueError, match=r"data\.value_range"):
        DataSettings(name, "x", value_range=given)  # type: ignore[arg-type]


@pytest.mark.parametrize("script", ["classify_onnx.py", "classify_tflite.py"])
def test_the_examples_read_pictures_by_the_range_in_the_exported_file(
    tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _ = read(deep_photos(tmp_path, lambda values: 27000 + values * 4000))
    facts = about(data)
    assert facts["value_range"] == list(data.value_range or ())
    for name in ("onnxruntime", "ai_edge_litert", "ai_edge_litert.interpreter"):
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(Interpreter=None))
    read_image = runpy.run_path(str(EXAMPLES / script))["read_image"]
    found = read_image(tmp_path / data.train.names[0], SIDE, SIDE, facts["value_range"]) * 255
    assert np.abs(found - data.train.batch(np.array([0]))[0].permute(1, 2, 0).numpy()).max() < 1e-3
    assert "value_range" not in about(read(photos(tmp_path / "plain", ["a", "b"]))[0])
