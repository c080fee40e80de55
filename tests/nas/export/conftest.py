"""What the tests of exports share: real images, and a small network that has learnt them."""

from dataclasses import replace

import pytest
import torch

from nas.data import DataSettings, ImageData, load_data, prepare
from nas.evaluation import calibration_batches
from nas.supernet import Subnet, calibrate_batch_norm
from nas.training.augmentation.geometry import flip, pad_crop
from search_spaces import fbnet, get_space


@pytest.fixture(scope="session")
def digits() -> ImageData:
    return load_data(DataSettings())


@pytest.fixture(scope="session")
def learnt(digits: ImageData) -> Subnet:
    """The min net at 16 pixels after a few epochs on the digits: accuracies mean something with it."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    space = get_space("mobilenet_v3_small_images", resolutions=[16])
    net = Subnet(space, space.min).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(8):
        for rows in torch.randperm(len(digits.train), generator=generator).split(64):
            pixels = flip(pad_crop(digits.train.images[rows], 1, generator), 0.0, generator)
            logits = net(prepare(pixels, 16, digits.mean, digits.std))
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits, digits.train.labels[rows]).backward()
            optimizer.step()
    calibrate_batch_norm(net, calibration_batches(digits, 16))
    return net.eval()


@pytest.fixture
def narrow_fbnet(monkeypatch: pytest.MonkeyPatch) -> None:
    """FBNet's spaces at eight channels; they have no option for that."""
    monkeypatch.setattr(fbnet, "STAGES", tuple((depth, 8) for depth, _ in fbnet.STAGES))
    for name in ("IMAGENET", "SMALL_IMAGES"):
        monkeypatch.setattr(fbnet, name, replace(getattr(fbnet, name), head=64))
