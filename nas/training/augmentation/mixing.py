"""Augmentations that mix images with others of the batch, and their labels with them.

Images are uint8 tensors (n, 3, side, side), labels are shares of each class, (n, classes); generators are on the CPU.
"""

import numpy as np
import torch
from torch import Tensor

from nas.training.augmentation.geometry import inside


def mixup(
    images: Tensor, labels: Tensor, alpha: float, probability: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Lay another image over a share of the images."""
    kept, partner = _drawn(len(images), alpha, probability, generator)
    kept, partner = kept.to(images.device), partner.to(images.device)
    share = kept[:, None, None, None]
    mixed = share * images + (1 - share) * images[partner]
    return mixed.round_().clamp_(0, 255).to(torch.uint8), _mixed_labels(labels, kept, partner)


def cutmix(
    images: Tensor, labels: Tensor, alpha: float, probability: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Put a square of another image into a share of the images; labels follow the area that is covered."""
    kept, partner = _drawn(len(images), alpha, probability, generator)
    side = (1 - kept).sqrt()
    mask = inside(side, side, images.shape[-1], generator)
    kept = 1 - mask.float().mean(dim=(1, 2, 3))
    mask, kept, partner = mask.to(images.device), kept.to(images.device), partner.to(images.device)
    return torch.where(mask, images[partner], images), _mixed_labels(labels, kept, partner)


def _drawn(n: int, alpha: float, probability: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """For each image, the share of it that is kept (1 where it is not mixed), and the image it is mixed with."""
    # torch draws from Beta without a generator of one's own.
    rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    kept = torch.from_numpy(rng.beta(alpha, alpha, n)).float()
    kept = torch.where(torch.rand(n, generator=generator) < probability, kept, 1.0)
    return kept, torch.randperm(n, generator=generator)


def _mixed_labels(labels: Tensor, kept: Tensor, partner: Tensor) -> Tensor:
    return kept[:, None] * labels + (1 - kept[:, None]) * labels[partner]
