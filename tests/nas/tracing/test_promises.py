"""What holds for every traced network: it is the given one, its subnets are slices of it, its files compute the same.

Random weights, with batch-norm statistics and scales that are not those of a fresh network; small images.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nas.export.inference import open_file
from nas.export.layer_graph import network_layers
from nas.export.network_file import FileKind, network_file
from nas.supernet import Subnet, Supernet, load_supernet, save_supernet
from nas.tracing import Adopted, Model, adopt, load_model
from search_spaces import get_space
from tests.nas.counted import counted_macs
from tests.nas.tracing.networks import NETWORKS

SIDE, CLASSES = 96, 10
N_SUBNETS = int(os.environ.get("NAS_TRACED_SUBNETS", "1"))
"""Random subnets of each network: one in the suite, ten where the environment says so."""

pytestmark = pytest.mark.parametrize("name", NETWORKS, scope="module")


def lively(module: nn.Module) -> None:
    """Statistics and scales as after training: none is one or zero everywhere."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d | nn.LayerNorm):
                layer.weight.uniform_(0.6, 1.4, generator=generator)
                layer.bias.uniform_(-0.2, 0.2, generator=generator)
            if isinstance(layer, nn.BatchNorm2d):
                assert layer.running_mean is not None
                assert layer.running_var is not None
                layer.running_mean.uniform_(-0.2, 0.2, generator=generator)
                layer.running_var.uniform_(0.5, 1.5, generator=generator)
            if isinstance(layer, nn.Conv2d | nn.Linear):
                fan_in = layer.weight[0].numel()
                layer.weight.normal_(0, fan_in**-0.5, generator=generator)
        for key, tensor in module.named_parameters():
            if key.endswith("gamma"):
                tensor.uniform_(0.5, 1.5, generator=generator)


@pytest.fixture(scope="module")
def given(name: str) -> Model:
    if name.startswith("timm:"):
        pytest.importorskip("timm", reason="needs the extra timm")
    torch.manual_seed(0)
    model = load_model(name, num_classes=CLASSES, resolution=SIDE)
    assert model.module is not None
    lively(model.module)
    return model


@pytest.fixture(scope="module")
def adopted(given: Model) -> Adopted:
    return adopt(given)


@pytest.fixture(scope="module")
def genotypes(adopted: Adopted) -> np.ndarray:
    space = adopted.space
    return np.vstack([space.max, space.min, space.sample(N_SUBNETS, np.random.default_rng(0))])


def images(side: int) -> torch.Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(5))


def test_the_max_net_is_the_given_network(given: Model, adopted: Adopted) -> None:
    assert given.module is not None
    x = images(SIDE)
    with torch.inference_mode():
        expected = given.module(x)
        found = adopted.supernet.eval()(x)
    assert float((found - expected).abs().max()) <= 1e-4 * max(1.0, float(expected.abs().max()))
    costs = adopted.space.costs(adopted.space.max)
    assert costs.params[0] == sum(p.numel() for p in given.module.parameters())
    assert costs.macs[0] == counted_macs(given.module, x)
    ours = {key: tensor for key, tensor in adopted.supernet.state_dict().items() if "running" in key}
    theirs = {key: tensor for key, tensor in given.module.state_dict().items() if "running" in key}
    assert len(ours) == len(theirs)
    assert sorted(float(t.sum()) for t in ours.values()) == sorted(float(t.sum()) for t in theirs.values())


def test_there_is_something_to_choose(name: str, adopted: Adopted) -> None:
    least = {"timm:mobilenetv4_conv_small": 20, "torchvision:resnet50": 40}.get(name, 5)
    space = adopted.space
    assert (space.n_choices > 1).sum() >= least
    assert (space.n_variants / len(space.resolutions)).max() <= 101
    assert len(space.resolutions) > 1
    assert not any("resolutions" in note for note in adopted.notes)
    costs = space.costs(np.stack([space.min, space.max]))
    assert costs.macs[0] < 0.5 * costs.macs[1]


def test_subnets_are_slices(adopted: Adopted, genotypes: np.ndarray) -> None:
    net = adopted.supernet.eval()
    for genotype in genotypes:
        alone = net.extract(genotype).eval()
        net.activate(genotype)
        with torch.inference_mode():
            logits = net(images(net.resolution))
            assert torch.equal(alone(images(net.resolution)), logits)
        assert logits.shape == (2, CLASSES)
        assert sum(p.numel() for p in alone.parameters()) == adopted.space.costs(genotype).params[0]
    net.activate(adopted.space.max)


def test_sorting_leaves_the_max_net_unchanged(adopted: Adopted) -> None:
    net = Supernet(adopted.space)
    net.load_state_dict(adopted.supernet.state_dict())
    net = net.eval().double()
    x = images(SIDE).double()
    with torch.inference_mode():
        before = net(x)
        weights = {key: tensor.clone() for key, tensor in net.state_dict().items()}
        net.sort_channels()
        torch.testing.assert_close(net(x), before, rtol=1e-9, atol=1e-9)
    moved = [key for key, tensor in net.state_dict().items() if not torch.equal(tensor, weights[key])]
    assert len(moved) > 5


def test_names_parse_back_and_saving_keeps_the_outputs(adopted: Adopted, genotypes: np.ndarray, tmp_path: Path) -> None:
    space = adopted.space
    for genotype in genotypes:
        np.testing.assert_array_equal(space.parse(space.format(genotype)), genotype)
    save_supernet(tmp_path, adopted.supernet, {"source": "test"})
    again, card = load_supernet(tmp_path)
    assert card == {"source": "test"}
    assert again.space.name == space.name
    assert again.space.genes == space.genes
    with torch.inference_mode():
        assert torch.equal(again.eval()(images(SIDE)), adopted.supernet.eval()(images(SIDE)))
    other = get_space(space.name, **space.options | {"num_classes": 7})
    smallest = Subnet(other, other.min).eval()
    assert smallest(images(smallest.resolution)).shape == (2, 7)


@pytest.mark.parametrize("format_", ["onnx", "tflite"])
def test_files_compute_the_same(adopted: Adopted, genotypes: np.ndarray, format_: str, tmp_path: Path) -> None:
    if format_ == "tflite":
        pytest.importorskip("ai_edge_quantizer", reason="needs the extra tflite")
    chosen = genotypes if N_SUBNETS > 1 else genotypes[[0, 2]]
    for number, genotype in enumerate(chosen):
        subnet = adopted.supernet.extract(genotype).eval()
        x = images(subnet.resolution)
        with torch.inference_mode():
            expected = subnet(x).numpy()
        path = tmp_path / f"net{number}.{format_}"
        path.write_bytes(network_file(subnet, FileKind(format_)))
        found = open_file(path)(x.numpy())
        assert np.abs(found - expected).max() <= 1e-3 * max(1.0, np.abs(expected).max())
        assert network_layers(subnet.space, genotype)
        if number == len(chosen) - 1:
            path.write_bytes(network_file(subnet, FileKind(format_, "int8"), calibration=x.repeat(8, 1, 1, 1).numpy()))
            int8 = open_file(path)(x.numpy())
            assert np.isfinite(int8).all()
            assert np.corrcoef(int8.ravel(), expected.ravel())[0, 1] > 0.9
