"""Mean and standard deviation of each channel, and what is wrong with them. Units: pixel / 255."""

import hashlib
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import PIL
import torch
from numpy.typing import NDArray

from nas.data.cache import keep_arrays, kept_arrays
from nas.data.dataset import Split
from nas.data.decode import RULES
from nas.progress import SILENT, Listener

IMAGES = 10_000
"""More are not read for the statistics; the mean is then within a few thousandths."""
_AT_ONCE = 256
_DARK = 32
_KEPT_FROM_S = 1.0
"""What took longer to sum up than this, in seconds, is kept for the next command."""


@dataclass(frozen=True)
class ChannelStatistics:
    """Of some images.

    Attributes
    ----------
    mean, std : of each channel.
    remarks : what is to be said of them, in sentences.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    remarks: tuple[str, ...]


def channel_statistics(split: Split, content: str | None = None, listener: Listener = SILENT) -> ChannelStatistics:
    """Of a split, read in batches; of a fixed sample where there are more than `IMAGES`.

    Parameters
    ----------
    content : digest of the files and splits that the images follow from; what is summed up is kept by it.
    listener : is shown the progress of reading images from their files.
    """
    rows = np.arange(len(split))
    if len(rows) > IMAGES:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:IMAGES])
    sums = torch.from_numpy(_sums(split, rows, content, listener))
    total, squares, alike, most = sums[:3], sums[3:6], bool(sums[6]), int(sums[7])
    count = len(rows) * split.side**2
    mean = total.double() / count
    variance = squares.double() / count - mean.square()
    # A channel that never changes has no scale of its own; one grey level stands in for it.
    std = variance.clamp(min=1.0).sqrt()
    (m0, m1, m2), (s0, s1, s2) = (mean / 255).tolist(), (std / 255).tolist()
    flat = [name for name, v in zip(("red", "green", "blue"), variance.tolist(), strict=True) if v < 1]
    remarks = []
    if alike:
        remarks.append("all training images are alike: nothing can be learnt from them")
    elif flat:
        which = "the channel" if len(flat) == 1 else "the channels"
        remarks.append(f"{which} {' and '.join(flat)} hardly change over the training images (less than a grey level)")
    elif most < _DARK:
        remarks.append(
            f"the training images use only the darkest {most + 1} of 256 levels; brighten them if they can be"
        )
    return ChannelStatistics((m0, m1, m2), (s0, s1, s2), tuple(remarks))


def _sums(split: Split, rows: NDArray[np.int64], content: str | None, listener: Listener) -> NDArray[np.int64]:
    """Of the pixels and of their squares by channel, whether all images are alike, and the largest pixel: exact."""
    facts = f"{RULES} {PIL.__version__} {content} {split.side} {split.streamed} {len(split)} {len(rows)}"
    key = "sums_" + hashlib.sha256(facts.encode()).hexdigest()[:40]
    kept = None if content is None else kept_arrays(key)
    if kept is not None:
        return kept["sums"]
    began = perf_counter()
    total, squares = torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)
    first, alike, most, n = None, True, 0, 0
    track = listener.track if split.streamed else SILENT.track
    with track("mean and deviation of the images") as done:
        for images, _ in split.batches(_AT_ONCE, rows):
            first = images[:1] if first is None else first
            alike = alike and torch.equal(images, first.expand_as(images))
            most = max(most, int(images.max()))
            pixels = images.to(torch.int64)
            total += pixels.sum(dim=(0, 2, 3))
            squares += pixels.square_().sum(dim=(0, 2, 3))
            n += len(images)
            done(n, len(rows))
    sums = np.array([*total.tolist(), *squares.tolist(), alike, most], dtype=np.int64)
    if content is not None and perf_counter() - began > _KEPT_FROM_S:
        keep_arrays(key, {"sums": sums})
    return sums
