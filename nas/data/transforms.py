"""From stored pixels to what a network reads, a batch at a time.

Training, evaluation, calibration of batch-norm and the parity check of an export all go through `prepare`.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(images: Tensor, resolution: int) -> Tensor:
    """Square uint8 images (n, 3, side, side) at another side, bilinear with antialiasing."""
    if images.shape[-1] == resolution:
        return images
    pixels = F.interpolate(images.to(torch.float32), size=(resolution, resolution), mode="bilinear", antialias=True)
    return pixels.round_().clamp_(0, 255).to(torch.uint8)


def prepare(images: Tensor, resolution: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Resize and normalise. Nothing is cut off: the crop ratio of evaluation is 1, of the stored square.

    Parameters
    ----------
    images : uint8 tensor of shape (n, 3, side, side).
    resolution : side of the result in pixels.
    mean, std : one for each channel, in units of pixel / 255.

    Returns
    -------
    Float32 tensor of shape (n, 3, resolution, resolution), channels-last in memory.
    """
    pixels = resize(images, resolution).to(torch.float32, memory_format=torch.channels_last)
    scale, shift = _normalisation(tuple(mean), tuple(std), images.device)
    return torch.addcmul(shift, pixels, scale).contiguous(memory_format=torch.channels_last)


@lru_cache(maxsize=16)
def _normalisation(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """What pixels are multiplied by, and what is then added; kept, for every copy to a GPU waits for it."""
    scale = torch.tensor([1 / (255 * s) for s in std], device=device).view(1, 3, 1, 1)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=device).view(1, 3, 1, 1)
    return scale, shift
