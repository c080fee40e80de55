"""Augmentations that move pixels or cover them, a batch at a time, drawn for each image by itself.

Images are uint8 tensors (n, 3, height, width) and stay so; generators are on the CPU.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def pad_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Shift every image by up to `padding` pixels, its border repeated; channels-last in memory."""
    n, _, height, width = images.shape
    device = images.device
    shifts = torch.randint(0, 2 * padding + 1, (2, n, 1), generator=generator)
    top, left = shifts.to(device, non_blocking=True)
    # (n, height) and (n, width), of the source image.
    rows = (torch.arange(height, device=device) + top - padding).clamp_(0, height - 1)
    columns = (torch.arange(width, device=device) + left - padding).clamp_(0, width - 1)
    picked = torch.arange(n, device=device)
    crops = images[picked[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (n, height, width, 3)
    return crops.permute(0, 3, 1, 2)


def flip(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Mirror a share of the images left to right."""
    mirrored = torch.rand((len(images), 1), generator=generator) < probability  # (n, 1)
    if not mirrored.any():
        return images
    return torch.where(mirrored.to(images.device, non_blocking=True)[:, :, None, None], images.flip(3), images)


def random_resized_crop(
    images: Tensor, scale: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Cut a rectangle out of every image and enlarge it, bilinearly, to the size of the image."""
    n = len(images)
    widths, heights = rectangles(n, scale, ratio, generator)
    x, y = torch.rand((2, n), generator=generator)
    # In units in which the image reaches from -1 to 1.
    matrices = torch.zeros(n, 2, 3)
    matrices[:, 0, 0], matrices[:, 1, 1] = widths, heights
    matrices[:, 0, 2], matrices[:, 1, 2] = (1 - widths) * (2 * x - 1), (1 - heights) * (2 * y - 1)
    return sampled(images, matrices)


def sampled(images: Tensor, matrices: Tensor, fill: Tensor | None = None) -> Tensor:
    """The images seen through affine maps, bilinearly.

    Parameters
    ----------
    matrices : shape (n, 2, 3); where in the image each pixel of the result lies, in units of -1 to 1.
    fill : colour of what lies outside, uint8 of shape (3,); by default the border is repeated.
    """
    pixels = images.to(torch.float32)
    grid = F.affine_grid(matrices.to(images.device), list(images.shape), align_corners=False)
    if fill is None:
        seen = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    else:
        colour = fill.to(images.device, torch.float32).view(1, 3, 1, 1)
        seen = F.grid_sample(pixels - colour, grid, padding_mode="zeros", align_corners=False) + colour
    return seen.round_().clamp_(0, 255).to(torch.uint8, memory_format=torch.channels_last)


def rectangles(
    n: int, scale: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Widths and heights of random rectangles, each of shape (n,), as shares of the side of a square image.

    A rectangle that would be longer than the image is cut to its side, which makes it smaller than was drawn.
    """
    area, place = torch.rand((2, n), generator=generator)
    area = scale[0] + (scale[1] - scale[0]) * area
    low, high = torch.tensor(ratio).log()
    shape = (low + (high - low) * place).exp()
    return (area * shape).sqrt().clamp(max=1), (area / shape).sqrt().clamp(max=1)


def inside(widths: Tensor, heights: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Where rectangles of these shares of the side lie, at random places: a mask of shape (n, 1, side, side)."""
    n = len(widths)
    lengths = torch.stack([heights, widths]).mul(side).round()  # (2, n)
    starts = (torch.rand((2, n), generator=generator) * (side - lengths + 1)).floor()
    pixel = torch.arange(side)
    covered: Tensor = (pixel >= starts[..., None]) & (pixel < (starts + lengths)[..., None])  # (2, n, side)
    return (covered[0][:, :, None] & covered[1][:, None, :])[:, None]


def erase(
    images: Tensor,
    probability: float,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    fill: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Fill a rectangle of a share of the images with the colour `fill`, uint8 of shape (3,)."""
    n, side = len(images), images.shape[-1]
    chosen = torch.rand(n, generator=generator) < probability
    mask = inside(*rectangles(n, scale, ratio, generator), side, generator) & chosen[:, None, None, None]
    return torch.where(mask.to(images.device), fill.to(images.device).view(1, 3, 1, 1), images)
