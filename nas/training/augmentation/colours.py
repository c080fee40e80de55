"""Augmentations that change colours, a batch at a time, each image by a factor of its own.

Images are uint8 tensors (n, 3, height, width) and stay so. Factors are tensors of shape (n,): 0 takes away what they
are of, 1 leaves the image as it is.
"""

from math import pi

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as V

YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.321], [0.211, -0.523, 0.311]])
"""From red, green and blue to brightness and two coordinates of colour, as in NTSC television."""


def brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Between black and the image."""
    return _blended(images, torch.zeros_like(images), factors)


def contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Between the mean grey of the image and the image."""
    grey = V.rgb_to_grayscale(images).float().mean(dim=(1, 2, 3), keepdim=True).floor_()
    return _blended(images, grey, factors)


def saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Between the image in grey and the image."""
    return _blended(images, V.rgb_to_grayscale(images), factors)


def sharpness(images: Tensor, factors: Tensor) -> Tensor:
    """Between the image made smooth and the image; the border stays as it is."""
    return _blended(images, V.adjust_sharpness(images, 0.0), factors)


def hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the colours of each image by a share of the circle, shape (n,), around the axis of greys."""
    cos, sin = torch.cos(2 * pi * turns), torch.sin(2 * pi * turns)
    turn = torch.zeros(len(turns), 3, 3)
    turn[:, 0, 0] = 1
    turn[:, 1, 1], turn[:, 1, 2], turn[:, 2, 1], turn[:, 2, 2] = cos, -sin, sin, cos
    matrices = (torch.linalg.inv(YIQ) @ turn @ YIQ).to(images.device)  # (n, 3, 3)
    return _pixels(torch.einsum("nij,njhw->nihw", matrices, images.float()))


def jitter_colors(
    images: Tensor,
    brightness_by: float,
    contrast_by: float,
    saturation_by: float,
    hue_by: float,
    generator: torch.Generator,
) -> Tensor:
    """Multiply brightness, contrast and saturation by factors within 1 - by and 1 + by, turn the hue by up to `by`."""
    factors = torch.rand((4, len(images)), generator=generator) * 2 - 1  # in [-1, 1)
    if brightness_by:
        images = brightness(images, 1 + brightness_by * factors[0])
    if contrast_by:
        images = contrast(images, 1 + contrast_by * factors[1])
    if saturation_by:
        images = saturation(images, 1 + saturation_by * factors[2])
    if hue_by:
        images = hue(images, hue_by * factors[3])
    return images


def _blended(images: Tensor, other: Tensor, factors: Tensor) -> Tensor:
    share = factors.to(images.device, torch.float32).view(-1, 1, 1, 1)
    return _pixels(share * images + (1 - share) * other)


def _pixels(values: Tensor) -> Tensor:
    return values.round_().clamp_(0, 255).to(torch.uint8, memory_format=torch.channels_last)
