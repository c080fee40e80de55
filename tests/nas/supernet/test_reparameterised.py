"""Convolutions trained as branches: fused they compute the same, also after training; blocks are timm's."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nas.devices.agent import load_pytorch
from nas.elastic import Branches, ElasticBranches
from nas.supernet import Subnet, Supernet, calibrate_batch_norm, load_subnet, save_subnet
from nas.supernet.network import Network
from predictors.encoding import ArchitectureEncoding
from predictors.operators import OperatorTotals
from search_spaces import LayerSpec, get_space
from search_spaces.layers import branch_layers

OPTIONS = {"branches": (1, 2, 4), "resolutions": (32,), "width_mult": 0.25, "depths": (1, 2), "num_classes": 4}
WIDTHS = "w64-w128-w256-w512"


def train_a_little(net: Network, steps: int = 4) -> None:
    """Weights, and batch-norm statistics of images, that nobody has chosen."""
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(steps):
        images, labels = torch.randn(8, 3, 32, 32) * 2 + 1, torch.randint(4, (8,))
        optimizer.zero_grad()
        F.cross_entropy(net.train()(images), labels).backward()
        optimizer.step()
    net.eval()


def sum_of_branches(layer: Branches, x: Tensor) -> Tensor:
    """What the branches compute one by one, each with its running statistics."""
    return torch.stack([layer[name](x) for name in branch_layers(layer.active)]).sum(0)


@pytest.mark.parametrize("blocks", ["mobileone", "repvgg"])
def test_fused_equals_the_branches_after_training(blocks: str) -> None:
    space = get_space("reparameterised", **OPTIONS, blocks=[blocks])
    net = Supernet(space)
    for genotype in (space.max, space.sample(1, np.random.default_rng(0))[0], space.min):
        net.activate(genotype)
        train_a_little(net)
    images, compared = torch.randn(2, 3, 32, 32) * 2 + 1, 0

    def compare(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal compared
        assert isinstance(module, Branches)
        if module["conv1"].norm.training:
            return  # this is calibrated, which asking the branches again would disturb
        expected = sum_of_branches(module, inputs[0])
        torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(module.fused()(inputs[0]), expected, rtol=1e-4, atol=1e-4)
        compared += 1

    for module in net.modules():
        if isinstance(module, ElasticBranches):
            module.register_forward_hook(compare)
    with torch.no_grad():
        for genotype in (space.max, *space.sample(4, np.random.default_rng(1))):
            net.activate(genotype)
            calibrate_batch_norm(net, [images])
            logits, subnet = net(images), net.extract(genotype)
            assert float(logits.std()) > 1e-3
            torch.testing.assert_close(subnet(images), logits, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(subnet.fused()(images), logits, rtol=1e-4, atol=1e-4)
    assert compared > 25


def test_a_fused_network_is_convolutions_with_a_bias(tmp_path: Path) -> None:
    space = get_space("reparameterised", **OPTIONS)
    genotype = space.sample(1, np.random.default_rng(2))[0]
    subnet = Subnet(space, genotype).eval()
    train_a_little(subnet)
    fused = subnet.fused()
    with_weights = [module for module in fused.modules() if list(module.parameters(recurse=False))]
    assert {type(module) for module in with_weights} == {nn.Conv2d, nn.Linear}
    assert sum(p.numel() for p in fused.parameters()) == space.costs(genotype).params[0]
    assert {key.rsplit(".", 1)[1] for key in fused.state_dict()} == {"weight", "bias"}
    # What is saved still has its branches, so that it can be trained on.
    save_subnet(tmp_path / "subnet.safetensors", subnet, {})
    again = load_subnet(tmp_path / "subnet.safetensors").eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(images), subnet(images))
    train_a_little(again, 1)
    assert not torch.equal(again(images), subnet(images))


def test_pytorch_is_timed_without_branches(tmp_path: Path) -> None:
    space = get_space("reparameterised", **OPTIONS)
    card = {"space": space.name, "options": space.options, "architecture": space.format(space.max), "batch": 1}
    (tmp_path / "network.json").write_text(json.dumps(card))
    operators: list[str] = []

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            operators.append(func.name())
            return func(*args, **(kwargs or {}))

    run = load_pytorch(str(tmp_path / "network.json"), threads=1, precision="float32")
    with torch.inference_mode(), Count():
        run.__wrapped__()
    convolutions = sum(spec.kind == "conv" for layers in space.layers(space.max) for spec in layers)
    assert sum("convolution" in name or "conv2d" in name for name in operators) == convolutions
    assert not any("rsqrt" in name or "pad" in name for name in operators)


def test_fewer_branches_are_the_first_ones_and_cost_the_same() -> None:
    space = get_space("reparameterised", **OPTIONS, blocks=["mobileone"])
    names = [f"r32-b{n}-{WIDTHS}-m-m-m-m" for n in (1, 2, 4)]
    rows = np.stack([space.parse(name) for name in names])
    net = Supernet(space)
    states = [net.extract(row).state_dict() for row in rows]
    for fewer, more in pairwise(states):
        assert fewer.keys() < more.keys()
        assert all(torch.equal(tensor, more[key]) for key, tensor in fewer.items())
    for column in space.costs(rows):
        assert len(set(column.tolist())) == 1
    for features in (OperatorTotals(space)(rows), ArchitectureEncoding(space, "latency")(rows)):
        np.testing.assert_array_equal(features, np.broadcast_to(features[:1], features.shape))
    assert len(np.unique(ArchitectureEncoding(space, "accuracy")(rows), axis=0)) == 3


def test_sorting_leaves_networks_of_other_blocks_unchanged() -> None:
    space = get_space("reparameterised", **OPTIONS)
    torch.manual_seed(0)
    net = Supernet(space).double()
    images = torch.randn(2, 3, 32, 32).double()
    operators = np.array([gene.kind == "operator" for gene in space.genes])
    wide = np.where(operators, space.sample(6, np.random.default_rng(0)), space.max)

    def logits(genotype: np.ndarray) -> Tensor:
        net.activate(genotype)
        return net.eval()(images)

    with torch.no_grad():
        for genotype in wide:
            net.activate(genotype)
            calibrate_batch_norm(net, [images])
        before = [logits(genotype) for genotype in wide]
        weights = {key: tensor.clone() for key, tensor in net.state_dict().items()}
        net.sort_channels()
        for genotype, expected in zip(wide, before, strict=True):
            torch.testing.assert_close(logits(genotype), expected, rtol=1e-9, atol=1e-9)
    moved = {key for key, tensor in net.state_dict().items() if not torch.equal(weights[key], tensor)}
    assert {
        f"slots.stage3_block2.{name}.weight" for name in ("conv.conv.conv1.conv", "pointwise.conv.conv4.conv")
    } <= moved


def test_windows_without_a_common_centre_are_refused() -> None:
    with pytest.raises(ValueError, match="layer 'even' has branches: its window must be square, odd"):
        branch_layers(LayerSpec("even", "conv", 8, 8, 8, 2, bias=True, branches=1))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"blocks": ["resnet"]},
            r"blocks of reparameterised are a list of mobileone, repvgg or both, got \['resnet'\]",
        ),
        ({"blocks": "mobileone"}, "repvgg or both, got mobileone"),
        ({"blocks": []}, "blocks of reparameterised"),
        ({"branches": [0, 1]}, "branches must be distinct positive integers"),
        ({"branches": [1, 17]}, r"branches of reparameterised are at most 16, got \[1, 17\]"),
        ({"width_mult": 0}, "width_mult must be positive"),
    ],
)
def test_options_are_checked(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        get_space("reparameterised", **options)


@torch.no_grad()
def test_branches_are_those_of_timm() -> None:
    """Layer by layer, in training mode too: the same weights, outputs and running statistics."""
    blocks = pytest.importorskip("timm.models.byobnet", reason="needs the extra timm")
    layers = blocks.LayerFn()
    torch.manual_seed(0)
    for kernel, stride, n, depthwise, out in (
        (3, 1, 4, True, 8),
        (3, 2, 2, True, 8),
        (1, 1, 3, False, 8),
        (1, 1, 1, False, 12),
    ):
        theirs = blocks.MobileOneBlock(
            8, out, kernel, stride, group_size=int(depthwise), num_conv_branches=n, layers=layers
        )
        convs = {f"conv{i + 1}": branch for i, branch in enumerate(theirs.conv_kxk)}
        spec = LayerSpec("layer", "conv", 8, out, 9, kernel, stride, 8 if depthwise else 1, bias=True, branches=n)
        _compare(spec, convs | {"pointwise": theirs.conv_scale, "identity": theirs.identity}, theirs)
    for stride, out in ((1, 8), (2, 12)):
        rep = blocks.RepVggBlock(8, out, 3, stride, layers=layers)
        spec = LayerSpec("layer", "conv", 8, out, 9, 3, stride, bias=True, branches=1)
        _compare(spec, {"conv1": rep.conv_kxk, "pointwise": rep.conv_1x1, "identity": rep.identity}, rep)


def _compare(spec: LayerSpec, given: dict[str, nn.Module | None], theirs: nn.Module) -> None:
    given = {name: branch for name, branch in given.items() if branch is not None}
    ours = ElasticBranches([spec])
    assert ours.keys() == given.keys()
    for name, branch in given.items():
        weights = branch.state_dict().values()
        ours[name].load_state_dict(dict(zip(ours[name].state_dict(), weights, strict=True)))
    for mode in (True, True, False):
        x = 2 * torch.randn(4, 8, 9, 9) + 1
        torch.testing.assert_close(F.relu(ours.train(mode)(x)), theirs.train(mode)(x), rtol=1e-4, atol=1e-4)
    expected = theirs(x)
    theirs.reparameterize()
    for fused in (ours.fused(), ours.extract().eval().fused()):
        torch.testing.assert_close(F.relu(fused(x)), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(fused.weight, theirs.reparam_conv.weight)
        torch.testing.assert_close(fused.bias, theirs.reparam_conv.bias)
