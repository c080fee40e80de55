"""Mean and standard deviation of each channel, and what is wrong with them. Units: pixel / 255."""

from dataclasses import dataclass

import numpy as np
import torch

from nas.data.dataset import Split

IMAGES = 10_000
"""More are not read for the statistics; the mean is then within a few thousandths."""
_AT_ONCE = 256
_DARK = 32


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


def channel_statistics(split: Split) -> ChannelStatistics:
    """Of a split, read in batches; of a fixed sample where there are more than `IMAGES`."""
    rows = np.arange(len(split))
    if len(rows) > IMAGES:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:IMAGES])
    total, squares = torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)
    first, alike, most = None, True, 0
    for images, _ in split.batches(_AT_ONCE, rows):
        first = images[:1] if first is None else first
        alike = alike and torch.equal(images, first.expand_as(images))
        most = max(most, int(images.max()))
        pixels = images.to(torch.int64)  # exact integers
        total += pixels.sum(dim=(0, 2, 3))
        squares += pixels.square_().sum(dim=(0, 2, 3))
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
