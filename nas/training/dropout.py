"""Dropout of the features that a classifier reads.

Dropout: A simple way to prevent neural networks from overfitting,
https://jmlr.org/papers/v15/srivastava14a.html. A mask is drawn for the whole batch of all processes, so that
their number changes nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nas.elastic import ElasticLinear


def dropout_factors(
    net: nn.Module, rate: float, generator: torch.Generator, batch: int, part: slice, device: torch.device
) -> Tensor | None:
    """What each feature of each image is multiplied by, shape (images in `part`, features): 0, or 1 / (1 - rate).

    Parameters
    ----------
    net : its last linear layer is the classifier; of a supernet, the active subnet's.
    rate : in [0, 1); for 0 there are no factors (None), and no random numbers are drawn.
    generator : on the CPU.
    batch, part : images in the whole batch, and which of them `net` is given.
    device : where the factors are wanted.
    """
    if not rate:
        return None
    classifier = _classifier(net)
    features = classifier.active.in_channels if isinstance(classifier, ElasticLinear) else classifier.in_features
    kept = torch.rand(batch, features, generator=generator)[part] >= rate
    return (kept / (1 - rate)).to(device, non_blocking=True)


@contextmanager
def scaled_features(net: nn.Module, factors: Tensor | None) -> Iterator[None]:
    """While entered, the last linear layer of `net` reads its features multiplied by `factors`, where there are any."""
    if factors is None:
        yield
        return

    def scale(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        features = inputs[0]  # (B, features)
        return (features * factors.to(features.dtype),)

    handle = _classifier(net).register_forward_pre_hook(scale)
    try:
        yield
    finally:
        handle.remove()


def _classifier(net: nn.Module) -> nn.Linear:
    return [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
