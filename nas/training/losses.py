"""What a subnet's outputs are compared with. All losses are in nats, at temperature 1.

Distilling the knowledge in a neural network, https://arxiv.org/abs/1503.02531. AlphaNet: Improved training of
supernets with alpha-divergence, https://arxiv.org/abs/2102.07954.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.training.recipe import Phase


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Mean cross-entropy of `logits` (n, classes) with `labels`: classes (n,) or shares of each class (n, classes)."""
    return F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)


def kl_divergence(logits: Tensor, target_logits: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence from the target's distribution; no gradient to the target."""
    target = F.log_softmax(target_logits.detach().float(), dim=1)
    return F.kl_div(F.log_softmax(logits.float(), dim=1), target, reduction="batchmean", log_target=True)


def adaptive_alpha_divergence(
    logits: Tensor, target_logits: Tensor, alpha_min: float = -1.0, alpha_max: float = 1.0, clip: float = 5.0
) -> Tensor:
    """Mean over images of the larger of two alpha-divergences from the target; no gradient to the target.

    A negative order counts more where the network is sure and the target is not, a positive one the opposite.
    Ratios of probabilities are powers of differences of logarithms and are clipped, so finite logits give a
    finite loss and a finite gradient; logits that are not finite still show in the loss.

    Parameters
    ----------
    logits, target_logits : (n, classes).
    alpha_min, alpha_max : the two orders; 1 is the Kullback-Leibler divergence from the target, 0 the reverse one.
    clip : most that a ratio of probabilities to the power of the order counts for; orders 0 and 1 need none.
    """
    log_q = F.log_softmax(logits.float(), dim=1)
    log_p = F.log_softmax(target_logits.detach().float(), dim=1)
    low, low_slope = _alpha_divergence(log_p, log_q.detach(), alpha_min, clip)
    high, high_slope = _alpha_divergence(log_p, log_q.detach(), alpha_max, clip)
    value = torch.maximum(low, high)  # (n,)
    slope = torch.where((low > high)[:, None], low_slope, high_slope)  # (n, classes)
    # Has the clipped gradient, and then the value of the divergence.
    surrogate = (slope * log_q).sum(1)
    return (surrogate + (value - surrogate).detach()).mean()


def _alpha_divergence(log_p: Tensor, log_q: Tensor, alpha: float, clip: float) -> tuple[Tensor, Tensor]:
    """The divergence of each image, (n,), and its derivative by each class's ``log q``, (n, classes)."""
    q, log_ratio = log_q.exp(), log_p - log_q
    if alpha == 1:
        return (log_p.exp() * log_ratio).sum(1), -log_p.exp()
    if alpha == 0:
        return -(q * log_ratio).sum(1), -q * log_ratio
    power_minus_1 = torch.expm1(alpha * log_ratio).clamp(max=clip - 1)
    return (q * power_minus_1).sum(1) / (alpha * (alpha - 1)), -q * (power_minus_1 + 1) / alpha


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of images whose largest logit is their label, or the largest share of their labels."""
    classes = labels if labels.ndim == 1 else labels.argmax(1)
    return (logits.argmax(1) == classes).float().mean()


def distillation(phase: Phase, logits: Tensor, target_logits: Tensor) -> Tensor:
    """The loss by which `phase` learns from another network's outputs."""
    if phase.distillation == "alpha":
        return adaptive_alpha_divergence(logits, target_logits, phase.alpha_min, phase.alpha_max, phase.alpha_clip)
    return kl_divergence(logits, target_logits)
