"""At which size images are kept and networks read them: what was asked for, else what the space reads, else theirs.

Nothing heavy is imported here. Sides are in pixels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nas.data.decode import shorter_side
from nas.data.folder import Layout

STEPS = (32, 48, 64, 96, 128, 160, 192, 224)
"""Usual sides. More than 224 pays for few networks of the sizes that are searched."""
_SAMPLE = 200
_MUCH_LARGER = 2


def typical_side(layout: Layout) -> int:
    """Median of the shorter sides of a sample of the training pictures; 0 where none can be read."""
    files = [path for of_class in layout.files["train"] for path in of_class]
    chosen = [files[row] for row in np.linspace(0, len(files) - 1, min(_SAMPLE, len(files))).astype(int)]
    sides = [side for path in chosen if (side := shorter_side(path)) is not None]
    return int(np.median(sides)) if sides else 0


def side_for(typical: int, largest: int | None = None, asked: int | None = None) -> int:
    """The side at which to keep images.

    Parameters
    ----------
    typical : side of the images as they are; see `typical_side`.
    largest : resolution that the search space reads; None where the space is still to be chosen.
    asked : by the user.
    """
    if asked is not None:
        return asked
    if largest is not None:
        return largest
    return max((step for step in STEPS if step <= typical), default=STEPS[0])


def resolutions_for(asked: int | None, readable: Sequence[int]) -> tuple[int, ...]:
    """What a search space shall read where the user asks for a resolution: its own sides below it, and it."""
    if asked is None:
        return tuple(readable)
    smaller = tuple(side for side in readable if side < asked)
    return (*smaller, asked) if len(readable) > 1 else (asked,)


def resolution_sentence(n_images: int, n_classes: int, typical: int, side: int, asked: bool, of_space: bool) -> str:
    """What is said of the images and their size before a run."""
    why = "as asked for" if asked else "the most that the search space reads" if of_space else "as they are"
    text = f"{n_images:,} images of {n_classes} classes"
    text += f", shorter side {typical} px (median)" if typical else ""
    text += f"; networks read {side} px, {why}"
    if not asked and typical >= _MUCH_LARGER * side:
        wanted = side_for(typical)
        text += f". The images have more: --resolution {wanted} (or less) uses it, and takes longer"
    elif typical and typical < side:
        text += "; smaller images are enlarged"
    return text


def space_with_resolution(space: Mapping[str, Any], asked: int | None) -> dict[str, Any]:
    """The settings of a search space, its resolutions as `resolutions_for` says.

    Parameters
    ----------
    space : ``name`` and options.
    asked : side that the user asks for; None leaves the space as it is.
    """
    if asked is None:
        return dict(space)
    from search_spaces import get_space

    made = get_space(**space)
    if made.resolution_column is None:
        return dict(space)
    readable = made.genes[made.resolution_column].values
    return dict(space) | {"resolutions": list(resolutions_for(asked, readable))}
