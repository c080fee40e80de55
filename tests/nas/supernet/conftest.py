"""Spaces at small resolutions, and networks whose every weight matters."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from nas.supernet import Supernet, calibrate_batch_norm
from nas.supernet.network import Network
from search_spaces import SPACES, SearchSpace, get_space

NARROW: dict[str, dict[str, Any]] = {
    "resnet50": {"widths": (5, 8, 10)},
    "mobilenet_v4": {"width_mult": 0.25, "depths": (1, 2)},
    "hybrid": {"width_mult": 0.25, "depths": (1, 2), "attention_depths": (1, 2), "resolutions": (32, 64)},
}
"""Of spaces whose networks are too wide or too deep to be compared by the hundred, or see nothing at few pixels."""


def small(name: str) -> SearchSpace:
    """The space, at resolutions that are quick to run where it lets one choose them."""
    sides = {"resolutions": (16, 24)} if "resolutions" in get_space(name).options else {}
    return get_space(name, **sides | NARROW.get(name, {}))


def randomise(net: Network) -> None:
    """Random batch-norms, biases and kernel transforms too; the activations keep a sane scale."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
            elif isinstance(module, nn.Linear):
                module.weight.normal_(0, 0.2)
            elif isinstance(module, nn.ParameterDict):
                for matrix in module.values():
                    matrix += 0.05 * torch.randn_like(matrix)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                module.bias.normal_(0, 0.2)


@pytest.fixture(scope="module", params=SPACES)
def space(request: pytest.FixtureRequest) -> SearchSpace:
    """Every registered space in turn."""
    return small(request.param)


@pytest.fixture
def small_space() -> SearchSpace:
    return small("mobilenet_v3_small_images")


@pytest.fixture
def make_supernet() -> Callable[..., Supernet]:
    """Makes ``(space, kernel_transform=False)`` into a supernet with random weights of every sort."""

    def make(space: SearchSpace, kernel_transform: bool = False) -> Supernet:
        torch.manual_seed(0)
        net = Supernet(space, kernel_transform)
        randomise(net)
        # Statistics that fit keep the logits dependent on the images; random ones would drown them in biases.
        calibrate_batch_norm(net, [torch.randn(8, 3, net.resolution, net.resolution)])
        return net

    return make


@pytest.fixture
def net(small_space: SearchSpace, make_supernet: Callable[..., Supernet]) -> Supernet:
    return make_supernet(small_space, kernel_transform=True)
