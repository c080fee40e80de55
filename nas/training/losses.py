"""What a subnet's outputs are compared with.

Distilling the knowledge in a neural network, https://arxiv.org/abs/1503.02531 (temperature 1).
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Mean cross-entropy of `logits` (n, classes) with `labels` (n,), in nats."""
    return F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)


def kl_divergence(logits: Tensor, target_logits: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence from the target's distribution, in nats; no gradient to the target."""
    target = F.log_softmax(target_logits.detach().float(), dim=1)
    return F.kl_div(F.log_softmax(logits.float(), dim=1), target, reduction="batchmean", log_target=True)


DISTILLATION: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"kl": kl_divergence}
