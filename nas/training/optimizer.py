"""The optimiser of all trainings: stochastic gradient descent that spares biases and batch-norms the weight decay.

He et al., Bag of tricks for image classification with CNNs, https://arxiv.org/abs/1812.01187, section 3.1.
"""

from collections.abc import Iterable

import torch
from torch import nn


def gradient_descent(
    parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float, *, momentum: float, nesterov: bool
) -> torch.optim.SGD:
    """Descend with `weight_decay` on weight matrices and kernels, and none on vectors and scalars."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for parameter in parameters:
        groups[parameter.ndim > 1].append(parameter)
    return torch.optim.SGD(
        [{"params": groups[True], "weight_decay": weight_decay}, {"params": groups[False], "weight_decay": 0.0}],
        lr=learning_rate,
        momentum=momentum,
        nesterov=nesterov,
    )
