"""Calibrated statistics are plain averages over the batches, of the active slice only."""

import pytest
import torch
from torch import nn

from nas.supernet import Subnet, Supernet, calibrate_batch_norm
from search_spaces import SearchSpace


def test_statistics_are_averages_over_batches(small_space: SearchSpace) -> None:
    subnet = Subnet(small_space, small_space.min)
    batches = [scale * torch.randn(4, 3, 16, 16) for scale in (1.0, 2.0, 3.0)]
    calibrate_batch_norm(subnet, batches)
    conv, norm = subnet.slots["stem"]["conv"]
    with torch.no_grad():
        outputs = [conv(batch) for batch in batches]
    mean = torch.stack([y.mean((0, 2, 3)) for y in outputs]).mean(0)
    var = torch.stack([y.var((0, 2, 3)) for y in outputs]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, var)


def test_modes_momenta_and_weights_are_put_back(net: Supernet) -> None:
    net.eval()
    net.slots["head"].train()
    norm = net.slots["stem"]["conv"].norm
    norm.momentum = 0.25
    weights = {name: p.detach().clone() for name, p in net.named_parameters()}
    modes = [module.training for module in net.modules()]
    calibrate_batch_norm(net, [torch.randn(4, 3, 16, 16)])
    assert [module.training for module in net.modules()] == modes
    assert norm.momentum == 0.25
    assert all(torch.equal(weights[name], p) and p.grad is None for name, p in net.named_parameters())


def test_a_supernet_is_calibrated_like_its_subnet_and_elsewhere_untouched(net: Supernet) -> None:
    genotype = net.space.parse("r16-k3e2-k3e3_k5e2-k3e2-k3e2-k5e2")
    batches = [torch.randn(4, 3, 16, 16) for _ in range(3)]
    subnet = net.extract(genotype)
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    net.activate(genotype)
    calibrate_batch_norm(net, batches)
    calibrate_batch_norm(subnet, batches)
    alone = dict(subnet.named_buffers())
    for name, buffer in net.named_buffers():
        if name.endswith("num_batches_tracked"):
            continue
        active = len(alone[name]) if name in alone else 0
        assert torch.equal(buffer[active:], before[name][active:]), name
        if active:
            torch.testing.assert_close(buffer[:active], alone[name])
            assert not torch.equal(buffer[:active], before[name][:active]), name


def test_statistics_that_are_not_finite_are_replaced(net: Supernet) -> None:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.fill_(torch.nan)
            module.running_var.fill_(torch.inf)
    calibrate_batch_norm(net, [torch.randn(4, 3, 16, 16)])
    with torch.no_grad():
        assert net.eval()(torch.randn(1, 3, 16, 16)).isfinite().all()


def test_no_batches_is_refused(net: Supernet) -> None:
    with pytest.raises(ValueError, match="no batch"):
        calibrate_batch_norm(net, [])
    assert net.slots["stem"]["conv"].norm.momentum == 0.1
