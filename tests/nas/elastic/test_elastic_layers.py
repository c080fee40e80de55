"""A narrowed layer is the small layer: same outputs, and gradients in its slice only."""

import pytest
import torch
from torch import nn

from nas.elastic import ElasticBatchNorm2d, ElasticConv2d, ElasticLinear
from search_spaces import LayerSpec


def conv(in_channels: int, out_channels: int, kernel: int, groups: int = 1, *, bias: bool = False) -> LayerSpec:
    return LayerSpec("layer", "conv", in_channels, out_channels, 8, kernel, groups=groups, bias=bias)


CONVOLUTIONS = {
    "dense": [conv(8, 16, 5), conv(4, 8, 3)],
    "dense with bias": [conv(8, 16, 1, bias=True), conv(4, 6, 1, bias=True)],
    "depthwise": [conv(16, 16, 7, 16), conv(8, 8, 5, 8), conv(16, 16, 3, 16)],
    "grouped": [conv(8, 16, 3, 2), conv(4, 8, 3, 2)],
    "dense and grouped": [conv(8, 16, 3), conv(8, 16, 3, 2), conv(4, 8, 1, 4)],
}


@pytest.mark.parametrize("specs", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_narrowed_convolution_is_the_prefix_of_the_weight_around_the_centre(specs: list[LayerSpec]) -> None:
    layer = ElasticConv2d(specs)
    for spec in specs:
        layer.narrow(spec)
        x = torch.randn(2, spec.in_channels, 8, 8)
        margin = (max(s.kernel for s in specs) - spec.kernel) // 2
        weight = layer.weight[: spec.out_channels, : spec.in_channels // spec.groups]
        weight = weight[:, :, margin : margin + spec.kernel, margin : margin + spec.kernel]
        bias = layer.bias[: spec.out_channels] if layer.bias is not None else None
        expected = nn.functional.conv2d(x, weight, bias, padding=spec.kernel // 2, groups=spec.groups)
        assert torch.equal(layer(x), expected)
        assert torch.equal(layer.extract()(x), expected)


@pytest.mark.parametrize("specs", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_gradients_land_in_the_active_slice_only(specs: list[LayerSpec]) -> None:
    layer = ElasticConv2d(specs)
    spec = specs[-1]
    layer.narrow(spec)
    layer(torch.randn(2, spec.in_channels, 8, 8)).square().sum().backward()
    assert layer.weight.grad is not None
    assert int(layer.weight.grad.count_nonzero()) == spec.weight_count
    layer.weight.grad.zero_()
    layer.active_weight().sum().backward()
    assert int(layer.weight.grad.sum()) == spec.weight_count


def test_reset_makes_the_widest_layer_active() -> None:
    specs = CONVOLUTIONS["depthwise"]
    layer = ElasticConv2d(specs)
    layer.narrow(specs[1])
    layer.reset()
    assert layer.active == specs[0]
    assert layer.active_weight() is layer.weight


def test_kernel_transforms_apply_one_after_the_other() -> None:
    specs = [conv(4, 4, kernel, 4) for kernel in (3, 5, 7)]
    layer = ElasticConv2d(specs, kernel_transform=True)
    assert sorted(layer.transforms) == ["5to3", "7to5"]
    with torch.no_grad():
        for matrix in layer.transforms.values():
            matrix.normal_()
    five = torch.einsum("st,ct->cs", layer.transforms["7to5"], layer.weight[:, 0, 1:6, 1:6].reshape(4, 25))
    three = torch.einsum("st,ct->cs", layer.transforms["5to3"], five.view(4, 5, 5)[:, 1:4, 1:4].reshape(4, 9))
    for spec, weight in zip(specs, (three.view(4, 1, 3, 3), five.view(4, 1, 5, 5), layer.weight), strict=True):
        layer.narrow(spec)
        torch.testing.assert_close(layer.active_weight(), weight)
        x = torch.randn(1, 4, 8, 8)
        assert torch.equal(layer.extract()(x), layer(x))


def test_identity_transforms_are_the_centre_crop() -> None:
    specs = [conv(4, 4, kernel, 4) for kernel in (3, 5, 7)]
    layer = ElasticConv2d(specs, kernel_transform=True)
    layer.narrow(specs[0])
    torch.testing.assert_close(layer.active_weight(), layer.weight[:, :, 2:5, 2:5])


def test_dense_convolutions_have_no_kernel_transform() -> None:
    assert not ElasticConv2d([conv(4, 4, 3), conv(4, 4, 5)], kernel_transform=True).transforms


def test_narrowed_linear_is_a_prefix() -> None:
    specs = [LayerSpec("layer", "linear", n, out, 1, bias=True) for n, out in ((8, 10), (4, 6))]
    layer = ElasticLinear(specs)
    layer.narrow(specs[1])
    x = torch.randn(3, 4)
    expected = nn.functional.linear(x, layer.weight[:6, :4], layer.bias[:6])
    assert torch.equal(layer(x), expected)
    assert torch.equal(layer.extract()(x), expected)
    layer.reset()
    assert layer(torch.randn(3, 8)).shape == (3, 10)


def test_narrowed_batch_norm_reads_and_moves_its_first_channels() -> None:
    specs = [conv(8, out, 1) for out in (8, 5)]
    layer = ElasticBatchNorm2d(specs)
    with torch.no_grad():
        for tensor in (layer.weight, layer.bias, layer.running_mean):
            tensor.normal_()
        layer.running_var.uniform_(0.5, 2)
    layer.narrow(specs[1])
    before = layer.running_mean.clone(), layer.running_var.clone()
    alone = layer.extract()
    x = torch.randn(4, 5, 3, 3) * 2 + 1
    for training in (False, True, False):
        layer.train(training)
        alone.train(training)
        assert torch.equal(layer(x), alone(x))
    assert torch.equal(layer.running_mean[:5], alone.running_mean)
    assert torch.equal(layer.running_var[:5], alone.running_var)
    assert not torch.equal(layer.running_mean[:5], before[0][:5])
    assert torch.equal(layer.running_mean[5:], before[0][5:])
    assert torch.equal(layer.running_var[5:], before[1][5:])


def test_extracted_layers_are_copies() -> None:
    specs = CONVOLUTIONS["dense"]
    layer = ElasticConv2d(specs)
    alone = layer.extract()
    with torch.no_grad():
        alone.weight.zero_()
    assert bool(layer.weight.any())
