"""Files that look alike become alike, whatever their depth, mode and format; one file's trouble stays with it."""

import runpy
import struct
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pictures import photo, photos, read
from PIL import Image

from nas.data.decode import read_square
from nas.data.transforms import resize

EXAMPLES = Path(__file__).parents[3] / "examples"
SCRIPTS = ("classify_onnx.py", "classify_tflite.py")
SIDE = 16


def grey() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, size=(SIDE, SIDE), dtype=np.uint8)


def example(script: str) -> Callable[[Path, int, int], NDArray[np.float32]]:
    """`read_image` of a script, whose runtime may not be installed."""
    names = ("onnxruntime", "ai_edge_litert", "ai_edge_litert.interpreter")
    with pytest.MonkeyPatch.context() as patch:  # other tests import the real ones
        for name in names:
            patch.setitem(sys.modules, name, types.SimpleNamespace(Interpreter=None))
        return runpy.run_path(str(EXAMPLES / script))["read_image"]  # type: ignore[no-any-return]


def deep(kind: str) -> Image.Image:
    values = grey()
    if kind == "I;16":
        return Image.fromarray(values.astype(np.uint16) * 257)
    if kind == "I;16B":
        big = (values.astype(">u2") * 257).astype(">u2")
        return Image.frombytes("I;16B", (SIDE, SIDE), big.tobytes())
    if kind == "I 8-bit":
        return Image.fromarray(values.astype(np.int32))
    if kind == "I 16-bit":
        return Image.fromarray(values.astype(np.int32) * 257)
    if kind == "F of 1":
        return Image.fromarray(values.astype(np.float32) / 255)
    if kind == "F of 255":
        return Image.fromarray(values.astype(np.float32))
    spread = values.astype(np.float32)
    spread.flat[:2] = 0, 255
    spread = spread * 1e4 - 5e5
    spread.flat[2] = np.nan
    return Image.fromarray(spread)


DEEP = ("I;16", "I;16B", "I 8-bit", "I 16-bit", "F of 1", "F of 255", "F of any range")


@pytest.mark.parametrize("kind", DEEP)
def test_deep_pictures_are_scaled_by_their_range(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "deep.tif"
    deep(kind).save(path)
    expected = grey()
    if kind == "F of any range":
        expected.flat[:3] = 0, 255, 0
    assert np.abs(read_square(path, SIDE)[0].astype(int) - expected).max() <= 1
    for script in SCRIPTS:
        found = example(script)(path, SIDE, SIDE) * 255
        assert np.abs(found - read_square(path, SIDE).transpose(1, 2, 0)).max() < 1e-3, script


def test_sixteen_bits_are_the_same_as_eight(tmp_path: Path) -> None:
    for bits in (8, 16):
        for name in ("a", "b"):
            for i in range(5):
                pixels = np.random.default_rng([i, ord(name)]).integers(0, 256, (20, 20), dtype=np.uint8)
                path = tmp_path / str(bits) / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels if bits == 8 else pixels.astype(np.uint16) * 257).save(path)
    shallow, full = read(tmp_path / "8", resolution=20)[0], read(tmp_path / "16", resolution=20)[0]
    assert (shallow.train.images == full.train.images).all()
    assert (shallow.mean, shallow.std) == (full.mean, full.std)


@pytest.mark.parametrize("kind", ["RGBA", "LA", "PA", "P png", "P gif", "L tRNS", "I;16 tRNS", "RGB tRNS"])
def test_transparent_places_lie_on_white(tmp_path: Path, kind: str) -> None:
    hole = np.zeros((SIDE, SIDE), dtype=bool)
    hole[: SIDE // 2] = True
    shown = []
    for hidden in (7, 200):
        values = np.where(hole, hidden, 100).astype(np.uint8)
        alpha = np.where(hole, 0, 255).astype(np.uint8)
        path = tmp_path / f"{hidden}.{'gif' if 'gif' in kind else 'tif' if kind == 'PA' else 'png'}"
        if kind in ("LA", "PA"):
            path = path.with_suffix(".png")
            Image.merge("LA", [Image.fromarray(values), Image.fromarray(alpha)]).save(path)
        elif kind == "RGBA":
            Image.fromarray(np.dstack([values] * 3 + [alpha])).save(path)
        elif kind.startswith("P"):
            index = Image.fromarray(np.where(hole, 1, 0).astype(np.uint8), mode="P")
            index.putpalette([100, 100, 100, hidden, hidden, hidden] + [0] * 762)
            index.save(path, transparency=1)
        elif kind == "I;16 tRNS":
            Image.fromarray(values.astype(np.uint16) * 257).save(path, transparency=hidden * 257)
        elif kind == "L tRNS":
            Image.fromarray(values).save(path, transparency=hidden)
        else:
            Image.fromarray(np.dstack([values] * 3)).save(path, transparency=(hidden,) * 3)
        shown.append(read_square(path, SIDE))
        assert np.abs(shown[-1][:, :6].astype(int) - 255).max() <= 1
        assert np.abs(shown[-1][:, -6:].astype(int) - 100).max() <= 1
        found = example("classify_onnx.py")(path, SIDE, SIDE) * 255
        assert np.abs(found - shown[-1].transpose(1, 2, 0)).max() < 1e-3
    assert (shown[0] == shown[1]).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB", "RGBX"])
def test_other_modes_are_read(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(np.full((SIDE, SIDE, 3), 255, dtype=np.uint8))
    made = Image.new("LAB", (SIDE, SIDE), (255, 128, 128)) if mode == "LAB" else picture.convert(mode)
    made.save(tmp_path / "x.tif")
    assert read_square(tmp_path / "x.tif", SIDE).min() >= 250


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_the_camera_was_held(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    upright[:8, :8], upright[:8, 8:] = (255, 0, 0), (0, 255, 0)
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    picture = Image.fromarray(upright)
    stored = picture if back is None else picture.transpose(Image.Transpose(back))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"x.{suffix}"
    stored.save(path, exif=exif, **({"quality": 100} if suffix in ("jpg", "webp") else {}))
    found = read_square(path, SIDE).astype(int)
    assert found[0, :6, :6].min() > 200, "red is at the top left"
    assert found[1, :6, -6:].min() > 200, "green is at the top right"
    assert found[:, -6:].max() < 60
    for script in SCRIPTS:
        assert np.abs(example(script)(path, SIDE, SIDE) * 255 - found.transpose(1, 2, 0)).max() < 1e-3


def odd_exif(path: Path, kind: str) -> None:
    """A good JPEG with EXIF that readers stumble over."""
    if kind == "rational that is text":  # X resolution, type 5, but with a count of one short
        body = struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", 2)
        body += struct.pack("<HHI4s", 0x0112, 3, 1, b"\x06\0\0\0") + struct.pack("<HHI4s", 0x011A, 2, 4, b"abcd")
        body += struct.pack("<I", 0)
    elif kind == "offset beyond the end":
        body = struct.pack("<2sHI", b"II", 42, 60000)
    else:
        body = b"\xff\xfe nonsense"
    with Image.open(photo(path.with_suffix(".png"), 5)) as picture:
        picture.save(path, exif=b"Exif\0\0" + body)
    path.with_suffix(".png").unlink()


@pytest.mark.parametrize("kind", ["rational that is text", "offset beyond the end", "nonsense"])
def test_odd_exif_does_not_matter(tmp_path: Path, kind: str) -> None:
    photos(tmp_path, ["a", "b"])
    odd_exif(tmp_path / "a" / "odd.jpg", kind)
    data, said = read(tmp_path, on_unreadable="fail")
    assert "a/odd.jpg" in data.train.names + data.validation.names + data.test.names
    assert "skipped" not in said
    for script in SCRIPTS:
        assert example(script)(tmp_path / "a" / "odd.jpg", SIDE, SIDE).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_examples_read_a_photograph_by_way_of_the_side_that_it_is_kept_at(tmp_path: Path, script: str) -> None:
    path = photo(tmp_path / "x.jpg", 0, (300, 200))
    kept = torch.from_numpy(read_square(path, 2 * SIDE).copy())[None]
    expected = resize(kept, SIDE)[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(example(script)(path, SIDE, 2 * SIDE) * 255 - expected).max() < 1.5
    assert np.abs(example(script)(path, SIDE, SIDE) * 255 - expected).max() > 5


class Trouble(Exception):
    """Of no class that anybody thinks of."""


def test_any_exception_is_one_files_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(tmp_path, ["a", "b"])
    bad = tmp_path / "b" / "3.png"
    real = Image.open

    def stumbling(file: object, *more: object, **named: object) -> Image.Image:
        if str(file) == str(bad):
            raise Trouble("required argument is not an integer")
        return real(file, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Image, "open", stumbling)
    data, said = read(tmp_path)
    assert data.skipped == ("b/3.png",)
    assert "skipped 1 of 10 images that cannot be read: b/3.png (required argument" in said
    with pytest.raises(ValueError, match=r"the image b/3\.png cannot be read: required argument"):
        read(tmp_path, on_unreadable="fail")
