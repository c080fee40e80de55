"""Accuracy of networks, each with batch-norm statistics of its own from training images.

Accuracy is a fraction in [0, 1]: the share of correct images, or the mean recall of the classes where the objective is
``balanced_accuracy``. Searching reads the validation split; only functions with "test" in their name read the test
split.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data import ImageData, Split, prepare
from nas.evaluation.calibrated_loss import calibrated_loss
from nas.evaluation.confusion import Confusion
from nas.progress import Progress
from nas.search.objectives import check_objective
from nas.supernet import Subnet, Supernet, calibrate_batch_norm

CALIBRATION_IMAGES = 2048
"""Training images that batch-norm is calibrated on: .35 points more accuracy on average than 512 on the shipped
supernet, .6 for its max net. Each evaluation of a subnet runs forward over them once, besides the validation images:
with 5,000 of those it takes 28 % longer than with 512. Fewer at more than `CALIBRATION_SIDE` pixels."""
CALIBRATION_SIDE, LEAST_CALIBRATION_IMAGES = 64, 256
"""A statistic is a mean over pixels: larger images have more of them, and cost more."""
BATCH = 128
"""Images at a time where statistics of batches count, and on a CPU, whose caches hold few more."""
LEAST_BATCH = 8
"""At 224 pixels, 8 images at a time take two thirds of the time of 32."""
LEAST_CALIBRATION_BATCH = 32
"""Statistics of fewer images at once would miss much of how images differ."""
MOST_IMAGES = 2048
"""Images at a time on a GPU: more would not make the start of kernels count less."""


Answers = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Classes that a network gives the images of search-validation and of the test, each of shape (n,)."""


class Evaluation(NamedTuple):
    """Of one network on the search-validation split.

    Attributes
    ----------
    accuracy : or balanced accuracy, whichever was asked for, in [0, 1].
    loss : in nats, finer than accuracy; see `nas.evaluation.calibrated_loss`. Not a number where it is not known.
    """

    accuracy: float
    loss: float


def batch_size(resolution: int, least: int = LEAST_BATCH) -> int:
    """Images at once on a CPU: `BATCH` thumbnails, fewer photographs, whose activations no cache holds."""
    return max(least, min(BATCH, BATCH * CALIBRATION_SIDE**2 // resolution**2))


def calibration_size(resolution: int) -> int:
    """Training images that batch-norm is calibrated on at `resolution` pixels: as many pixels at any, 256 at least."""
    share = min(1.0, (CALIBRATION_SIDE / resolution) ** 2)
    return max(LEAST_CALIBRATION_IMAGES, round(share * CALIBRATION_IMAGES))


def calibration_images(data: ImageData, n_images: int = CALIBRATION_IMAGES) -> Tensor:
    """Training images to calibrate batch-norm on: always the same ones, uint8."""
    rows = np.random.default_rng(0).permutation(len(data.train))[:n_images]
    return torch.cat([images for images, _ in data.train.batches(BATCH, rows)])


def calibration_batches(
    data: ImageData,
    resolution: int,
    device: torch.device | str = "cpu",
    n_images: int | None = None,
    *,
    images: Tensor | None = None,
) -> Iterator[Tensor]:
    """Prepared training images to calibrate batch-norm on, in batches of equal size: the first that fill whole ones.

    Prepared one batch at a time: 2,048 images at 224 pixels would take 1.2 GB.

    Parameters
    ----------
    n_images : None for `calibration_size`.
    images : what `calibration_images` gave, at least as many, where it is used several times.
    """
    wanted = calibration_size(resolution) if n_images is None else n_images
    if images is None:
        images = calibration_images(data, wanted)
    size = min(batch_size(resolution, LEAST_CALIBRATION_BATCH), len(images))
    images = images[: max(min(wanted, len(images)) // size, 1) * size]
    for batch in torch.split(images, size):
        yield prepare(batch.to(device), resolution, data.mean, data.std)


def evaluate(
    net: Subnet | Supernet, split: Literal["train", "validation"], data: ImageData, objective: str = "accuracy"
) -> float:
    """Accuracy of `net` (of a supernet's active subnet) as it is; calibrate its batch-norm first.

    Raises
    ------
    ValueError : another split; the test split has `evaluate_on_test`.
    """
    if split not in ("train", "validation"):
        raise ValueError(f"evaluate reads the splits train and validation, not {split!r}; see evaluate_on_test")
    check_objective(objective)
    return confusion_on(net, data.train if split == "train" else data.validation, data).score(objective)


def evaluate_on_test(net: Subnet | Supernet, data: ImageData, objective: str = "accuracy") -> float:
    """Accuracy of `net` on the test split: after all choices have been made, never to make one."""
    return confusion_on(net, data.test, data).score(check_objective(objective))


def evaluate_subnets(
    supernet: Supernet,
    population: NDArray[Any],
    data: ImageData,
    objective: str = "accuracy",
    *,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """Accuracy on the validation split of each subnet, with inherited weights and calibrated batch-norm.

    Parameters
    ----------
    supernet : its active subnet is another one afterwards.
    population : int array of shape (n, n_genes).
    objective : ``accuracy`` or ``balanced_accuracy``.
    progress : called after each subnet with the number done and the number of all.

    Returns
    -------
    Array of shape (n,).
    """
    return _scores(supernet, population, data.validation, data, objective, progress)


def judge_subnet(
    supernet: Supernet, genotype: NDArray[Any], data: ImageData, objective: str = "accuracy"
) -> Evaluation:
    """The same of one subnet, shape (n_genes,), with its loss."""
    check_objective(objective)
    (net,) = _calibrated(supernet, supernet.space.canonical(genotype[None]), data)
    return judge(net, data.validation, data, objective)


def evaluate_subnets_on_test(
    supernet: Supernet,
    population: NDArray[Any],
    data: ImageData,
    objective: str = "accuracy",
    *,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """As `evaluate_subnets`, on the test split: for reporting, never for choosing."""
    return _scores(supernet, population, data.test, data, objective, progress)


def _scores(
    supernet: Supernet,
    population: NDArray[Any],
    split: Split,
    data: ImageData,
    objective: str,
    progress: Progress | None,
) -> NDArray[np.float64]:
    check_objective(objective)
    rows = supernet.space.canonical(population)
    scores = np.empty(len(rows))
    for i, net in enumerate(_calibrated(supernet, rows, data)):
        scores[i] = confusion_on(net, split, data).score(objective)
        if progress is not None:
            progress(i + 1, len(rows))
    return scores


def _calibrated(supernet: Supernet, rows: NDArray[Any], data: ImageData) -> Iterator[Supernet]:
    """`supernet` with each of the canonical genotypes `rows` active in turn, its batch-norm calibrated."""
    device = next(supernet.parameters()).device
    images = calibration_images(data, max(map(calibration_size, supernet.space.resolution(rows).tolist()), default=1))
    for genotype in rows:
        supernet.activate(genotype)
        calibrate_batch_norm(supernet, calibration_batches(data, supernet.resolution, device, images=images))
        yield supernet


def judge(net: Subnet | Supernet, split: Split, data: ImageData, objective: str = "accuracy") -> Evaluation:
    """Accuracy and loss of `net`, as it is, on a split."""
    data.require_labels("the accuracy of a network")
    outputs, labels = logits_of(net, split, data), split.labels.numpy()
    confusion = Confusion.of(labels, outputs.argmax(axis=1), len(data.classes))
    return Evaluation(confusion.score(objective), calibrated_loss(outputs, labels, objective))


def evaluation_batch(net: Subnet | Supernet, split: Split) -> int:
    """How many images to evaluate `net` on at a time.

    On a GPU as many as an eighth of its free memory holds, at most `MOST_IMAGES`; see `batch_size` elsewhere, and for
    images that are read from their files, several batches ahead. The logits of an image depend on it to rounding only.
    """
    device = next(net.parameters()).device
    if device.type != "cuda" or split.streamed:
        return batch_size(net.resolution)
    free, _ = torch.cuda.mem_get_info(device)
    return images_within(free / 8, net)


def images_within(n_bytes: float, net: Subnet | Supernet) -> int:
    """From `BATCH` to `MOST_IMAGES`: how many images' activations in float32 fit into `n_bytes`."""
    genotype = net.active if isinstance(net, Supernet) else net.genotype
    an_image = int(net.space.costs(genotype).peak_activation_bytes[0])
    return int(np.clip(n_bytes // an_image, BATCH, MOST_IMAGES))


def confusion_on(net: Subnet | Supernet, split: Split, data: ImageData) -> Confusion:
    """Predictions of `net` on a split, as it is, by class."""
    data.require_labels("the accuracy of a network")
    return Confusion.of(split.labels.numpy(), predictions(net, split, data), len(data.classes))


def predictions(net: Subnet | Supernet, split: Split, data: ImageData) -> NDArray[np.int64]:
    """The class that `net`, as it is, gives each image of a split, shape (n,); a GPU is waited for once, at the end."""
    return np.asarray(torch.cat([outputs.argmax(1) for outputs in _outputs(net, split, data)]).cpu().numpy())


def answers_of(network: Subnet, data: ImageData) -> Answers:
    """`predictions` of a network on the images of search-validation and of the test."""
    return predictions(network, data.validation, data), predictions(network, data.test, data)


def logits_of(net: Subnet | Supernet, split: Split, data: ImageData) -> NDArray[np.float32]:
    """Outputs of `net`, as it is, for each image of a split, shape (n, classes)."""
    return np.asarray(torch.cat([outputs.float() for outputs in _outputs(net, split, data)]).cpu().numpy())


def _outputs(net: Subnet | Supernet, split: Split, data: ImageData) -> Iterator[Tensor]:
    training, device = net.training, next(net.parameters()).device
    net.eval()
    try:
        for images, _ in split.batches(evaluation_batch(net, split)):
            with torch.no_grad():
                outputs = net(prepare(images.to(device), net.resolution, data.mean, data.std))
            yield outputs
    finally:
        net.train(training)
