"""Dropout of the features that a classifier reads, on while wanted.

Dropout: A simple way to prevent neural networks from overfitting,
https://jmlr.org/papers/v15/srivastava14a.html. A mask is drawn for the whole batch of all processes, so that
their number changes nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def classifier_dropout(
    net: nn.Module, rate: float, generator: torch.Generator, batch: int, part: slice
) -> Iterator[None]:
    """While entered, the last linear layer of `net` reads its features with a share of `rate` left out.

    Parameters
    ----------
    rate : in [0, 1); 0 does nothing, and draws no random numbers.
    generator : on the CPU.
    batch, part : images in the whole batch, and which of them `net` is given.
    """
    if not rate:
        yield
        return
    classifier = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]

    def drop(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        features = inputs[0]  # (B, features)
        kept = torch.rand(batch, features.shape[1], generator=generator)[part] >= rate
        return (features * (kept / (1 - rate)).to(features.device, features.dtype),)

    handle = classifier.register_forward_pre_hook(drop)
    try:
        yield
    finally:
        handle.remove()
