"""Which values of deep pictures (16 or 32 bits, floating point) become black and white: one range for a whole set.

Cameras and scanners keep 10, 12 or 14 bits, or temperatures, in files of 16; the header of a file does not say which.
So a sample of the training pictures does: from 0 to the smallest 2^k - 1 that holds its values, or about the values
themselves where these fill little of that. One value in a thousand may lie outside at either end, as single wrong
pixels do, and is cut off.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from time import perf_counter
from typing import NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray

from nas.data.cache import file_stat, keep_arrays, kept_arrays
from nas.data.decode import deep_mode, deep_values
from nas.data.folder import Layout

Range = tuple[float, float]

FULL: Range = (0.0, 65535.0)
"""Of 16 bits; by it earlier versions scaled every file of 16 bits that had a value above 255."""
_LOOKED_AT = 1000
"""Training pictures whose headers are read. Where none of these is deep, others are read as of a set not known."""
_SAMPLE = 100
"""Deep pictures whose values are read."""
_VALUES = 10_000
"""Of each of them."""
_OUTSIDE = 0.001
_LITTLE = 0.25
"""Share of a range of bits below which its values have a range of their own, this much wider at either end."""
_KEPT_FROM_S = 1.0


class Depth(NamedTuple):
    """The range of a set.

    Attributes
    ----------
    n_pictures : that it was found from; 0 where it was given.
    mixed : some are of whole numbers and others floating point.
    """

    range: Range
    n_pictures: int = 0
    mixed: bool = False


def depth_of(layout: Layout) -> Depth | None:
    """The range of the deep pictures of an image folder, from its training pictures; None where these have none."""
    files = [path for of_class in layout.files["train"] for path in of_class]
    chosen = np.linspace(0, len(files) - 1, min(_LOOKED_AT, len(files))).astype(int)
    return _found(tuple((files[row], *file_stat(files[row])) for row in chosen))


def deciding(given: Sequence[float] | None) -> list[float]:
    """What of a range images follow from: nothing where earlier versions read them in the same way."""
    return [] if given is None or tuple(given) == FULL else list(given)


def depth_sentence(depth: Depth) -> str:
    """What is said of a range."""
    low, high = depth.range
    ends = f"{_shown(low)} to {_shown(high)}"
    said = f"pictures of 16 bits and more: values from {ends} become black to white in all of them"
    if not depth.n_pictures:
        return said
    said += f", as {depth.n_pictures:,} of them show; data.value_range=[LOW,HIGH] sets others"
    if depth.mixed:
        said += ". Careful: some are of whole numbers and others floating point, and one range is for both"
    return said


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


@lru_cache(maxsize=8)
def _found(files: tuple[tuple[str, int, int, int], ...]) -> Depth | None:
    """Of pictures, each with what `file_stat` says; found once for files that have not changed."""
    key = "range_" + hashlib.sha256(repr((PIL.__version__, files)).encode()).hexdigest()[:40]
    kept = kept_arrays(key)
    if kept is not None and kept.keys() >= {"range", "n"}:
        (low, high), (n, mixed) = kept["range"].tolist(), kept["n"].tolist()
        return Depth((low, high), n, bool(mixed)) if n else None
    began = perf_counter()
    modes = {path: mode for path, *_ in files if (mode := deep_mode(path))}
    deep, mixed = list(modes), len({mode[0] for mode in modes.values()}) > 1
    chosen = np.linspace(0, len(deep) - 1, min(_SAMPLE, len(deep))).astype(int)
    values = [found for row in chosen if len(found := deep_values(deep[row], _VALUES))]
    depth = Depth(_range_of(np.concatenate(values)), len(values), mixed) if values else None
    if perf_counter() - began > _KEPT_FROM_S:
        keep_arrays(key, {"range": np.array(depth.range if depth else FULL), "n": np.array([len(values), mixed])})
    return depth


def _range_of(values: NDArray[np.float64]) -> Range:
    low, high = (float(value) for value in np.quantile(values, (_OUTSIDE, 1 - _OUTSIDE)))
    if low == high:  # nearly all of one value: the others are the picture
        low, high = float(values.min()), float(values.max())
    full = next((end for end in (1.0, *(2.0**bits - 1 for bits in range(8, 33))) if high <= end), high)
    if low >= 0 and (low == high or high - low >= _LITTLE * full):
        return 0.0, full
    room = _LITTLE * (high - low)
    return (low - room, high + room) if room else (low, low + 1)
