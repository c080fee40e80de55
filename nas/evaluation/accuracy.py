"""Accuracy of networks, each with batch-norm statistics of its own from training images.

Accuracy is a fraction in [0, 1]. Searching reads the validation split; the test split is reached only by
the functions that have it in their name.
"""

from collections.abc import Iterator
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
"""Images at a time where statistics of batches count, and on a CPU, whose caches hold few more."""
MOST_IMAGES = 2048
"""Images at a time on a GPU: more would not make the start of kernels count less."""


def calibration_images(data: ImageData, n_images: int = CALIBRATION_IMAGES) -> Tensor:
    """Training images to calibrate batch-norm on: always the same ones, uint8, as many as fill whole batches."""
    rows = np.random.default_rng(0).permutation(len(data.train))[:n_images]
    size = min(BATCH, len(rows))
    batches = data.train.batches(size, rows[: len(rows) // size * size])
    return torch.cat([images for images, _ in batches])


def calibration_batches(
    data: ImageData,
    resolution: int,
    device: torch.device | str = "cpu",
    n_images: int = CALIBRATION_IMAGES,
    *,
    images: Tensor | None = None,
) -> Iterator[Tensor]:
    """Prepared training images to calibrate batch-norm on, in batches of equal size.

    Prepared one batch at a time: 2,048 images at 224 pixels would take 1.2 GB.

    Parameters
    ----------
    images : what `calibration_images` gave, where it is used several times.
    """
    if images is None:
        images = calibration_images(data, n_images)
    for batch in torch.split(images, min(BATCH, len(images))):
        yield prepare(batch.to(device), resolution, data.mean, data.std)


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
    images = calibration_images(data)
    for i, genotype in enumerate(rows):
        supernet.activate(genotype)
        calibrate_batch_norm(supernet, calibration_batches(data, supernet.resolution, device, images=images))
        accuracy[i] = _accuracy(supernet, split, data)
        if progress is not None:
            progress(i + 1, len(rows))
    return accuracy


def evaluation_batch(net: Subnet | Supernet, split: Split) -> int:
    """How many images to evaluate `net` on at a time.

    On a GPU as many as an eighth of its free memory holds, at most `MOST_IMAGES`; `BATCH` elsewhere, and for images
    that are read from their files, several batches ahead. The logits of an image depend on it to rounding only.
    """
    device = next(net.parameters()).device
    if device.type != "cuda" or split.streamed:
        return BATCH
    free, _ = torch.cuda.mem_get_info(device)
    return images_within(free / 8, net)


def images_within(n_bytes: float, net: Subnet | Supernet) -> int:
    """From `BATCH` to `MOST_IMAGES`: how many images' activations in float32 fit into `n_bytes`."""
    genotype = net.active if isinstance(net, Supernet) else net.genotype
    an_image = int(net.space.costs(genotype).peak_activation_bytes[0])
    return int(np.clip(n_bytes // an_image, BATCH, MOST_IMAGES))


@torch.no_grad()
def _accuracy(net: Subnet | Supernet, split: Split, data: ImageData) -> float:
    data.require_labels("the accuracy of a network")
    training, device = net.training, next(net.parameters()).device
    # Counted where the network is: a GPU is waited for once, at the end.
    correct = torch.zeros((), dtype=torch.int64, device=device)
    net.eval()
    try:
        for images, labels in split.batches(evaluation_batch(net, split)):
            logits = net(prepare(images.to(device), net.resolution, data.mean, data.std))
            correct += (logits.argmax(1) == labels.to(device)).sum()
    finally:
        net.train(training)
    return int(correct) / len(split)
