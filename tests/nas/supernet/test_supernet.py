"""Activation, gradients, initialisation and sorting of one supernet."""

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from nas.supernet import Subnet, Supernet
from search_spaces import SearchSpace, get_space


def test_keys_of_the_weights(net: Supernet) -> None:
    subnet = net.extract(net.space.min)
    keys = subnet.state_dict().keys()
    assert {"slots.stem.conv.conv.weight", "slots.stem.conv.norm.running_mean"} <= keys
    assert {"slots.stage1_block1.project.conv.weight", "slots.head.classify.linear.bias"} <= keys
    assert keys <= net.state_dict().keys()


def test_extracted_networks_are_plain_torch(net: Supernet) -> None:
    subnet = net.extract(net.space.min)
    weighted = {type(module) for module in subnet.modules() if list(module.parameters(recurse=False))}
    assert weighted == {nn.Conv2d, nn.BatchNorm2d, nn.Linear}
    assert net.extract(net.space.min).training
    assert not net.eval().extract(net.space.min).training


def test_extracting_copies_and_keeps_the_active_subnet(net: Supernet) -> None:
    net.activate(net.space.min)
    subnet = net.extract(net.space.max)
    assert (net.active == net.space.min).all()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    with torch.no_grad():
        for tensor in subnet.state_dict().values():
            tensor.zero_()
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())


def test_attributes(net: Supernet) -> None:
    space = net.space
    genotype = space.parse("r24-k3e2-k3e3_k5e2-k3e2-k3e2-k5e2")
    net.activate(genotype)
    subnet = net.extract(genotype)
    assert net.resolution == subnet.resolution == 24
    assert net.n_classes == subnet.n_classes == 10
    assert subnet.architecture == "r24-k3e2-k3e3_k5e2-k3e2-k3e2-k5e2"
    assert (subnet.genotype == genotype).all()


def test_genotypes_are_checked(small_space: SearchSpace, net: Supernet) -> None:
    with pytest.raises(ValueError, match="one genotype was expected, 3"):
        net.activate(small_space.sample(3, np.random.default_rng(0)))
    with pytest.raises(ValueError, match="genes"):
        Subnet(small_space, np.zeros(3, dtype=np.int16))


def test_gradients_land_in_the_active_slice_only(net: Supernet) -> None:
    genotype = net.space.parse("r16-k3e2-k3e3_k5e2-k3e2-k3e2-k5e2")
    subnet = net.extract(genotype)
    net.activate(genotype)
    images = torch.randn(4, 3, 16, 16)
    net(images).square().sum().backward()
    subnet(images).square().sum().backward()
    alone = dict(subnet.named_parameters())
    for name, parameter in net.named_parameters():
        if ".transforms." in name:
            continue
        if name not in alone:
            assert parameter.grad is None, name
            continue
        assert parameter.grad is not None
        expected = alone[name].grad
        assert expected is not None
        margins = [(large - small) // 2 for large, small in zip(parameter.shape[2:], expected.shape[2:], strict=True)]
        prefix = [slice(n) for n in expected.shape[:2]]
        centre = [slice(m, m + n) for m, n in zip(margins, expected.shape[2:], strict=True)]
        inside = parameter.grad[(*prefix, *centre)]
        outside = parameter.grad.abs().sum() - inside.abs().sum()
        if not any(margins):  # Transformed kernels learn from their larger neighbours.
            torch.testing.assert_close(inside, expected, rtol=1e-3, atol=1e-4)
            assert float(outside) <= 1e-4 * float(parameter.grad.abs().sum())
        else:
            assert not parameter.grad[expected.shape[0] :].any()


def test_kernel_transforms_learn_where_they_are_used(net: Supernet) -> None:
    net.activate(net.space.min)
    net(torch.randn(4, 3, 16, 16)).square().sum().backward()
    grads = [p.grad for name, p in net.named_parameters() if ".transforms." in name and "block1" in name]
    assert grads
    assert all(grad is not None and bool(grad.any()) for grad in grads)


def test_zero_init_makes_residual_blocks_the_identity(net: Supernet) -> None:
    net.zero_init_residuals()
    net.eval()
    x = torch.randn(2, 16, 8, 8)
    with torch.no_grad():
        net.slots["stage1_block2"]["project"].norm.bias.zero_()
        assert torch.equal(net.slots["stage1_block2"](x), x)
        assert not torch.equal(net.slots["stage1_block1"](x[:, :8]), x)
    assert bool(net.slots["stage1_block1"]["project"].norm.weight.all())


@torch.no_grad()
def test_zero_init_is_of_blocks_outside_the_max_net_too() -> None:
    space = get_space("fbnet", resolutions=(16,), num_classes=4)
    net = Supernet(space).eval()
    net.zero_init_residuals()
    genotype = space.min.copy()
    for label in ("k3e1g2", "k3e6"):
        gene = space.genes[space.columns["stage2_layer2_operator"]]
        genotype[space.columns[gene.name]] = gene.labels.index(label)
        net.activate(genotype)
        x = torch.randn(2, 24, 8, 8)
        assert torch.equal(net.slots["stage2_layer2"](x), x)
    # Cells with a skip add convolutions to their input; in the max net nothing else comes out of them.
    cells = Supernet(get_space("nasbench201", channels=8, cells=1))
    cells.zero_init_residuals()
    assert all(bool(m.weight.all()) for m in cells.modules() if isinstance(m, nn.BatchNorm2d))


def test_sorting_orders_by_what_reads_the_channels(net: Supernet) -> None:
    net.sort_channels()
    for block, inner in (("stage1_block1", ["project"]), ("stage2_block2", ["project", "se_expand"])):
        for layer in inner:
            importance = net.slots[block][layer].conv.weight.detach().abs().sum((0, 2, 3))
            assert (importance.diff() <= 1e-5).all(), (block, layer)


def test_stage_widths_are_sorted_by_all_layers_that_read_them(make_supernet: Callable[..., Supernet]) -> None:
    """The channels of a residual stage are one row, which its own blocks and the next stage's first one read."""
    space = get_space("resnet50", widths=(5, 10), depths=(0, 1), resolutions=(32,), num_classes=4)
    net = make_supernet(space)
    readers = [f"stage2_block{i}.reduce" for i in (2, 3)] + ["stage3_block1.reduce", "stage3_block1.shortcut"]

    def importance() -> torch.Tensor:
        weights = [net.get_submodule(f"slots.{name}.conv").weight for name in readers]
        each = [weight.detach().abs().sum((0, 2, 3)) for weight in weights]
        return torch.stack([one / one.mean() for one in each]).sum(0)

    before = importance()
    net.sort_channels()
    assert (importance().diff() <= 1e-5).all()
    torch.testing.assert_close(importance(), before.sort(descending=True)[0])
    assert not torch.equal(before, importance())


def test_sorting_leaves_networks_of_other_operators_unchanged(make_supernet: Callable[..., Supernet]) -> None:
    """Layers outside the max net move with the channels that they read or write."""
    space = get_space("mobilenet_v4", width_mult=0.25, depths=(1, 2), resolutions=(32,), num_classes=4)
    net = make_supernet(space).eval().double()
    operators = np.array([gene.kind == "operator" for gene in space.genes])
    drawn = space.sample(8, np.random.default_rng(0))
    wide = space.canonical(np.where(operators, drawn, space.max))
    images = torch.randn(2, 3, 32, 32).double()

    def logits() -> list[torch.Tensor]:
        with torch.no_grad():
            return [net(images) for genotype in wide if net.activate(genotype) is None]

    names = [f"slots.{name}.conv.weight" for name in ("stage3_block2.project", "stage2_block1.project")]
    before, weights = logits(), [net.state_dict()[name].clone() for name in names]
    net.sort_channels()
    for now, then in zip(logits(), before, strict=True):
        torch.testing.assert_close(now, then, rtol=1e-9, atol=1e-9)
    assert not any(torch.equal(net.state_dict()[name], weight) for name, weight in zip(names, weights, strict=True))


def test_sorting_moves_channels_whole(net: Supernet) -> None:
    """Every row of the expansion keeps the depthwise kernel and the statistics that it came with."""
    layers = net.slots["stage1_block1"]

    def rows() -> torch.Tensor:
        parts = [layers["expand"].conv.weight.flatten(1), layers["depthwise"].conv.weight.flatten(1)]
        parts += [buffer[:, None] for name, buffer in layers["depthwise"].norm.named_buffers() if "running" in name]
        parts += [layers["project"].conv.weight[:, :, 0, 0].T]
        return torch.cat(parts, 1).detach().clone()

    before = rows()
    net.sort_channels()
    after = rows()
    assert not torch.equal(before, after)
    assert torch.equal(before[before[:, 0].argsort()], after[after[:, 0].argsort()])


def test_many_resolutions_do_not_slow_construction() -> None:
    one = get_space("mobilenet_v3_small_images")
    many = get_space("mobilenet_v3_small_images", resolutions=range(32, 132, 4))
    times = []
    for space in (one, many):
        for slot in space.slots:
            space.weight_layers(slot)
        start = time.perf_counter()
        Supernet(space)
        times.append(time.perf_counter() - start)
    assert len(Supernet(many).state_dict()) == len(Supernet(one).state_dict())
    assert times[1] < 5 * times[0] + 0.5


def test_subnets_trace_for_export(net: Supernet) -> None:
    subnet = net.extract(net.space.min).eval()
    images = torch.randn(2, 3, subnet.resolution, subnet.resolution)
    program = torch.export.export(subnet, (images,))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(images), subnet(images))


def test_channels_last_gives_the_same(net: Supernet) -> None:
    subnet = net.extract(net.space.max).eval()
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        expected = subnet(images)
        subnet.to(memory_format=torch.channels_last)
        torch.testing.assert_close(subnet(images.to(memory_format=torch.channels_last)), expected, rtol=1e-4, atol=1e-5)
