"""Accuracy of networks, each with batch-norm statistics of its own from training images.

Accuracy is a fraction in [0, 1]. Searching reads the validation split; the test split is reached only by
the functions that have it in their name.
"""

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data import ImageData, Split, prepare
from nas.progress import Progress
from nas.supernet import Subnet, Supernet, calibrate_batch_norm

CALIBRATION_IMAGES = 2048
"""Training images that batch-norm is calibrated on: .35 points more accuracy on average than 512 on the shipped
supernet, .6 for its max net. Each evaluation of a subnet runs forward over them once, besides the validation images:
with 5,000 of those it takes 28 % longer than with 512."""
BATCH = 128


def calibration_batches(
    data: ImageData, resolution: int, device: torch.device | str = "cpu", n_images: int = CALIBRATION_IMAGES
) -> list[Tensor]:
    """Prepared training images to calibrate batch-norm on: always the same ones, in batches of equal size."""
    rows = np.random.default_rng(0).permutation(len(data.train))[:n_images]
    size = min(BATCH, len(rows))
    images = data.train.images[torch.from_numpy(rows[: len(rows) // size * size])].to(device)
    return [prepare(batch, resolution, data.mean, data.std) for batch in torch.split(images, size)]


def evaluate(net: Subnet | Supernet, split: Literal["train", "validation"], data: ImageData) -> float:
    """Accuracy of `net` (of a supernet's active subnet) as it is; calibrate its batch-norm first.

    Raises
    ------
    ValueError : another split; the test split has `evaluate_on_test`.
    """
    if split not in ("train", "validation"):
        raise ValueError(f"evaluate reads the splits train and validation, not {split!r}; see evaluate_on_test")
    return _accuracy(net, data.train if split == "train" else data.validation, data)


def evaluate_on_test(net: Subnet | Supernet, data: ImageData) -> float:
    """Accuracy of `net` on the test split: the last word, after all choices have been made."""
    return _accuracy(net, data.test, data)


def evaluate_subnets(
    supernet: Supernet, population: NDArray[Any], data: ImageData, *, progress: Progress | None = None
) -> NDArray[np.float64]:
    """Accuracy on the validation split of each subnet, with inherited weights and calibrated batch-norm.

    Parameters
    ----------
    supernet : its active subnet is another one afterwards.
    population : int array of shape (n, n_genes).
    progress : called after each subnet with the number done and the number of all.

    Returns
    -------
    Array of shape (n,).
    """
    return _accuracies(supernet, population, data.validation, data, progress)


def evaluate_subnets_on_test(
    supernet: Supernet, population: NDArray[Any], data: ImageData, *, progress: Progress | None = None
) -> NDArray[np.float64]:
    """As `evaluate_subnets`, on the test split: for reporting, never for choosing."""
    return _accuracies(supernet, population, data.test, data, progress)


def _accuracies(
    supernet: Supernet, population: NDArray[Any], split: Split, data: ImageData, progress: Progress | None
) -> NDArray[np.float64]:
    rows = supernet.space.canonical(population)
    accuracy = np.empty(len(rows))
    device = next(supernet.parameters()).device
    by_resolution: dict[int, list[Tensor]] = {}
    for i, genotype in enumerate(rows):
        supernet.activate(genotype)
        resolution = supernet.resolution
        if resolution not in by_resolution:
            by_resolution[resolution] = calibration_batches(data, resolution, device)
        calibrate_batch_norm(supernet, by_resolution[resolution])
        accuracy[i] = _accuracy(supernet, split, data)
        if progress is not None:
            progress(i + 1, len(rows))
    return accuracy


@torch.no_grad()
def _accuracy(net: Subnet | Supernet, split: Split, data: ImageData) -> float:
    data.require_labels("the accuracy of a network")
    training, device, correct = net.training, next(net.parameters()).device, 0
    net.eval()
    try:
        for images, labels in zip(torch.split(split.images, BATCH), torch.split(split.labels, BATCH), strict=True):
            logits = net(prepare(images.to(device), net.resolution, data.mean, data.std))
            correct += int((logits.argmax(1) == labels.to(device)).sum())
    finally:
        net.train(training)
    return correct / len(split)
