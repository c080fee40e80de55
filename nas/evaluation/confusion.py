"""A network's predictions by class: confusion matrix, recall, balanced accuracy, their errors, and what to warn of.

Accuracy is the share of images that are classified correctly; balanced accuracy is the mean of the classes' recalls
(Brodersen et al., 2010, https://doi.org/10.1109/ICPR.2010.764), which a network that always gives the most frequent
class cannot raise above 1 / classes. Both are fractions in [0, 1].

Standard errors are those that the number of images alone makes: the standard deviation of the share's posterior under
a uniform prior, which equals sqrt(p (1 - p) / n) for many images and, unlike it, is not 0 where 3 of 3 are right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import confusion_matrix

UNEQUAL = 5
"""Classes are called unequal when the largest has more than so many times the images of the smallest."""
FEW_IMAGES_ERROR = 0.05
"""A split is called small when the standard error of an accuracy on it may exceed this."""
UNLIKE, UNLIKE_ERRORS = 0.05, 4
"""Test images are called harder when accuracy is lower on them by more than this, and by so many standard errors. The
accuracy of a chosen network on the images that chose it is too high by about one."""
MOST_CLASSES_IN_MATRIX = 100
_MOST_CONFUSIONS = 20


def standard_error(share: ArrayLike, n: ArrayLike) -> Any:
    """Of a share of `n` images; see above. Shapes as of `share` and `n`; 0.29 without images."""
    share, n = np.asarray(share, dtype=np.float64), np.asarray(n, dtype=np.float64)
    mean = (share * n + 1) / (n + 2)
    return np.sqrt(mean * (1 - mean) / (n + 3))


def score_error(score: float, images_per_class: ArrayLike, objective: str) -> float:
    """Standard error of a score whose recalls are not known: they are taken to be equal.

    Parameters
    ----------
    images_per_class : of the split, shape (classes,).
    objective : ``accuracy`` or ``balanced_accuracy``.
    """
    images = np.asarray(images_per_class)
    if objective == "accuracy":
        return float(standard_error(score, images.sum()))
    return _error_of_mean(score, images[images > 0])


def _error_of_mean(shares: ArrayLike, n: NDArray[Any]) -> float:
    """Standard error of the mean of shares, of n images each."""
    return float(np.sqrt(np.square(standard_error(shares, n)).sum()) / len(n))


def paired_error(first: ArrayLike, second: ArrayLike, labels: ArrayLike, objective: str = "accuracy") -> float:
    """Standard error of the difference of two networks' accuracies on the same images.

    Images that both get right, or both wrong, tell nothing of the difference, so it is smaller than that of accuracies
    on images of their own. Half an image is added to each of the four cells (Agresti and Min, 2005,
    https://doi.org/10.1002/sim.1781).

    Parameters
    ----------
    first, second, labels : classes that the networks give, and true ones, each of shape (n,).
    objective : ``accuracy`` or ``balanced_accuracy``.
    """
    labels = np.asarray(labels)
    right, other = np.asarray(first) == labels, np.asarray(second) == labels
    groups = [np.ones(len(labels), dtype=bool)]
    if objective != "accuracy":
        groups = [labels == label for label in np.unique(labels)]
    squares = []
    for group in groups:
        n = group.sum() + 2
        gained, lost = (right & ~other)[group].sum() + 0.5, (other & ~right)[group].sum() + 0.5
        squares.append((gained + lost - (gained - lost) ** 2 / n) / n**2)
    return float(np.sqrt(np.sum(squares)) / len(groups))


@dataclass(frozen=True, eq=False)
class Confusion:
    """Images by true and predicted class.

    Attributes
    ----------
    counts : int array of shape (classes, classes); rows are true classes, columns predicted ones.
    """

    counts: NDArray[np.int64]

    @classmethod
    def of(cls, labels: ArrayLike, predicted: ArrayLike, n_classes: int) -> "Confusion":
        """From true and predicted classes, each of shape (n,)."""
        return cls(np.asarray(confusion_matrix(labels, predicted, labels=range(n_classes)), dtype=np.int64))

    @property
    def images(self) -> int:
        """How many there are."""
        return int(self.counts.sum())

    @cached_property
    def per_class(self) -> NDArray[np.int64]:
        """Images of each class, shape (classes,)."""
        return np.asarray(self.counts.sum(axis=1))

    @cached_property
    def recall(self) -> NDArray[np.float64]:
        """Share of each class's images that were given that class, shape (classes,); not a number without images."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.diagonal(self.counts) / self.per_class)

    @property
    def accuracy(self) -> float:
        """Share of all images that were classified correctly."""
        return float(np.trace(self.counts)) / self.images

    @property
    def accuracy_error(self) -> float:
        """Standard error of `accuracy`."""
        return float(standard_error(self.accuracy, self.images))

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that have images."""
        return float(np.nanmean(self.recall))

    @property
    def balanced_accuracy_error(self) -> float:
        """Standard error of `balanced_accuracy`."""
        present = self.per_class > 0
        return _error_of_mean(self.recall[present], self.per_class[present])

    def score(self, objective: str) -> float:
        """`accuracy` or `balanced_accuracy`."""
        return self.accuracy if objective == "accuracy" else self.balanced_accuracy

    def score_error(self, objective: str) -> float:
        """Standard error of that `score`."""
        return self.accuracy_error if objective == "accuracy" else self.balanced_accuracy_error

    def record(self) -> dict[str, Any]:
        """Ready for JSON: all figures, recall (None without images), `counts`, and the most frequent confusions.

        ``confusion_matrix``, the `counts`, is left out for more than 100 classes.
        """
        wrong = self.counts.copy()
        np.fill_diagonal(wrong, 0)
        rows, columns = np.unravel_index(np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSIONS], wrong.shape)
        record: dict[str, Any] = {
            "images": self.images,
            "accuracy": self.accuracy,
            "accuracy_error": self.accuracy_error,
            "balanced_accuracy": self.balanced_accuracy,
            "balanced_accuracy_error": self.balanced_accuracy_error,
            "images_per_class": self.per_class.tolist(),
            "recall": [None if np.isnan(recall) else float(recall) for recall in self.recall],
            "recall_error": standard_error(np.nan_to_num(self.recall), self.per_class).tolist(),
            "most_confused": [
                {"true": int(row), "predicted": int(column), "images": int(wrong[row, column])}
                for row, column in zip(rows, columns, strict=True)
                if wrong[row, column]
            ],
        }
        if len(self.counts) <= MOST_CLASSES_IN_MATRIX:
            record["confusion_matrix"] = self.counts.tolist()
        return record


def majority_remarks(
    record: Mapping[str, Any], classes: Sequence[str], split: str, objective: str = "accuracy"
) -> list[str]:
    """A sentence where the network of a `Confusion.record` is hardly better than always giving one class.

    Parameters
    ----------
    objective : what it is judged by; always giving one class has a balanced accuracy of 1 / classes that have images.
    """
    counts = record["images_per_class"]
    largest = int(np.argmax(counts))
    plain = objective == "accuracy"
    share = counts[largest] / record["images"] if plain else 1 / np.count_nonzero(counts)
    gain = record[objective] - share
    if gain > record[f"{objective}_error"]:
        return []
    better = "no better than" if gain <= 0 else "better by less than the standard error than"
    said = f"{record['accuracy']:.1%} of" if plain else f"balanced accuracy {record[objective]:.1%} on"
    return [
        f"The network is {better} one that answers {classes[largest]!r} to every image: {said} the {split} images "
        f"against {share:.1%}."
    ]


def unlike_splits_remarks(record: Mapping[str, Any]) -> list[str]:
    """A sentence where the test images are much harder than those of search-validation.

    Parameters
    ----------
    record : of a network: ``accuracy`` and ``test_accuracy``, each with its ``..._error``.
    """
    validation, test = record["accuracy"], record["test_accuracy"]
    error = float(np.hypot(record["accuracy_error"], record["test_accuracy_error"]))
    if validation - test <= max(UNLIKE, UNLIKE_ERRORS * error):
        return []
    return [
        f"The test images are harder than those of search-validation: {test:.1%} against {validation:.1%}, more than "
        "chance explains. They may come from other places, cameras or days, or search-validation holds near copies of "
        "training images, as in a series of pictures. The network was chosen by search-validation: for images like "
        "those of the test, give a val/ folder of such."
    ]


def small_split_remarks(images: int, split: str) -> list[str]:
    """A sentence where `images` are so few that an accuracy on them says little."""
    worst = 0.5 / np.sqrt(max(images, 1))
    if worst <= FEW_IMAGES_ERROR:
        return []
    needed = round(0.25 / FEW_IMAGES_ERROR**2)
    return [
        f"There are only {images} {split} images: an accuracy on them has a standard error of up to "
        f"{100 * worst:.1f} points. With {needed} images it is at most {100 * FEW_IMAGES_ERROR:g} points."
    ]


def imbalance_remarks(
    images_per_class: Sequence[int], classes: Sequence[str], objective: str, balanced_training: bool = False
) -> list[str]:
    """A sentence where the classes of the train split are far from equal, with what to type; said when they are read.

    Parameters
    ----------
    objective, balanced_training : what the run has already: its objective, and whether training shows all classes
        equally often.
    """
    largest, smallest = int(np.argmax(images_per_class)), int(np.argmin(images_per_class))
    if images_per_class[largest] <= UNEQUAL * images_per_class[smallest]:
        return []
    said = (
        f"The classes are far from equal: {images_per_class[largest]} training images of {classes[largest]!r}, "
        f"{images_per_class[smallest]} of {classes[smallest]!r}."
    )
    if objective == "accuracy":
        said += " Accuracy says little about rare classes; in a search, objective=balanced_accuracy counts all equally."
    if not balanced_training:
        said += " With recipe.balance_classes=true, training shows all classes equally often."
    return [said]
