"""What reaches the network is what was stored, resized, normalised, shifted and mirrored."""

import numpy as np
import torch

from nas.data import augment, prepare


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


def test_augment_without_shift_or_flip_is_the_identity() -> None:
    images = random_images()
    assert torch.equal(augment(images, torch.Generator().manual_seed(0), padding=0, flip=False), images)


def test_augment_shifts_and_mirrors_whole_images() -> None:
    images = random_images(64)
    out = augment(images, torch.Generator().manual_seed(0), padding=2, flip=True)
    assert out.shape == images.shape
    shifts, mirrored = set(), 0
    for before, after in zip(images, out, strict=True):
        padded = np.pad(before.numpy(), ((0, 0), (2, 2), (2, 2)), mode="edge")
        found = []
        for flip in (False, True):
            seen = after.flip(2) if flip else after
            for y in range(5):
                for x in range(5):
                    if np.array_equal(padded[:, y : y + 12, x : x + 12], seen.numpy()):
                        found.append((flip, y, x))
        assert len(found) == 1
        mirrored += found[0][0]
        shifts.add(found[0][1:])
    assert 20 < mirrored < 44
    assert len(shifts) > 15


def test_augment_repeats_with_its_generator() -> None:
    images = random_images()
    first, again, other = (
        augment(images, torch.Generator().manual_seed(seed), padding=3, flip=True) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
