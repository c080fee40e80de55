"""The optimisers of all trainings, which spare biases and batch-norms the weight decay.

He et al., Bag of tricks for image classification with CNNs, https://arxiv.org/abs/1812.01187, section 3.1.
Decoupled weight decay regularization (AdamW), https://arxiv.org/abs/1711.05101.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from nas.training.recipe import TrainingSettings

SQUARES = 0.99
"""Share of the mean square of gradients that AdamW keeps in a step; trainings of a few hundred steps are not rare."""
STATE = {"momentum_buffer": "momentum", "exp_avg": "mean_gradient", "exp_avg_sq": "mean_square", "step": "step"}
"""What an optimiser keeps of a parameter, by torch's names: names in a checkpoint."""


def make_optimizer(
    parameters: Iterable[nn.Parameter], settings: TrainingSettings, classifier: Collection[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """The optimiser of `settings`: `weight_decay` on weight matrices and kernels, and none on vectors and scalars.

    Parameters
    ----------
    classifier : parameters that are not trained yet where the others are; those learn at `trained_share` of the rate.

    Returns
    -------
    Each group has its share of the learning rate under ``share``, and under ``decays`` whether its weights decay.
    """
    new = set(map(id, classifier))
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault((parameter.ndim > 1, id(parameter) in new), []).append(parameter)
    made = [
        {
            "params": members,
            "weight_decay": settings.weight_decay if decays else 0.0,
            "decays": decays,
            "share": 1.0 if is_new else settings.trained_share,
        }
        for (decays, is_new), members in groups.items()
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(made, lr=settings.learning_rate, betas=(settings.momentum, SQUARES))
    return torch.optim.SGD(made, lr=settings.learning_rate, momentum=settings.momentum, nesterov=settings.nesterov)


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> Iterator[tuple[str, Tensor]]:
    """What `optimizer` keeps of each parameter, for a checkpoint: ``<what>.<parameter>``."""
    for name, parameter in parameters.items():
        for key, tensor in optimizer.state[parameter].items():
            if isinstance(tensor, Tensor):
                yield f"{STATE[key]}.{name}", tensor


def load_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Let `optimizer` go on from what `optimizer_tensors` gave; other tensors are passed over."""
    for key, called in STATE.items():
        for name, parameter in parameters.items():
            if (found := tensors.get(f"{called}.{name}")) is not None:
                kept = found if key == "step" else torch.empty_like(parameter).copy_(found)
                optimizer.state[parameter][key] = kept
