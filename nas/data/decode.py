"""One file becomes the pixels of its middle square, uint8 RGB; Pillow reads it.

Files that look alike become alike: turned as the camera held it, transparent places on a white ground, deep pictures
(grey of 16 bits or more, floating point) brought to eight bits by the range of their set, see `nas.data.depth`.
`examples/` read pictures by the same rules, but for LAB.
"""

import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

RULES = 2
"""Number of these rules; decoded images that were kept from other rules are decoded anew."""

# Not pictures (videos, tables, print jobs), or read by starting another program.
_REFUSED_FORMATS = frozenset(
    {"BUFR", "EPS", "FLI", "FTEX", "GRIB", "HDF5", "IM", "IPTC", "MCIDAS", "MPEG", "PDF", "SPIDER", "WMF", "XVTHUMB"}
)
DEEP = ("I", "F")
"""Modes of Pillow that begin so are deep."""
ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@cache
def formats() -> tuple[str, ...]:
    """Names of the picture formats that this Pillow reads."""
    with suppress(ImportError):  # HEIC, where the user has installed it
        import pillow_heif  # type: ignore[import-not-found,unused-ignore]

        pillow_heif.register_heif_opener()
    Image.init()
    return tuple(sorted(set(Image.OPEN) - _REFUSED_FORMATS))


@cache
def suffixes() -> frozenset[str]:
    """Suffixes of the files that are read, in lower case, each with its dot."""
    readable = formats()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in readable)


def is_picture(file: str | Path) -> bool:
    """Whether Pillow knows the file by its contents; for files without a suffix."""
    try:
        with _opened(file):
            return True
    except Exception:
        return False


def shorter_side(file: str | Path) -> int | None:
    """Of a picture in pixels, from its header alone; None where it cannot be read."""
    try:
        with _opened(file) as opened:
            return min(opened.size)
    except Exception:
        return None


def deep_mode(file: str | Path) -> str | None:
    """Pillow's mode of a deep picture, from its header alone; None of any other."""
    try:
        with _opened(file) as opened:
            return opened.mode if opened.mode.startswith(DEEP) else None
    except Exception:
        return None


def deep_values(file: str | Path, most: int) -> NDArray[np.float64]:
    """At most so many values of a deep picture, evenly spaced; none where it cannot be read."""
    try:
        with _opened(file) as opened:
            opened.load()
            values = np.asarray(opened).astype(np.float64).ravel()
            values = values[np.linspace(0, len(values) - 1, min(most, len(values))).astype(np.int64)]
            shown = np.isfinite(values) & (values != opened.info.get("transparency"))
            return np.asarray(values[shown], dtype=np.float64)
    except Exception:
        return np.empty(0)


def read_square(file: str | Path, side: int, value_range: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """The middle square of a picture (its first, where it holds several), shape (3, side, side).

    Parameters
    ----------
    value_range : of the deep pictures of its set; see `as_rgb`.

    Raises
    ------
    Exception : of any class, where the file cannot be read: Pillow's readers raise whatever they stumble over.
    """
    with _opened(file) as opened:
        opened.draft("RGB", (side, side))  # lets JPEG decode at a fraction of its size
        opened.load()
        turn = _TURNS.get(_orientation(opened))
        picture = as_rgb(opened, value_range)
    if turn is not None:
        picture = picture.transpose(turn)
    square = ImageOps.fit(picture, (side, side), Image.Resampling.BICUBIC)
    return np.asarray(square).transpose(2, 0, 1)


def as_rgb(picture: Image.Image, value_range: tuple[float, float] | None = None) -> Image.Image:
    """A picture of any mode and depth, in eight bits of red, green and blue.

    Parameters
    ----------
    value_range : values of a deep picture that become black and white. None for one whose set is not known: all 16
        bits, or of 32 bits and floating point the smallest usual range that holds its values, else their own.
    """
    if picture.mode.startswith(DEEP):
        return _of_deep(picture, value_range)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    if picture.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        made = ImageCms.profileToProfile(picture, lab, rgb, outputMode="RGB")
        assert made is not None  # only of a change in place
        return made
    return picture.convert("RGB")


def _of_deep(picture: Image.Image, value_range: tuple[float, float] | None) -> Image.Image:
    values = np.asarray(picture).astype(np.float64)
    values[~np.isfinite(values)] = np.nan
    start, end = value_range or _usual_range(picture.mode, values)
    grey = np.nan_to_num((values - start) * (255.0 / (end - start or 1.0)), nan=0.0).clip(0.0, 255.0)
    transparent = picture.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255.0
    return Image.fromarray(grey.round().astype(np.uint8)).convert("RGB")


def _usual_range(mode: str, values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = (float(np.nanmin(values)), float(np.nanmax(values))) if np.isfinite(values).any() else (0.0, 0.0)
    ranges = {"F": (1.0, 255.0, 65535.0), "I": (255.0, 65535.0)}.get(mode, (65535.0,))
    return next(((0.0, full) for full in ranges if low >= 0 and high <= full), (low, high))


def _opened(file: str | Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # large pictures, odd EXIF: read as far as they can be
        return Image.open(file, formats=formats())


def _orientation(picture: Image.Image) -> int:
    """How the camera was held, 1 to 8; upright where that cannot be read. Nothing else of EXIF is."""
    try:
        return int(picture.getexif().get(ORIENTATION, 1))
    except Exception:
        return 1
