"""Which training images a step sees, and how they are changed: it follows from (seed, epoch) and (seed, step)."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data import BatchReader, ImageData
from nas.training.augmentation.augmenter import Augmenter
from nas.training.recipe import Recipe
from nas.training.schedule import Schedule

ORDER, STEP = 0, 1
"""Streams of random numbers under one seed: the order of an epoch's images; a step's subnets and augmentation."""


class Batches:
    """The batches of a training, by the number of the step.

    Parameters
    ----------
    data : only its train split is read.
    recipe, schedule : size of a batch, augmentation, balance of classes.
    seed : of the order of images.
    device : where batches are wanted.
    """

    def __init__(self, data: ImageData, recipe: Recipe, schedule: Schedule, seed: int, device: torch.device) -> None:
        self.schedule = schedule
        self.seed = seed
        self.balance_classes = recipe.balance_classes
        self._labels = data.train.labels.numpy()
        self._reader = BatchReader(data.train, self._rows, schedule.n_steps, device)
        self._augment = Augmenter(recipe.augmentation, data)
        self._order: tuple[int, NDArray[np.int64]] | None = None

    def batch(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augmented uint8 images and labels of `step`, the same for all its subnets, of all processes.

        Returns
        -------
        Images of shape (n, 3, side, side); labels of shape (n,) or, where images were mixed, shares of each class,
        (n, classes).
        """
        images, labels = self.stored(step)
        return self._augment(images, labels, generator)

    def stored(self, step: int) -> tuple[Tensor, Tensor]:
        """As `batch`, before augmentation."""
        return self._reader.batch(step)

    def _rows(self, step: int) -> NDArray[np.int64]:
        """Rows of the train split that `step` reads."""
        epoch, place = divmod(step, self.schedule.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, self._of_epoch(epoch)
        size = self.schedule.batch_size
        return self._order[1][place * size :][:size]

    def _of_epoch(self, epoch: int) -> NDArray[np.int64]:
        """The order in which an epoch shows images."""
        rng = np.random.default_rng([self.seed, ORDER, epoch])
        if self.balance_classes:
            return balanced_order(self._labels, rng)
        return rng.permutation(len(self._labels))


def balanced_order(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """As many rows as there are `labels`, in random order, all classes equally often.

    Rows of a rare class come several times, equally often to within one; of a frequent class some are left out.
    """
    classes = np.unique(labels)
    # What does not divide evenly falls to random classes.
    shares = np.diff(np.linspace(0, len(labels), len(classes) + 1).astype(int))
    rows = []
    for label, share in zip(rng.permutation(classes), shares, strict=True):
        of_class = np.flatnonzero(labels == label)
        repeats = -(-share // len(of_class))
        rows.append(np.concatenate([rng.permutation(of_class) for _ in range(repeats)] or [of_class])[:share])
    order: NDArray[np.int64] = rng.permutation(np.concatenate(rows))
    return order
