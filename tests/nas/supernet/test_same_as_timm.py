"""Named networks in our spaces against timm's: costs, and outputs with the same weights."""

import numpy as np
import pytest
import torch
from torch import nn

from nas.supernet import Subnet
from search_spaces import get_space
from tests.nas.counted import counted_macs

timm = pytest.importorskip("timm", reason="needs the extra timm")
from timm.layers import LayerScale2d  # noqa: E402
from timm.layers.attention2d import MultiQueryAttention2d  # noqa: E402


@pytest.mark.parametrize(
    ("of", "name", "named", "macs", "params"),
    [
        # As timm's tables have them.
        ("mobilenet_v4", "conv_small", "mobilenetv4_conv_small", 0.19e9, 3.77e6),
        ("mobilenet_v4", "conv_medium", "mobilenetv4_conv_medium", 0.84e9, 9.72e6),
        ("hybrid", "hybrid_medium", "mobilenetv4_hybrid_medium", 0.98e9, 11.07e6),
        # As the papers have them, reparameterised.
        ("reparameterised", "mobileone_s0", "mobileone_s0", 0.275e9, 2.1e6),
        ("reparameterised", "mobileone_s1", "mobileone_s1", 0.825e9, 4.8e6),
        ("reparameterised", "repvgg_a0", "repvgg_a0", 1.4e9, 8.3e6),
        ("reparameterised", "repvgg_a1", "repvgg_a1", 2.4e9, 12.8e6),
    ],
)
@torch.no_grad()
def test_same_network_as_timm(of: str, name: str, named: str, macs: float, params: float) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model(named).train()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # statistics that fit keep the logits small
        if isinstance(module, LayerScale2d):
            nn.init.uniform_(module.gamma, 0.1, 0.3)  # as it is drawn, 1e-5, it would hide what is before it
        if isinstance(module, MultiQueryAttention2d):
            module.fused_attn = False  # PyTorch counts none of the fused operator on a CPU
    theirs(torch.randn(4, 3, 96, 96))
    space = get_space(of)
    ours = Subnet(space, space.parse(name))
    theirs.eval()
    if of == "reparameterised":
        ours, theirs = ours.fused(), timm.utils.reparameterize_model(theirs)
    weights = theirs.state_dict()
    assert [tensor.shape for tensor in weights.values()] == [tensor.shape for tensor in ours.state_dict().values()]
    ours.load_state_dict(dict(zip(ours.state_dict(), weights.values(), strict=True)))
    images = torch.randn(2, 3, 224, 224)
    expected = theirs(images)
    assert float((expected[0] - expected[1]).abs().max()) > 1e-2
    torch.testing.assert_close(ours.eval()(images), expected, rtol=1e-4 if of == "reparameterised" else 0, atol=1e-4)
    costs = space.costs(ours.genotype)
    assert costs.macs[0] == counted_macs(theirs, images)
    assert costs.params[0] == sum(weight.numel() for weight in theirs.parameters())
    np.testing.assert_allclose((costs.macs[0], costs.params[0]), (macs, params), rtol=0.03)
