"""Once-for-all's own supernet and ours compute the same with the same weights."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nas.supernet import calibrate_batch_norm, from_once_for_all
from search_spaces import SearchSpace

networks = pytest.importorskip(
    "ofa.imagenet_classification.elastic_nn.networks",
    reason="needs the ofa package: pip install --no-deps ofa",
)


def randomised(net: nn.Module) -> nn.Module:
    """The network with weights of which every one matters, in evaluation mode."""
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name.endswith("_matrix"):
                tensor += 0.05 * torch.randn_like(tensor)
            elif name.endswith("bn.weight"):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith("bias"):
                tensor.normal_(0, 0.2)
            elif name.startswith("classifier.") and name.endswith(".weight"):
                tensor.normal_()
    # Statistics that fit keep the logits dependent on the images.
    calibrate_batch_norm(net, [torch.randn(8, 3, 64, 64)])
    return net.eval()


@pytest.fixture(scope="module", params=[1.0, 1.2], ids=["w1.0", "w1.2"])
def width_mult(request: pytest.FixtureRequest) -> float:
    width: float = request.param
    return width


@pytest.fixture(scope="module")
def theirs(width_mult: float) -> nn.Module:
    torch.manual_seed(0)
    net = networks.OFAMobileNetV3(
        n_classes=10,
        dropout_rate=0,
        width_mult=width_mult,
        ks_list=[3, 5, 7],
        expand_ratio_list=[3, 4, 6],
        depth_list=[2, 3, 4],
    )
    return randomised(net)


def activate(theirs: Any, depths: list[int], kernels: list[int], expansions: list[int]) -> None:
    theirs.set_active_subnet(ks=kernels, e=expansions, d=depths)


def test_same_outputs_for_random_subnets_at_three_resolutions(theirs: nn.Module, width_mult: float) -> None:
    ours = from_once_for_all(theirs.state_dict(), width_mult).eval()
    space = ours.space
    names = [gene.name for gene in space.genes]
    for genotype in space.sample(20, np.random.default_rng(0)):
        values = dict(zip(names, space.gene_values(genotype)[0].tolist(), strict=True))
        of = {what: [v for n, v in values.items() if n.endswith(what)] for what in ("depth", "kernel", "expansion")}
        activate(theirs, of["depth"], of["kernel"], of["expansion"])
        ours.activate(genotype)
        alone = ours.extract(genotype)
        for resolution in (32, 48, 64):
            images = torch.randn(2, 3, resolution, resolution)
            with torch.no_grad():
                expected = theirs(images)
                assert float((expected[0] - expected[1]).abs().max()) > 1e-3
                torch.testing.assert_close(ours(images), expected, rtol=0, atol=2e-5)
                torch.testing.assert_close(alone(images), expected, rtol=0, atol=2e-5)


def test_spelling_of_published_files_is_understood(theirs: nn.Module, width_mult: float) -> None:
    state = theirs.state_dict()
    old = {
        key.replace(".conv.inverted", ".mobile_inverted_conv.inverted").replace(".bn.bn.", ".bn."): tensor
        for key, tensor in state.items()
        if not key.endswith("num_batches_tracked")
    }
    assert old.keys() != state.keys()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        first, second = (from_once_for_all(s, width_mult).eval()(images) for s in (state, old))
    assert torch.equal(first, second)


def test_wrong_weights_are_named(theirs: nn.Module, width_mult: float) -> None:
    state = dict(theirs.state_dict())
    lacking = {key: tensor for key, tensor in state.items() if "blocks.3.conv.depth_conv.bn.bn.bias" not in key}
    with pytest.raises(ValueError, match=r"missing: .*stage1_block3\.depthwise\.norm\.bias"):
        from_once_for_all(lacking, width_mult)
    with pytest.raises(ValueError, match=r"not OFAMobileNetV3's: teacher\.weight"):
        from_once_for_all(state | {"teacher.weight": torch.zeros(1)}, width_mult)
    with pytest.raises(ValueError, match="another shape"):
        from_once_for_all(state, {1.0: 1.2, 1.2: 1.0}[width_mult])
    with pytest.raises(ValueError, match="no weights of OFAMobileNetV3"):
        from_once_for_all({"weight": torch.zeros(1)})


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    """In double precision: networks as deep as this amplify the rounding of single precision."""
    torch.manual_seed(0)
    net = randomised(
        networks.OFAResNets(
            n_classes=10,
            dropout_rate=0,
            depth_list=[0, 1, 2],
            expand_ratio_list=[0.2, 0.25, 0.35],
            width_mult_list=[0.65, 0.8, 1.0],
        )
    )
    return net.double()


def activate_resnet(theirs: Any, space: SearchSpace, genotype: np.ndarray) -> None:
    choice = dict(zip(space.columns, genotype.tolist(), strict=True))
    blocks = [i for name, i in choice.items() if name.endswith("expansion")]
    theirs.set_active_subnet(
        d=[2 * choice["stem_depth"], *(choice[f"stage{i}_depth"] for i in range(1, 5))],
        e=[[0.2, 0.25, 0.35][i] for i in blocks],
        w=[choice["stem_inner_width"], choice["stem_width"], *(choice[f"stage{i}_width"] for i in range(1, 5))],
    )


def test_resnets_have_the_same_outputs_and_costs(resnet: Any) -> None:
    efficiency = pytest.importorskip("ofa.nas.efficiency_predictor", reason="needs the ofa package")
    ours = from_once_for_all(resnet.state_dict()).eval().double()
    space = ours.space
    population = np.stack([space.min, space.max, *space.sample(4, np.random.default_rng(0))])
    costs, sides = space.costs(population), space.resolution(population)
    for genotype, macs, params, side in zip(population, costs.macs, costs.params, sides, strict=True):
        activate_resnet(resnet, space, genotype)
        config = resnet.get_active_net_config()
        counted = efficiency.ResNet50LatencyTable.count_flops_given_config(config, int(side))
        assert counted == pytest.approx(macs / 1e6, rel=1e-12)
        if genotype[space.columns["stem_inner_width"]] == 0:  # not of all: theirs take a second each to make
            assert sum(weight.numel() for weight in resnet.get_active_subnet().parameters()) == params
        ours.activate(genotype)
        for resolution in (32, 72):  # of 72 pixels, some stages have an odd number
            images = torch.randn(2, 3, resolution, resolution).double()
            with torch.no_grad():
                expected = resnet(images)
                assert float((expected[0] - expected[1]).abs().max()) > 1e-3
                torch.testing.assert_close(ours(images), expected, rtol=1e-9, atol=1e-9)


def test_wrong_weights_of_resnets_are_named(resnet: nn.Module) -> None:
    state = dict(resnet.state_dict())
    with pytest.raises(ValueError, match="weights of OFAResNets are missing: .*stage1_block1"):
        from_once_for_all({key: tensor for key, tensor in state.items() if "blocks.0." not in key})
    with pytest.raises(ValueError, match=r"not OFAResNets's: blocks\.18\.conv1\.conv\.conv\.weight"):
        from_once_for_all(state | {"blocks.18.conv1.conv.conv.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"another shape than OFAResNets's: slots\.stage1_block1\.conv\.conv\.weight"):
        from_once_for_all(state | {"blocks.0.conv2.conv.conv.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="no weights of OFAResNets"):
        from_once_for_all({key: tensor for key, tensor in state.items() if not key.startswith("classifier")})


def test_older_spelling_of_resnets_is_understood(resnet: nn.Module) -> None:
    old = {
        key.replace("bn.bn.", "bn.")
        .replace("conv.conv.weight", "conv.weight")
        .replace("linear.linear", "linear"): tensor
        for key, tensor in resnet.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    images = torch.randn(1, 3, 32, 32).double()
    with torch.no_grad():
        ours = from_once_for_all(old).eval().double()
        torch.testing.assert_close(ours(images), resnet_max(resnet)(images), rtol=1e-9, atol=1e-9)


def resnet_max(resnet: Any) -> nn.Module:
    resnet.set_max_net()
    module: nn.Module = resnet
    return module
