"""TrivialAugment and RandAugment: one of fourteen operations for each image, all images of one operation at once.

https://arxiv.org/abs/2103.10158, https://arxiv.org/abs/1909.13719. Images are uint8 tensors (n, 3, side, side) and
stay so; generators are on the CPU. Where an image is moved, the colour `fill` shows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as V

from nas.training.augmentation.colours import brightness, contrast, saturation, sharpness
from nas.training.augmentation.geometry import sampled

BINS = 31
"""Strengths are whole numbers below this; 0 changes nothing."""

Change = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Takes images, a strength for each, shape (n,), and the fill colour; gives the changed images."""


def _affine(entry: Callable[[Tensor], Tensor]) -> Change:
    return lambda images, strengths, fill: sampled(images, entry(strengths), fill)


def _identity(n: int) -> Tensor:
    return torch.eye(2, 3).repeat(n, 1, 1)


def _shear_x(strengths: Tensor) -> Tensor:
    matrices = _identity(len(strengths))
    matrices[:, 0, 1] = strengths
    return matrices


def _shear_y(strengths: Tensor) -> Tensor:
    matrices = _identity(len(strengths))
    matrices[:, 1, 0] = strengths
    return matrices


def _translate_x(strengths: Tensor) -> Tensor:
    matrices = _identity(len(strengths))
    matrices[:, 0, 2] = 2 * strengths  # the image is 2 wide
    return matrices


def _translate_y(strengths: Tensor) -> Tensor:
    matrices = _identity(len(strengths))
    matrices[:, 1, 2] = 2 * strengths
    return matrices


def _rotate(strengths: Tensor) -> Tensor:
    """By degrees."""
    angles = strengths * pi / 180
    matrices = torch.zeros(len(angles), 2, 3)
    matrices[:, 0, 0], matrices[:, 0, 1] = angles.cos(), -angles.sin()
    matrices[:, 1, 0], matrices[:, 1, 1] = angles.sin(), angles.cos()
    return matrices


def _posterize(images: Tensor, strengths: Tensor, fill: Tensor) -> Tensor:
    """Keep 8 - strength bits of every pixel."""
    steps = 2 ** strengths.round().to(images.device, torch.int32).view(-1, 1, 1, 1)
    return (images.to(torch.int32) // steps * steps).to(torch.uint8)


def _solarize(images: Tensor, strengths: Tensor, fill: Tensor) -> Tensor:
    """Invert pixels from 256 * (1 - strength) on: none at strength 0, all at 1."""
    limit = (256 * (1 - strengths)).to(images.device).view(-1, 1, 1, 1)
    return torch.where(images >= limit, 255 - images, images)


@dataclass(frozen=True)
class Operation:
    """One of the fourteen.

    Attributes
    ----------
    change : what it does.
    trivial, rand : largest strength in TrivialAugment's wide range and in RandAugment's.
    signed : whether a strength may as well be negative.
    """

    change: Change
    trivial: float = 0.0
    rand: float = 0.0
    signed: bool = False


OPERATIONS = {
    "identity": Operation(lambda images, strengths, fill: images),
    "shear_x": Operation(_affine(_shear_x), 0.99, 0.3, signed=True),
    "shear_y": Operation(_affine(_shear_y), 0.99, 0.3, signed=True),
    # The papers' 32 and 100 pixels are of images of 224, the latter of 331.
    "translate_x": Operation(_affine(_translate_x), 32 / 224, 150 / 331, signed=True),
    "translate_y": Operation(_affine(_translate_y), 32 / 224, 150 / 331, signed=True),
    "rotate": Operation(_affine(_rotate), 135, 30, signed=True),
    "brightness": Operation(lambda images, s, fill: brightness(images, 1 + s), 0.99, 0.9, signed=True),
    "saturation": Operation(lambda images, s, fill: saturation(images, 1 + s), 0.99, 0.9, signed=True),
    "contrast": Operation(lambda images, s, fill: contrast(images, 1 + s), 0.99, 0.9, signed=True),
    "sharpness": Operation(lambda images, s, fill: sharpness(images, 1 + s), 0.99, 0.9, signed=True),
    "posterize": Operation(_posterize, 6, 4),
    "solarize": Operation(_solarize, 1, 1),
    "autocontrast": Operation(lambda images, strengths, fill: V.autocontrast(images)),
    "equalize": Operation(lambda images, strengths, fill: V.equalize(images)),
}


def trivial_augment(images: Tensor, fill: Tensor, generator: torch.Generator) -> Tensor:
    """One random operation for each image, at a random strength."""
    n = len(images)
    bins = torch.randint(BINS, (n,), generator=generator)
    return _changed(images, bins, [operation.trivial for operation in OPERATIONS.values()], fill, generator)


def rand_augment(images: Tensor, operations: int, magnitude: int, fill: Tensor, generator: torch.Generator) -> Tensor:
    """Some random operations for each image, one after another, all of strength `magnitude`."""
    bins = torch.full((len(images),), magnitude)
    largest = [operation.rand for operation in OPERATIONS.values()]
    for _ in range(operations):
        images = _changed(images, bins, largest, fill, generator)
    return images


def _changed(images: Tensor, bins: Tensor, largest: list[float], fill: Tensor, generator: torch.Generator) -> Tensor:
    """Change each image by a random operation, at ``bins / (BINS - 1)`` of its largest strength."""
    n = len(images)
    chosen = torch.randint(len(OPERATIONS), (n,), generator=generator)
    signs = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    changed = images.clone()
    for number, operation in enumerate(OPERATIONS.values()):
        rows = (chosen == number).nonzero()[:, 0]
        if len(rows):
            strengths = bins[rows] / (BINS - 1) * largest[number] * (signs[rows] if operation.signed else 1.0)
            there = rows.to(images.device)
            changed[there] = operation.change(images[there], strengths, fill)
    return changed
