"""Which image goes into which split, by seed, and which images are in two of them.

Every class keeps its share in every split.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.data.folder import SPLITS, SplitName

Labels = NDArray[np.int64]
Rows = NDArray[np.int64]


def stratified_split(labels: Labels, fractions: Sequence[float], seed: int, classes: Sequence[str]) -> list[Rows]:
    """Divide rows into parts that hold the given fractions of each class.

    Parameters
    ----------
    labels : int array of shape (n,).
    fractions : share of each part after the first; the first gets the rest. At least one image of every
        class goes to every part.
    seed : the same seed, labels and fractions give the same parts.
    classes : names, for messages.

    Returns
    -------
    One ascending row array for each part.

    Raises
    ------
    ValueError : a class has fewer images than there are parts.
    """
    parts: list[list[Rows]] = [[] for _ in range(len(fractions) + 1)]
    for label, name in enumerate(classes):
        rows = np.flatnonzero(labels == label)
        if len(rows) <= len(fractions):
            raise too_few(name, len(rows), len(fractions) + 1)
        # One stream for each class, so that more images of one class leave the others where they were.
        rows = np.random.default_rng([seed, label]).permutation(rows)
        taken = 0
        for part, fraction in enumerate(fractions, start=1):
            most = len(rows) - taken - (len(fractions) - part) - 1
            count = min(max(1, round(fraction * len(rows))), most)
            parts[part].append(rows[taken : taken + count])
            taken += count
        parts[0].append(rows[taken:])
    return [np.sort(np.concatenate(part)) for part in parts]


def too_few(name: str, n_images: int, least: int, n_copies: int = 0) -> ValueError:
    """What is raised for a class that has no image for each split, `n_copies` beside those counted."""
    images = f"{n_images} {'different ' if n_copies else ''}image{'' if n_images == 1 else 's'}"
    if n_copies:
        images += f" and {n_copies} that {'is a copy' if n_copies == 1 else 'are copies'}"
    return ValueError(
        f"class {name!r} has {images}; splitting needs at least {least}: add images, or leave its folder out"
    )


def missing_splits(
    given: Mapping[SplitName, Labels], fractions: Mapping[SplitName, float], seed: int, classes: Sequence[str]
) -> dict[SplitName, tuple[SplitName, Rows]]:
    """Where the images of each split come from: the given split, and the rows of it.

    Splits that are not given are taken from the train split, each with its fraction.

    Raises
    ------
    ValueError : a class has too few images.
    """
    wanted = [split for split in SPLITS if split not in given]
    kept, *taken = stratified_split(given["train"], [fractions[split] for split in wanted], seed, classes)
    found: dict[SplitName, tuple[SplitName, Rows]] = {
        split: (split, np.arange(len(labels))) for split, labels in given.items()
    }
    found["train"] = ("train", kept)
    return found | {split: ("train", rows) for split, rows in zip(wanted, taken, strict=True)}


def labelled_twice(digests: NDArray[np.uint8], labels: Labels) -> Rows:
    """The rows of a split whose image has another label in another row.

    Parameters
    ----------
    digests : of the images, shape (n, bytes).
    labels : int array of shape (n,).
    """
    seen: dict[bytes, set[int]] = {}
    whole = [row.tobytes() for row in digests]
    for image, label in zip(whole, labels.tolist(), strict=True):
        seen.setdefault(image, set()).add(label)
    return np.flatnonzero([len(seen[image]) > 1 for image in whole])


def copies(digests: Mapping[SplitName, NDArray[np.uint8]]) -> dict[SplitName, NDArray[np.bool_]]:
    """Of each split, the rows whose image an earlier split has; the train split is the first.

    Parameters
    ----------
    digests : of the images, shape (n, bytes), by split.
    """
    seen: set[bytes] = set()
    found: dict[SplitName, NDArray[np.bool_]] = {}
    for split in SPLITS:
        whole = [row.tobytes() for row in digests[split]]
        found[split] = np.array([image in seen for image in whole], dtype=bool)
        seen.update(whole)
    return found
