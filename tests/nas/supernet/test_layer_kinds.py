"""Layer kinds against what they are said to compute, and a network of every space against its specs."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from nas.supernet.layers import ACTIVATIONS, KINDS, elastic_layer, plain_layer
from nas.supernet.subnet import Subnet
from search_spaces import SPACES, LayerSpec, get_space


def run(spec: LayerSpec, *inputs: torch.Tensor) -> torch.Tensor:
    return ACTIVATIONS[spec.activation](KINDS[spec.kind].run(spec, plain_layer(spec).eval(), inputs))


def test_shuffle_writes_groups_side_by_side() -> None:
    x = torch.arange(6.0).view(1, 6, 1, 1)
    assert run(LayerSpec("s", "shuffle", 6, 6, 1, groups=2), x).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert run(LayerSpec("s", "shuffle", 6, 6, 1, groups=3), x).flatten().tolist() == [0, 2, 4, 1, 3, 5]


def test_average_pooling_leaves_padding_out() -> None:
    assert (run(LayerSpec("p", "avg_pool", 2, 2, 5, 3), torch.ones(1, 2, 5, 5)) == 1).all()
    halves = run(LayerSpec("p", "avg_pool", 1, 1, 4, 2, 2), torch.arange(16.0).view(1, 1, 4, 4))
    assert halves.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_identity_and_zero() -> None:
    x = torch.tensor([-1.0, 2.0]).view(1, 2, 1, 1)
    assert run(LayerSpec("i", "identity", 2, 2, 1, activation="relu"), x).flatten().tolist() == [0, 2]
    norm = plain_layer(LayerSpec("i", "identity", 2, 2, 1, norm=True))
    assert [name for name, _ in norm.named_parameters()] == ["norm.weight", "norm.bias"]
    assert run(LayerSpec("z", "zero", 2, 2, 1), x).abs().max() == 0


@pytest.mark.parametrize("name", SPACES)
def test_networks_have_the_parameters_and_shapes_of_their_specs(name: str) -> None:
    space = get_space(name)
    genotype = space.sample(1, np.random.default_rng(0))[0]
    subnet = Subnet(space, genotype).eval().fused()
    assert sum(p.numel() for p in subnet.parameters()) == space.costs(genotype).params[0]
    outputs: dict[str, tuple[int, ...]] = {}
    for slot, module in subnet.named_slots():
        module.register_forward_hook(lambda _m, _x, y, slot=slot: outputs.update({slot: tuple(y.shape[1:])}))
    with torch.no_grad():
        logits = subnet(torch.zeros(1, 3, subnet.resolution, subnet.resolution))
    assert logits.shape == (1, space.num_classes)
    for slot, module in list(subnet.named_slots())[:-1]:
        if module.layers:
            last = module.layers[-1]
            assert outputs[slot] == (last.out_channels, last.out_size, last.out_size)


@pytest.mark.parametrize(
    ("kernel", "stride", "exact"), [(5, 1, True), (3, 2, True), (3, 1, False)], ids=["large", "strided", "small"]
)
@pytest.mark.parametrize("make", [plain_layer, lambda spec: elastic_layer([spec])], ids=["plain", "elastic"])
def test_what_trains_slowly_in_bfloat16_is_computed_in_float32(
    make: Callable[[LayerSpec], nn.Sequential], kernel: int, stride: int, exact: bool
) -> None:
    spec = LayerSpec("layer", "conv", 16, 16, 8, kernel, stride=stride, groups=16)
    layer = make(spec)
    (weight,) = layer.parameters()
    x = torch.randn(4, 16, 8, 8)
    expected = nn.functional.conv2d(x, weight, None, stride, kernel // 2, groups=16)
    (wanted,) = torch.autograd.grad(expected.sum(), weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = KINDS["conv"].run(spec, layer, [x])
    assert y.dtype == torch.bfloat16
    (found,) = torch.autograd.grad(y.float().sum(), weight)
    assert torch.equal(found, wanted) == exact
    assert torch.equal(y, expected.bfloat16()) == exact
