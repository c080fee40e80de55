"""In which precision forward passes run: bfloat16 on GPUs that have it, and on CPUs where it is measured to be faster.

On CPUs that multiply bfloat16 natively it wins on large networks and loses on small ones.
"""

import copy
from time import process_time

import numpy as np
import torch

from nas.supernet import Subnet, Supernet

WORTH_TRYING = 20_000_000
"""MACs of a max net below which bfloat16 was slower on every CPU tried, so that nothing is measured."""

GAIN = 1.2
"""How many times faster it must be: less might be noise, and the same run should always choose the same."""

ROUNDS, IMAGES = 3, 16


def bfloat16_pays(network: Supernet | Subnet, device: str) -> bool:
    """Whether training `network` on `device` is clearly faster under autocast to bfloat16; leaves it as it was."""
    if device.startswith("cuda"):
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))  # emulated, it is slower than float32
    largest = network.space.max if isinstance(network, Supernet) else network.genotype
    if network.space.costs(largest).macs[0] < WORTH_TRYING:
        return False
    copied = network.extract(largest) if isinstance(network, Supernet) else copy.deepcopy(network)
    net = copied.to(memory_format=torch.channels_last).train()
    noise = torch.Generator().manual_seed(0)  # the run's own random numbers are not to be touched
    images = torch.randn(IMAGES, 3, net.resolution, net.resolution, generator=noise)
    images = images.to(memory_format=torch.channels_last)
    seconds = np.array([[_seconds(net, images, bfloat16) for bfloat16 in (False, True)] for _ in range(ROUNDS + 1)])
    full, half = np.median(seconds[1:], axis=0)
    return bool(full > GAIN * half)


def _seconds(net: torch.nn.Module, images: torch.Tensor, bfloat16: bool) -> float:
    """CPU time of a forward and a backward pass."""
    began = process_time()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        logits = net(images)
    logits.float().square().mean().backward()
    return process_time() - began
