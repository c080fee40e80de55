"""Once-for-all's own supernet and ours compute the same with the same weights."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nas.supernet import calibrate_batch_norm, from_once_for_all

networks = pytest.importorskip(
    "ofa.imagenet_classification.elastic_nn.networks",
    reason="needs the ofa package: pip install --no-deps ofa",
)


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
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name.endswith("_matrix"):
                tensor += 0.05 * torch.randn_like(tensor)
            elif name.endswith("bn.weight"):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith("bias"):
                tensor.normal_(0, 0.2)
            elif name == "classifier.linear.weight":
                tensor.normal_()
    module: nn.Module = net
    # Statistics that fit keep the logits dependent on the images.
    calibrate_batch_norm(module, [torch.randn(8, 3, 64, 64)])
    return module.eval()


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
