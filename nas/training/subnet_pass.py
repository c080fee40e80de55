"""One subnet on one batch: its loss, the gradients of all weights that it uses, and two figures for the log."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nas.supernet import Subnet, Supernet
from nas.training.dropout import scaled_features
from nas.training.losses import accuracy, cross_entropy, distillation
from nas.training.recipe import Phase, Recipe


@dataclass(frozen=True)
class Inputs:
    """What a subnet is trained on in one step.

    Attributes
    ----------
    images : prepared, (B, 3, side, side).
    labels : classes (B,), or shares of each class (B, classes).
    target : logits (B, classes) of the network that it learns from; None where it learns from labels.
    external : logits (B, classes) of an external network that it learns from beside labels; None for labels alone.
    factors : of the classifier's features (B, features), see `nas.training.dropout`; None without dropout.
    weight : of its loss in the step's sum.
    """

    images: Tensor
    labels: Tensor
    target: Tensor | None
    external: Tensor | None
    factors: Tensor | None
    weight: float | Tensor


class SubnetPass:
    """Runs the active subnet of a supernet, or a network alone, forward and computes its loss.

    Parameters
    ----------
    network : in training mode when it is called.
    recipe : label smoothing.
    bfloat16 : run forward passes under autocast to it.
    """

    def __init__(self, network: Supernet | Subnet, recipe: Recipe, device: torch.device, bfloat16: bool) -> None:
        self.network, self.recipe, self.device, self.bfloat16 = network, recipe, device, bfloat16

    def autocast(self) -> torch.autocast:
        """For a forward pass. Cast weights are not kept: a CUDA graph would go on reading them when they change."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16, cache_enabled=False)

    def loss(self, phase: Phase, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Logits (B, classes) and the loss before its weight, both on the autograd graph."""
        with self.autocast(), scaled_features(self.network, inputs.factors):
            logits = self.network(inputs.images)
        if inputs.target is not None:
            target, weight, label_weight = inputs.target, phase.distillation_weight, phase.label_weight
        elif inputs.external is not None:
            target, weight, label_weight = inputs.external, phase.external_share, 1 - phase.external_share
        else:
            return logits, cross_entropy(logits, inputs.labels, self.recipe.label_smoothing)
        loss = weight * distillation(phase, logits, target)
        if label_weight:
            loss = loss + label_weight * cross_entropy(logits, inputs.labels, self.recipe.label_smoothing)
        return logits, loss

    def backward(self, phase: Phase, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Add the gradients to the parameters' `grad`; the logits, and (loss, share of correct answers)."""
        logits, loss = self.loss(phase, inputs)
        (loss * inputs.weight).backward()  # type: ignore[no-untyped-call]
        return logits.detach(), figures(logits, loss, inputs)


def figures(logits: Tensor, loss: Tensor, inputs: Inputs) -> Tensor:
    """What a step reports of a subnet: a tensor of two, its loss and its share of correct answers."""
    return torch.stack([loss.detach(), accuracy(logits, inputs.labels)])
