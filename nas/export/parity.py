"""Does an exported file compute what the PyTorch subnet computes? Compared on real images."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from nas.errors import Failure

if TYPE_CHECKING:
    from nas.supernet.subnet import Subnet

TOLERANCE = 1e-3
"""Largest difference of a logit, as a share of the largest logit (at least of 1): ten times what other order
of summation has been seen to cost in float32, and far below what changes a decision."""


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


def check_parity(onnx_path: Path, subnet: "Subnet", images: torch.Tensor, *, tolerance: float = TOLERANCE) -> Parity:
    """Run `images` through the file (onnxruntime, CPU) and through `subnet`, and compare.

    Parameters
    ----------
    onnx_path : a file written by `export_onnx`, of any batch size.
    subnet : the network it was made from; its training mode is left as it was.
    images : prepared images, (n, 3, R, R) float32; take real ones, noise exercises other ranges.
    tolerance : see `TOLERANCE`.

    Raises
    ------
    ParityFailed : outputs that differ by more than the tolerance, or are not finite.
    ValueError : no images.
    """
    if len(images) == 0:
        raise ValueError("parity needs at least one image")
    exported = run_onnx(onnx_path, images.detach().cpu().numpy())
    training = subnet.training
    try:
        with torch.inference_mode():
            device = next(subnet.parameters()).device
            expected = subnet.eval()(images.to(device)).float().cpu().numpy()  # (n, classes)
    finally:
        subnet.train(training)
    parity = Parity(
        max_abs_difference=float(np.abs(exported - expected).max()),
        max_abs_logit=float(np.abs(expected).max()),
        top1_agreement=float((exported.argmax(axis=1) == expected.argmax(axis=1)).mean()),
        n=len(images),
    )
    # Written so that a NaN fails too.
    if not parity.max_abs_difference <= tolerance * max(1.0, parity.max_abs_logit):
        raise ParityFailed(
            f"{onnx_path} differs from PyTorch by {parity.max_abs_difference:.3g} on logits up to "
            f"{parity.max_abs_logit:.3g} (allowed: {tolerance:g} of that), and agrees on "
            f"{parity.top1_agreement:.1%} of {parity.n} images"
        )
    return parity


def run_onnx(path: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Outputs (n, classes) of an ONNX classifier for images (n, 3, R, R), in as many batches as its input asks for."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    batch = source.shape[0] if isinstance(source.shape[0], int) else len(images)
    padded: NDArray[Any] = np.concatenate([images, np.repeat(images[-1:], -len(images) % batch, axis=0)])
    outputs = [session.run(None, {source.name: padded[i : i + batch]})[0] for i in range(0, len(padded), batch)]
    result: NDArray[np.float32] = np.concatenate(outputs)[: len(images)]
    return result
