"""Dropout of the features that a classifier reads.

Dropout: A simple way to prevent neural networks from overfitting,
https://jmlr.org/papers/v15/srivastava14a.html. A mask is drawn for the whole batch of all processes, so that
their number changes nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nas.elastic import ElasticConv2d, ElasticLinear
from nas.supernet import Subnet, Supernet


def dropout_factors(
    net: Supernet | Subnet, rate: float, generator: torch.Generator, batch: int, part: slice, device: torch.device
) -> Tensor | None:
    """What each feature of each image is multiplied by, shape (images in `part`, features): 0, or 1 / (1 - rate).

    Parameters
    ----------
    net : of a supernet, the active subnet counts. The features of a classifier that is a convolution are channels.
    rate : in [0, 1); for 0 there are no factors (None), and no random numbers are drawn.
    generator : on the CPU.
    batch, part : images in the whole batch, and which of them `net` is given.
    device : where the factors are wanted.
    """
    if not rate:
        return None
    kept = torch.rand(batch, _features(net.classifier()), generator=generator)[part] >= rate
    return (kept / (1 - rate)).to(device, non_blocking=True)


@contextmanager
def scaled_features(net: Supernet | Subnet, factors: Tensor | None) -> Iterator[None]:
    """While entered, the classifier of `net` reads its features multiplied by `factors`, where there are any."""
    if factors is None:
        yield
        return

    def scale(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        features = inputs[0]  # (B, features), or (B, features, H, W)
        return (features * factors.to(features.dtype).view(*factors.shape, *[1] * (features.ndim - 2)),)

    handle = net.classifier().register_forward_pre_hook(scale)
    try:
        yield
    finally:
        handle.remove()


def _features(classifier: nn.Conv2d | nn.Linear) -> int:
    if isinstance(classifier, ElasticConv2d | ElasticLinear):
        return classifier.active.in_channels
    return classifier.in_features if isinstance(classifier, nn.Linear) else classifier.in_channels
