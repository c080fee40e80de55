"""What PyTorch counts of a network, for tests that compare costs on paper with it."""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def counted_macs(net: nn.Module, images: Tensor) -> int:
    """Multiply-accumulates of the first image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(images[:1])
    return counter.get_total_flops() // 2
