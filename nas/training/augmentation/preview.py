"""A picture of augmented training images, to look at before hours are spent on them."""

import io
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image
from torchvision.utils import make_grid

from latency_tables.files import atomic_path

FILE = "augmentation.png"
COLUMNS, ROWS = 8, 4


def write_preview(folder: Path, stored: Tensor, augmented: Tensor) -> Path:
    """Write pairs of rows into one picture: stored images above, the same images as a training step sees them below.

    Parameters
    ----------
    stored, augmented : uint8 tensors of shape (n, 3, side, side).

    Returns
    -------
    The PNG file in `folder`.
    """
    n = min(len(stored), COLUMNS * ROWS)
    rows = [part for start in range(0, n, COLUMNS) for part in (stored[start:][:COLUMNS], augmented[start:][:COLUMNS])]
    picture = _grid(rows)
    content = io.BytesIO()
    to_pil_image(picture).save(content, "PNG")
    with atomic_path(folder / FILE) as temporary:
        temporary.write_bytes(content.getvalue())
    return folder / FILE


def _grid(rows: list[Tensor]) -> Tensor:
    """Rows of images under one another, with white lines between, uint8 of shape (3, height, width)."""
    full = [torch.cat([row, row.new_full((COLUMNS - len(row), *row.shape[1:]), 255)]) for row in rows]
    grid: Tensor = make_grid(torch.cat(full).cpu(), nrow=COLUMNS, padding=2, pad_value=255)
    return grid
