"""Batch-norm statistics of a network that was never trained alone.

US-Nets (https://arxiv.org/abs/1903.05134), section 3.4: a subnet needs its own statistics, the averages over
a few batches of training images.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def calibrate_batch_norm(net: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics of `net` by their averages over `batches`, all of equal weight.

    Of a supernet only the active subnet's statistics change. Modes and momenta are put back.

    Parameters
    ----------
    net : any network; its other weights stay as they are.
    batches : prepared **training** images, each ``(B, 3, H, W)``.

    Raises
    ------
    ValueError : no batch.
    """
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    modes = {module: module.training for module in net.modules()}
    momenta = [norm.momentum for norm in norms]
    count = 0
    try:
        net.eval()
        for norm in norms:
            norm.train()
            # The first batch's weight of one overwrites what was there, except what is not finite: 0 * inf.
            for statistic in (norm.running_mean, norm.running_var):
                if statistic is not None:
                    statistic.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
        for count, images in enumerate(batches, start=1):
            for norm in norms:
                norm.momentum = 1 / count
            net(images)
    finally:
        for module, mode in modes.items():
            module.training = mode
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    if not count:
        raise ValueError("batch-norm calibration was given no batch of images; give at least one")
