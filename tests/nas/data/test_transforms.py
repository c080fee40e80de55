"""What reaches the network is what was stored, resized and normalised."""

import numpy as np
import torch

from nas.data import prepare


def random_images(n: int = 8, side: int = 12) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, size=(n, 3, side, side), dtype=np.uint8))


def test_prepare_normalises_each_channel() -> None:
    images, mean, std = random_images(), (0.1, 0.5, 0.9), (0.2, 0.3, 0.4)
    out = prepare(images, 12, mean, std)
    expected = (images.double() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=1e-6)
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_prepare_resizes_before_it_normalises() -> None:
    flat = torch.full((2, 3, 16, 16), 51, dtype=torch.uint8)
    out = prepare(flat, 24, (0.2, 0.0, 0.0), (1.0, 1.0, 0.5))
    assert out.shape == (2, 3, 24, 24)
    torch.testing.assert_close(out[0, :, 5, 5], torch.tensor([0.0, 0.2, 0.4]), rtol=0, atol=1e-6)
