"""How well a network's outputs fit images: a finer measure than accuracy, which only counts right and wrong.

On a few hundred images the accuracies of two networks that are alike differ mostly by chance. The loss reads of each
image how sure the network is of the right class, so it tells the better one sooner (experiments/photographs, "Which
finalist"). Outputs are divided by one number first, the temperature at which the loss is least, so that a network that
is too sure, or not sure enough, does not lose by that alone: Guo et al. (2017), https://arxiv.org/abs/1706.04599.
"""

import numpy as np
from numpy.typing import ArrayLike

_SHARPEST, _FLATTEST = 0.05, 20.0
"""Between these temperatures the best one is looked for."""


def calibrated_loss(logits: ArrayLike, labels: ArrayLike, objective: str = "accuracy") -> float:
    """Mean negative logarithm of the probability of the right class, in nats, at the best temperature.

    Parameters
    ----------
    logits : outputs before softmax, shape (n, classes).
    labels : right classes, shape (n,).
    objective : ``accuracy`` counts each image alike, ``balanced_accuracy`` each class that has images.

    Returns
    -------
    At least 0, less is better; not a number where an output is not finite.
    """
    from scipy.optimize import minimize_scalar  # takes longer to import than most commands need
    from scipy.special import logsumexp

    outputs, right = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if not np.isfinite(outputs).all():
        return float("nan")
    below = outputs - outputs[np.arange(len(right)), right][:, None]  # of the right class 0
    weights = np.ones(len(right))
    if objective != "accuracy":
        weights = 1 / np.bincount(right)[right]
    weights /= weights.sum()

    def loss(log_temperature: float) -> float:
        return float(weights @ logsumexp(below / np.exp(log_temperature), axis=1))

    best = minimize_scalar(loss, bounds=(np.log(_SHARPEST), np.log(_FLATTEST)), options={"xatol": 1e-3})
    return max(0.0, float(best.fun))
