"""A new classifier on trained features: logistic regression, before anything else is trained.

Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution, https://arxiv.org/abs/2202.10054: the
gradients of a random classifier spoil the features that it reads.
"""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from nas.data import ImageData, prepare
from nas.progress import SILENT, Listener
from nas.supernet import Subnet, Supernet

MOST_IMAGES = 4096
"""Of which features are computed; each takes a forward pass."""
SIDE = 160
"""A supernet's features are those of its max net at the largest resolution up to this one, in pixels."""
C = 0.01
"""Inverse of the strength of the penalty: features are many, images few."""
BATCH = 64


@torch.no_grad()
def fit_classifier(
    network: Supernet | Subnet, data: ImageData, *, device: str = "cpu", listener: Listener = SILENT
) -> None:
    """Fit the last layer, where it is linear, to the features of training images; all other weights stay.

    Parameters
    ----------
    network : with trained weights and the statistics that belong to them; a supernet's max net is active afterwards.
    data : up to `MOST_IMAGES` of its train split are read.
    device : that features are computed on.
    listener : is told how it goes.
    """
    layer = network.classifier()
    if not isinstance(layer, nn.Linear):
        return
    if isinstance(network, Supernet):
        network.activate(_moderate(network))
    read: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].flatten(1).float().cpu()))
    network.to(device).eval()
    rows = np.random.default_rng(0).permutation(len(data.train))[:MOST_IMAGES]
    labels = []
    try:
        with listener.track("features for the new classifier") as progress:
            for images, some in data.train.batches(BATCH, rows):
                network(prepare(images.to(device), network.resolution, data.mean, data.std))
                labels.append(some)
                progress(len(read) * BATCH, len(rows))
    finally:
        hook.remove()
    fitted = LogisticRegression(C=C, max_iter=300).fit(torch.cat(read).numpy(), torch.cat(labels).numpy())
    weight, bias = torch.from_numpy(fitted.coef_), torch.from_numpy(fitted.intercept_)
    if len(weight) == 1:  # of two classes, only one has scores of its own
        weight, bias = torch.cat([-weight / 2, weight / 2]), torch.cat([-bias / 2, bias / 2])
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
    if isinstance(network, Supernet):
        network.activate(network.space.max)
    network.train()


def _moderate(supernet: Supernet) -> np.ndarray:
    """The max net at a resolution that is not dear."""
    space = supernet.space
    row = space.max.copy()
    for column, gene in enumerate(space.genes):
        if gene.kind == "resolution":
            row[column] = max((i for i, side in enumerate(gene.values) if side <= SIDE), default=0)
    return row
