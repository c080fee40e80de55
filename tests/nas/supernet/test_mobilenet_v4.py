"""The paper's MobileNetV4 networks in our space against timm's: costs, and outputs with the same weights."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.supernet import Subnet
from search_spaces import get_space

timm = pytest.importorskip("timm", reason="needs the extra timm")
from timm.layers import LayerScale2d  # noqa: E402
from timm.layers.attention2d import MultiQueryAttention2d  # noqa: E402


def counted_macs(net: nn.Module, images: Tensor) -> int:
    """Multiply-accumulates of one image, counted by PyTorch."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(images[:1])
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("of", "name", "macs", "params"),
    [
        ("mobilenet_v4", "conv_small", 0.19e9, 3.77e6),
        ("mobilenet_v4", "conv_medium", 0.84e9, 9.72e6),
        ("hybrid", "hybrid_medium", 0.98e9, 11.07e6),
    ],
)
@torch.no_grad()
def test_same_network_as_timm(of: str, name: str, macs: float, params: float) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model(f"mobilenetv4_{name}").train()
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
    weights = theirs.state_dict()
    assert [tensor.shape for tensor in weights.values()] == [tensor.shape for tensor in ours.state_dict().values()]
    ours.load_state_dict(dict(zip(ours.state_dict(), weights.values(), strict=True)))
    images = torch.randn(2, 3, 224, 224)
    expected = theirs.eval()(images)
    assert float((expected[0] - expected[1]).abs().max()) > 1e-2
    torch.testing.assert_close(ours.eval()(images), expected, rtol=0, atol=1e-4)
    costs = space.costs(ours.genotype)
    assert costs.macs[0] == counted_macs(theirs, images)
    assert costs.params[0] == sum(weight.numel() for weight in theirs.parameters())
    # As timm's tables have them.
    np.testing.assert_allclose((costs.macs[0], costs.params[0]), (macs, params), rtol=0.03)
