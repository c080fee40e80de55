"""Augmentations do what their names say, differently for each image, the same for the same seed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import tiny_data
from torchvision.transforms.v2 import functional as V

from nas.training.augmentation import AUGMENTATIONS, Augmentation, read_augmentation
from nas.training.augmentation.augmenter import Augmenter
from nas.training.augmentation.colours import brightness, contrast, hue, saturation, sharpness
from nas.training.augmentation.geometry import sampled
from nas.training.augmentation.policies import OPERATIONS

DATA = replace(tiny_data(), flip=True)


def random_images(n: int = 8, side: int = 12) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, size=(n, 3, side, side), dtype=np.uint8))


def augmented(images: torch.Tensor, *entries: Any, seed: int = 0, flip: bool = True) -> torch.Tensor:
    made = [read_augmentation(entry, "test") for entry in entries]
    labels = torch.arange(len(images)) % 3
    return Augmenter(made, replace(DATA, flip=flip))(images, labels, torch.Generator().manual_seed(seed))[0]


@pytest.mark.parametrize("kind", AUGMENTATIONS.values(), ids=lambda kind: kind.name)
class TestEach:
    def test_same_seed_same_batch(self, kind: type[Augmentation]) -> None:
        images = random_images(32)
        first, again, other = (augmented(images, kind(), seed=seed) for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert first.dtype == torch.uint8
        assert first.shape == images.shape

    def test_images_of_a_batch_are_changed_differently(self, kind: type[Augmentation]) -> None:
        images = random_images(1).expand(64, 3, 12, 12).contiguous()
        images = images.roll(1, 0) if kind.name not in ("mixup", "cutmix") else random_images(64)
        out = augmented(images, kind())
        different = {image.numpy().tobytes() for image in out.contiguous()}
        assert len(different) >= (2 if kind.name == "flip" else 10)

    def test_what_was_given_stays_as_it_was(self, kind: type[Augmentation]) -> None:
        images = random_images(16)
        kept = images.clone()
        augmented(images, kind())
        assert torch.equal(images, kept)

    def test_settings_are_read_back(self, kind: type[Augmentation]) -> None:
        assert read_augmentation(kind().as_dict(), "test") == kind()
        assert read_augmentation(kind.name, "test") == kind()


def test_nothing_is_changed_without_augmentation() -> None:
    images = random_images()
    assert torch.equal(augmented(images), images)
    still = [
        {"name": "pad_crop", "padding": 0},
        {"name": "flip", "probability": 0.0},
        {"name": "random_resized_crop", "scale": [1.0, 1.0], "ratio": [1.0, 1.0]},
        {"name": "color_jitter", "brightness": 0.0, "contrast": 0.0, "saturation": 0.0},
        {"name": "random_erasing", "probability": 0.0},
        {"name": "mixup", "probability": 0.0},
        {"name": "cutmix", "probability": 0.0},
        {"name": "rand_augment", "magnitude": 0},
    ]
    for entry in still[:-1]:
        assert torch.equal(augmented(images, entry), images), entry


def test_pad_crop_and_flip_shift_and_mirror_whole_images() -> None:
    images = random_images(64)
    out = augmented(images, {"name": "pad_crop", "padding": 2}, "flip")
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


def test_data_that_must_not_be_mirrored_is_not() -> None:
    images = random_images(64)
    assert torch.equal(augmented(images, "flip", flip=False), images)
    # What comes after draws the same numbers.
    rest = {"name": "pad_crop", "padding": 2}
    mirrored, plain = (augmented(images, "flip", rest, flip=flip) for flip in (True, False))
    same = [torch.equal(a, b) for a, b in zip(mirrored, plain, strict=True)]
    assert 20 < sum(same) < 44


def test_random_resized_crop_shows_a_part_of_the_image_and_all_of_it_over_time() -> None:
    side = 32
    ramp = torch.arange(side, dtype=torch.uint8) * 8
    images = torch.stack([ramp.expand(side, side), ramp[:, None].expand(side, side), ramp.expand(side, side)])
    out = augmented(
        images.expand(200, 3, side, side).contiguous(), {"name": "random_resized_crop", "scale": [0.25, 0.5]}
    )
    widths = (out[:, 0, 0, -1].int() - out[:, 0, 0, 0].int()) / 8
    heights = (out[:, 1, -1, 0].int() - out[:, 1, 0, 0].int()) / 8
    area = (widths / side) * (heights / side)
    assert float(area.min()) > 0.18
    assert float(area.max()) < 0.55
    assert out[:, 0, 0, 0].min() < 16
    assert out[:, 0, 0, -1].max() > 232
    ratio = widths / heights
    assert 0.65 < float(ratio.min()) < 0.9
    assert 1.1 < float(ratio.max()) < 1.5


def test_random_erasing_fills_a_rectangle_with_the_mean_colour() -> None:
    images = torch.full((200, 3, 20, 20), 255, dtype=torch.uint8)
    out = augmented(images, {"name": "random_erasing", "probability": 0.5, "scale": [0.1, 0.2]})
    erased = out != 255
    share = erased[:, 0].float().mean(dim=(1, 2))
    assert 70 < int((share > 0).sum()) < 130
    assert set(out.unique().tolist()) == {round(255 * 0.3), 255}
    for mask in erased[share > 0][:, 0]:
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        assert mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
    assert float(share[share > 0].min()) > 0.05
    assert float(share.max()) < 0.25


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_labels_follow_what_is_seen(name: str) -> None:
    """Class c is an image of value 100 * c: its mean pixel says what its label must be."""
    labels = torch.arange(60) % 3
    images = (100 * labels).to(torch.uint8)[:, None, None, None].expand(60, 3, 10, 10).contiguous()
    augment = Augmenter([AUGMENTATIONS[name]()], DATA)
    mixed, soft = augment(images, labels, torch.Generator().manual_seed(0))
    assert soft.shape == (60, 3)
    torch.testing.assert_close(soft.sum(1), torch.ones(60))
    seen = mixed.float().mean(dim=(1, 2, 3))
    torch.testing.assert_close(soft @ torch.tensor([0.0, 100.0, 200.0]), seen, rtol=0, atol=0.51)
    assert (soft.max(1).values < 0.999).any()


def test_mixing_twice_keeps_labels_right() -> None:
    labels = torch.arange(30) % 3
    images = (100 * labels).to(torch.uint8)[:, None, None, None].expand(30, 3, 10, 10).contiguous()
    augment = Augmenter([AUGMENTATIONS["mixup"](), AUGMENTATIONS["cutmix"]()], DATA)
    mixed, soft = augment(images, labels, torch.Generator().manual_seed(3))
    seen = mixed.float().mean(dim=(1, 2, 3))
    torch.testing.assert_close(soft @ torch.tensor([0.0, 100.0, 200.0]), seen, rtol=0, atol=1.01)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (brightness, V.adjust_brightness),
        (contrast, V.adjust_contrast),
        (saturation, V.adjust_saturation),
        (sharpness, V.adjust_sharpness),
    ],
)
def test_colours_of_a_batch_are_torchvisions_one_by_one(ours: Any, theirs: Any) -> None:
    images, factors = random_images(), torch.linspace(0.1, 1.9, 8)
    expected = torch.stack([theirs(image, float(factor)) for image, factor in zip(images, factors, strict=True)])
    assert int((ours(images, factors).int() - expected.int()).abs().max()) <= 1


def test_hue_turns_colours_and_leaves_greys() -> None:
    grey = torch.full((2, 3, 4, 4), 90, dtype=torch.uint8)
    assert int((hue(grey, torch.tensor([0.1, 0.4])).int() - 90).abs().max()) <= 1
    red = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    red[:, 0] = 200
    turned = hue(red, torch.tensor([1 / 3]))[0, :, 0, 0]
    assert int(turned.argmax()) != 0
    assert torch.equal(hue(red, torch.tensor([0.0])), red)


@pytest.mark.parametrize(("name", "degrees"), [("rotate", 30.0), ("rotate", -75.0)])
def test_geometry_of_the_policies_is_torchvisions(name: str, degrees: float) -> None:
    images, fill = random_images(2, 33), torch.tensor([7, 8, 9], dtype=torch.uint8)
    ours = OPERATIONS[name].change(images, torch.full((2,), degrees), fill).int()
    theirs = V.rotate(images, degrees, V.InterpolationMode.BILINEAR, fill=[7, 8, 9]).int()
    other = V.rotate(images, -degrees, V.InterpolationMode.BILINEAR, fill=[7, 8, 9]).int()
    inner = slice(8, -8)
    difference = min((ours - t)[:, :, inner, inner].abs().float().mean() for t in (theirs, other))
    assert difference < 1.0


def test_posterize_and_solarize_are_torchvisions() -> None:
    images, fill = random_images(3), torch.zeros(3, dtype=torch.uint8)
    for bits in (8, 5, 2):
        ours = OPERATIONS["posterize"].change(images, torch.full((3,), 8.0 - bits), fill)
        assert torch.equal(ours, V.posterize(images, bits))
    ours = OPERATIONS["solarize"].change(images, torch.full((3,), 0.5), fill)
    assert torch.equal(ours, V.solarize(images, 127.5))
    images[0, 0, 0, :2] = torch.tensor([0, 255])
    for strength, expected in ((0.0, images), (1.0, 255 - images)):
        assert torch.equal(OPERATIONS["solarize"].change(images, torch.full((3,), strength), fill), expected)


def test_what_lies_outside_has_the_fill_colour() -> None:
    matrices = torch.eye(2, 3)[None].clone()
    matrices[:, 0, 2] = 4  # far to the right of the image
    out = sampled(random_images(1), matrices, torch.tensor([1, 2, 3], dtype=torch.uint8))
    assert out.unique(dim=3)[0, :, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("mirror", "unknown augmentation 'mirror'; known: random_resized_crop, pad_crop, flip"),
        ({"padding": 4}, r"a name with parameters such as \{name: pad_crop, padding: 4\}"),
        (4, "an augmentation is a name"),
        ({"name": "pad_crop", "pad": 4}, "augmentation pad_crop has no field 'pad'; allowed: padding"),
        ({"name": "pad_crop", "padding": 1.5}, "padding must be a whole number at least 0, got 1.5"),
        ({"name": "flip", "probability": 2}, "probability must be a number at least 0 and at most 1"),
        ({"name": "random_resized_crop", "scale": 0.5}, "scale must be two numbers"),
        ({"name": "random_resized_crop", "scale": [1.0, 0.5]}, "smaller number first, got 1 and 0.5"),
        ({"name": "random_resized_crop", "scale": [0.0, 0.5]}, "scale must be a number above 0"),
        ({"name": "trivial_augment", "magnitude": 3}, "has no field 'magnitude'; allowed: none"),
        ({"name": "rand_augment", "magnitude": 31}, "at most 30"),
        ({"name": "mixup", "alpha": 0}, "alpha must be a number above 0"),
        ({"name": "mixup", "alpha": float("inf")}, "alpha must be a number above 0"),
        ({"name": "cutmix", "probability": "1e-1"}, "write 1.0e-4, not 1e-4"),
    ],
)
def test_entries_that_cannot_work_are_refused(entry: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_augmentation(entry, "recipe 'mine'")
