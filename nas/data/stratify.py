"""Seeded splits in which every class keeps its share."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def stratified_split(
    labels: NDArray[np.int64], fractions: Sequence[float], seed: int, classes: Sequence[str]
) -> list[NDArray[np.int64]]:
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
    parts: list[list[NDArray[np.int64]]] = [[] for _ in range(len(fractions) + 1)]
    for label, name in enumerate(classes):
        rows = np.flatnonzero(labels == label)
        if len(rows) <= len(fractions):
            raise ValueError(
                f"class {name!r} has {len(rows)} readable images; splitting needs at least {len(fractions) + 1}"
            )
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
