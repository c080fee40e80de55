"""A supernet with a subnet active computes what the extracted subnet computes, for every space."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from nas.supernet import Subnet, Supernet
from nas.supernet.network import Network
from search_spaces import SearchSpace
from tests.nas.counted import counted_macs

# Half of them with kernel transforms. Spaces that only rename another's layers, have no such kernels or are made of the
# same few layers need fewer.
N_GENOTYPES = {
    "fbnet_imagenet": 20,
    "resnet50": 40,
    "mobilenet_v4_w0.25": 40,
    "reparameterised_w0.25": 40,
    "hybrid_w0.25": 40,
}
USUAL_N_GENOTYPES = 60
BATCH = 2
MakeSupernet = Callable[..., Supernet]


def images(net: Network, batch: int = BATCH) -> Tensor:
    return torch.randn(batch, 3, net.resolution, net.resolution)


def assert_close(given: Tensor, expected: Tensor) -> None:
    """Equal but for rounding, judged also by how much the logits depend on the image at all."""
    spread = (expected - expected.flip(0)).abs().max()
    assert float((given - expected).abs().max()) <= 1e-5 * float(spread) + 1e-6 * float(expected.abs().max())


def assert_same(net: Supernet, genotype: np.ndarray, *, training: bool) -> None:
    """Same logits, in training mode as well, and then the same running statistics."""
    subnet = net.extract(genotype)
    net.activate(genotype)
    x = images(net)
    for mode in (True, False) if training else (False,):
        logits = net.train(mode)(x)
        assert logits.shape == (BATCH, net.n_classes)
        assert_close(subnet.train(mode)(x), logits)


@pytest.mark.parametrize("kernel_transform", [False, True], ids=["crop", "transform"])
def test_active_equals_extracted(space: SearchSpace, make_supernet: MakeSupernet, kernel_transform: bool) -> None:
    net = make_supernet(space, kernel_transform=kernel_transform)
    with torch.no_grad():
        n = N_GENOTYPES.get(space.name, USUAL_N_GENOTYPES) // 2
        for i, genotype in enumerate(space.sample(n, np.random.default_rng(int(kernel_transform)))):
            assert_same(net, genotype, training=i % 10 == 0)


def test_active_equals_extracted_after_sorting(space: SearchSpace, make_supernet: MakeSupernet) -> None:
    net = make_supernet(space, kernel_transform=True)
    net.sort_channels()
    with torch.no_grad():
        for genotype in (space.min, space.max, *space.sample(8, np.random.default_rng(2))):
            assert_same(net, genotype, training=True)


def test_sorting_leaves_the_max_net_unchanged_but_moves_channels(
    space: SearchSpace, make_supernet: MakeSupernet
) -> None:
    # In double precision, for sums in another order are not the same to the last bit.
    net = make_supernet(space, kernel_transform=True).eval().double()
    x = images(net).double()
    with torch.no_grad():
        before = net(x)
        weights = {key: tensor.clone() for key, tensor in net.state_dict().items()}
        net.sort_channels()
        assert (net.active == space.max).all()
        torch.testing.assert_close(net(x), before, rtol=1e-9, atol=1e-9)
    assert any(not torch.equal(weights[key], tensor) for key, tensor in net.state_dict().items())


def test_costs_on_paper_are_those_of_the_torch_network(space: SearchSpace) -> None:
    population = space.sample(6, np.random.default_rng(3))
    costs = space.costs(population)
    for genotype, macs, params in zip(population, costs.macs, costs.params, strict=True):
        subnet = Subnet(space, genotype).eval().fused()
        assert sum(p.numel() for p in subnet.parameters()) == params
        assert counted_macs(subnet, images(subnet, 1)) == macs
        assert subnet.architecture == space.format(genotype)
