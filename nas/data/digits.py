"""scikit-learn's 1,797 handwritten digits, 8 x 8 pixels in 17 greys, enlarged and made RGB.

UCI Optical Recognition of Handwritten Digits, https://archive.ics.uci.edu/dataset/80. Ships with
scikit-learn, so it is there without a download.
"""

import torch
import torch.nn.functional as F

from nas.data.dataset import Split

SIDE = 8
"""Of the images as they are, in pixels."""


def read_digits(resolution: int) -> tuple[Split, tuple[str, ...]]:
    """All digits at `resolution`, and the names of their classes."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = torch.from_numpy(digits.images).to(torch.float32)[:, None] * (255 / 16)  # (n, 1, 8, 8)
    grey = F.interpolate(grey, size=(resolution, resolution), mode="bilinear", antialias=True)
    images = grey.round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous()  # (n, 3, resolution, resolution)
    names = tuple(str(index) for index in range(len(images)))
    labels = torch.from_numpy(digits.target).to(torch.int64)
    return Split(images, labels, names), tuple(str(name) for name in digits.target_names)
