"""Images that no camera took, on which a supernet's subnets find the batch-norm statistics of real photographs.

A subnet needs statistics of its own (`nas.supernet.calibration`), and those need images of the training's kind.
Starting from noise, a few hundred images are optimised until the mean and variance that they cause before each
batch-norm, in many subnets at once, are those that real training images cause. The idea is that of ZeroQ
(https://arxiv.org/abs/2001.00281) and DeepInversion (https://arxiv.org/abs/1912.08795), which match the statistics
that one network has stored; here the real ones are measured, subnet by subnet, in the way that calibration will use
the images: batch by batch, each batch-norm normalising by the batch's own statistics.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.data import ImageData
from nas.evaluation.accuracy import BATCH, LEAST_CALIBRATION_BATCH, batch_size, calibration_batches
from nas.supernet import Supernet
from search_spaces import Population

Statistics = list[tuple[Tensor, Tensor]]
"""Mean and variance of each channel before each batch-norm, in network order."""

EPS = 1e-5  # of the batch-norms: below it a variance makes no difference


@dataclass(frozen=True)
class Synthesis:
    """How the images are made.

    Attributes
    ----------
    images : how many; a multiple of `BATCH`, of which calibration leaves none out, or fewer.
    side : of them, in pixels; None for that of the stored training images. Networks read them resized.
    subnets : whose statistics are matched: the extremes, and random ones of all sizes.
    real_images : training images from which each subnet's target statistics are taken.
    steps : of Adam, each on one batch and one subnet.
    learning_rate : peak, in units of pixel / 255; a cosine to 0.
    """

    images: int = 256
    side: int | None = None
    subnets: int = 100
    real_images: int = 512
    steps: int = 400
    learning_rate: float = 0.02

    def __post_init__(self) -> None:
        if self.images > BATCH and self.images % BATCH:
            raise ValueError(f"the number of images must be a multiple of {BATCH}, or fewer, got {self.images}")


def statistics(supernet: Supernet, images: Tensor) -> Statistics:
    """Of prepared `images` (B, 3, R, R) in the active subnet, each batch-norm normalising by its own batch."""
    found: Statistics = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), unbiased=False)
        found.append((mean, variance))

    norms = [module for module in supernet.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(keep) for norm in norms]
    try:
        supernet.eval()
        for norm in norms:
            norm.train()
            norm.momentum = 0.0  # the running statistics stay as they are
        supernet(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def distance(found: Statistics, wanted: Statistics) -> Tensor:
    """Mean over batch-norms of the squared error of means, in standard deviations, and of log standard deviations."""
    terms = []
    for (mean, variance), (real_mean, real_variance) in zip(found, wanted, strict=True):
        shift = (mean - real_mean).square() / (real_variance + EPS)
        scale = 0.5 * torch.log((variance + EPS) / (real_variance + EPS))
        terms.append((shift + scale.square()).mean())
    return torch.stack(terms).mean()


def matched_subnets(supernet: Supernet, n: int, seed: int) -> Population:
    """The min and the max net, and `n` - 2 random ones of all sizes."""
    space = supernet.space
    drawn = space.sample(n - 2, np.random.default_rng([seed, n]), tilt=1.5)
    return np.concatenate([np.stack([space.min, space.max]), drawn])


@torch.no_grad()
def real_statistics(supernet: Supernet, population: Population, data: ImageData, n_images: int) -> list[Statistics]:
    """For each subnet the averages over batches of training images."""
    targets = []
    batches: dict[int, list[Tensor]] = {}
    device = next(supernet.parameters()).device
    for genotype in population:
        supernet.activate(genotype)
        side = supernet.resolution
        if side not in batches:
            batches[side] = list(calibration_batches(data, side, device, n_images=n_images))
        each = [statistics(supernet, batch) for batch in batches[side]]
        targets.append(
            [
                (torch.stack([m for m, _ in layer]).mean(0), torch.stack([v for _, v in layer]).mean(0))
                for layer in zip(*each, strict=True)
            ]
        )
    return targets


def synthesise(
    supernet: Supernet,
    data: ImageData,
    settings: Synthesis,
    seed: int = 0,
    say: Callable[[str], None] = lambda message: None,
) -> Tensor:
    """Optimise images for a trained supernet.

    Parameters
    ----------
    supernet : trained, on the device to work on; its active subnet is another one afterwards, its weights stay as
        they are.
    data : what it was trained on; only training images are read, and only averages over hundreds of them.
    settings : see `Synthesis`.
    seed : of the noise, the subnets and their order.

    Returns
    -------
    uint8 tensor of shape (n, 3, side, side); `calibration_batches` makes the batches of it that were optimised.
    """
    for parameter in supernet.parameters():
        parameter.requires_grad_(False)
    population = matched_subnets(supernet, settings.subnets, seed)
    targets = real_statistics(supernet, population, data, settings.real_images)
    generator, device = torch.Generator().manual_seed(seed), next(supernet.parameters()).device
    side = settings.side or int(data.train.images.shape[-1])
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (data.mean, data.std))
    noise = smooth(torch.randn(settings.images, 3, side, side, generator=generator)).to(device)
    pixels = (mean + std * noise).clamp_(0, 1).requires_grad_(True)
    # The batches are those of calibration, image by image, since that is how the images will be used.
    order = torch.from_numpy(np.random.default_rng(0).permutation(settings.images)).to(device)
    optimizer = torch.optim.Adam([pixels], lr=settings.learning_rate, betas=(0.9, 0.99))
    total = 0.0
    for step in range(settings.steps):
        chosen = int(torch.randint(len(population), (), generator=generator))
        supernet.activate(population[chosen])
        resolution = supernet.resolution
        batches = _whole_batches(order, min(batch_size(resolution, LEAST_CALIBRATION_BATCH), settings.images))
        rows = batches[step % len(batches)]
        optimizer.param_groups[0]["lr"] = settings.learning_rate * 0.5 * (1 + cos(pi * step / settings.steps))
        # Rounded as the file will be; the gradient passes the rounding by.
        stored = pixels[rows] + ((pixels[rows] * 255).round() / 255 - pixels[rows]).detach()
        loss = distance(statistics(supernet, (_resized(stored, resolution) - mean) / std), targets[chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            pixels.clamp_(0, 1)
        total += float(loss.detach())
        if (step + 1) % 100 == 0:
            say(f"step {step + 1}/{settings.steps}: mean distance of the statistics {total / 100:.4f}")
            total = 0.0
    return (pixels.detach() * 255).round().to(torch.uint8).cpu()


def _whole_batches(order: Tensor, size: int) -> tuple[Tensor, ...]:
    """Of `calibration_batches`: what does not fill a batch is left out."""
    return torch.split(order[: len(order) // size * size], size)


def _resized(pixels: Tensor, resolution: int) -> Tensor:
    """As `nas.data.prepare` does it, with a gradient."""
    if pixels.shape[-1] == resolution:
        return pixels
    return F.interpolate(pixels, size=(resolution, resolution), mode="bilinear", antialias=True).clamp(0, 1)


def smooth(noise: Tensor) -> Tensor:
    """White noise (n, 3, side, side) with the spectrum of photographs, amplitude falling as 1 / frequency."""
    side = noise.shape[-1]
    frequency = torch.sqrt(torch.fft.fftfreq(side)[:, None] ** 2 + torch.fft.rfftfreq(side)[None] ** 2)
    shaped = torch.fft.irfft2(torch.fft.rfft2(noise) / frequency.clamp(min=1 / side), s=(side, side))
    return shaped / shaped.std()
