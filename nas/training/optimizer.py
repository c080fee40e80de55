"""The optimiser of all trainings: stochastic gradient descent that spares biases and batch-norms the weight decay.

He et al., Bag of tricks for image classification with CNNs, https://arxiv.org/abs/1812.01187, section 3.1.
"""

from collections.abc import Collection, Iterable

import torch
from torch import nn


def gradient_descent(
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    weight_decay: float,
    *,
    momentum: float,
    nesterov: bool,
    classifier: Collection[nn.Parameter] = (),
    trained_share: float = 1.0,
) -> torch.optim.SGD:
    """Descend with `weight_decay` on weight matrices and kernels, and none on vectors and scalars.

    Parameters
    ----------
    classifier : parameters that are not trained yet where the others are.
    trained_share : of the learning rate, for all parameters but the classifier's. Each group has its share under
        ``share``, and under ``decays`` whether its weights decay.
    """
    new = set(map(id, classifier))
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault((parameter.ndim > 1, id(parameter) in new), []).append(parameter)
    return torch.optim.SGD(
        [
            {
                "params": members,
                "weight_decay": weight_decay if decays else 0.0,
                "decays": decays,
                "share": 1.0 if is_new else trained_share,
            }
            for (decays, is_new), members in groups.items()
        ],
        lr=learning_rate,
        momentum=momentum,
        nesterov=nesterov,
    )
