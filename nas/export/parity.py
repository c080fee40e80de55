"""Does an exported file compute what the PyTorch subnet computes? Compared on real images, in its own runtime."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from nas.errors import Failure
from nas.export.inference import open_file

if TYPE_CHECKING:
    from nas.supernet.subnet import Subnet

TOLERANCE = 1e-3
"""Largest difference of a logit in float32, as a share of the largest logit (at least of 1): ten times what other
order of summation has been seen to cost, and far below what changes a decision."""
TIE = 1e-4
"""Logits that differ by less, as a share of the same, are equally good: other order of summation may swap them."""


class ParityFailed(Failure):
    """An exported file computes something else than the network it was made from (exit code 1)."""


@dataclass(frozen=True)
class Parity:
    """How closely an exported file follows PyTorch.

    Attributes
    ----------
    max_abs_difference : of any logit, over all images.
    max_abs_logit : the largest logit, for scale.
    top1_agreement : share of images given the same class, in [0, 1].
    n : images compared.
    """

    max_abs_difference: float
    max_abs_logit: float
    top1_agreement: float
    n: int


@dataclass(frozen=True)
class Outputs:
    """Logits of the same images, each (n, classes).

    Attributes
    ----------
    exported : by the file.
    expected : by PyTorch.
    """

    exported: NDArray[np.float32]
    expected: NDArray[np.float32]

    def names_worse(self, least: float) -> bool:
        """Whether the file names a class whose logit is, by PyTorch, at least `least` below the best one."""
        rows = np.arange(len(self.expected))
        behind = self.expected.max(axis=1) - self.expected[rows, self.exported.argmax(axis=1)]
        return bool((behind >= least).any())

    @property
    def parity(self) -> Parity:
        """How closely they agree."""
        return Parity(
            max_abs_difference=float(np.abs(self.exported - self.expected).max()),
            max_abs_logit=float(np.abs(self.expected).max()),
            top1_agreement=float((self.exported.argmax(axis=1) == self.expected.argmax(axis=1)).mean()),
            n=len(self.expected),
        )


def outputs(path: Path, subnet: "Subnet", batches: Iterable[torch.Tensor]) -> Outputs:
    """Run images through the file and through `subnet`.

    Parameters
    ----------
    path : of an exported file.
    subnet : the network it was made from; its training mode is left as it was.
    batches : of prepared images, each (n, 3, R, R) float32; take real ones, noise exercises other ranges.

    Raises
    ------
    ValueError : no images, or of another size than the file reads; the file cannot be read.
    ParityFailed : the file's outputs are not finite.
    """
    run = open_file(path)
    device = next(subnet.parameters()).device
    training = subnet.training
    exported, expected = [], []
    try:
        subnet.eval()
        with torch.inference_mode():
            for images in batches:
                exported.append(run(images.detach().cpu().contiguous().numpy()))
                expected.append(subnet(images.to(device)).float().cpu().numpy())
    finally:
        subnet.train(training)
    if not sum(map(len, expected)):
        raise ValueError("parity needs at least one image")
    found = Outputs(np.concatenate(exported), np.concatenate(expected))
    if found.exported.shape != found.expected.shape or not np.isfinite(found.exported).all():
        raise ParityFailed(f"{path.name} differs from PyTorch: its outputs are not finite, or of another shape")
    return found


def check_parity(path: Path, subnet: "Subnet", images: torch.Tensor, *, tolerance: float = TOLERANCE) -> Parity:
    """Compare a float32 file with the network it was made from.

    Parameters
    ----------
    path, subnet : see `outputs`.
    images : prepared images, (n, 3, R, R) float32.
    tolerance : see `TOLERANCE`.

    Raises
    ------
    ParityFailed : outputs that differ by more than the tolerance, are not finite, or name a class that is worse.
    ValueError : no images, or of another size than the file reads.
    """
    found = outputs(path, subnet, torch.split(images, 64) if len(images) else ())
    parity = found.parity
    largest = max(1.0, parity.max_abs_logit)
    if parity.max_abs_difference > tolerance * largest or found.names_worse(TIE * largest):
        raise ParityFailed(
            f"{path.name} differs from PyTorch by {parity.max_abs_difference:.3g} on logits up to "
            f"{parity.max_abs_logit:.3g} (allowed: {tolerance:g} of that), and agrees on "
            f"{parity.top1_agreement:.1%} of {parity.n} images (allowed: all but ties)"
        )
    return parity
