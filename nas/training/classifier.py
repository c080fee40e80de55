"""A new classifier on trained features: logistic regression, before anything else is trained.

Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution, https://arxiv.org/abs/2202.10054: the
gradients of a random classifier spoil the features that it reads.
"""

from warnings import catch_warnings, simplefilter

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from torch import Tensor, nn

from nas.data import ImageData, Split, prepare
from nas.data.streaming import Rows
from nas.evaluation.accuracy import evaluation_batch
from nas.progress import SILENT, Listener
from nas.supernet import Subnet, Supernet
from search_spaces import Population

MOST_IMAGES = 4096
"""Of which features are computed; each takes a forward pass."""
SIDE = 160
"""A supernet's features are those of its max net at the largest resolution up to this one, in pixels."""
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3)
"""Inverses of the strength of the penalty, among which cross-validation chooses: features are many, images few."""
FOLDS, JUDGED_BY = 3, 2048
"""Of the cross-validation, and how many images it reads."""


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
    rows = np.random.default_rng(0).permutation(len(data.train))[:MOST_IMAGES]
    fitted = regression(*features(network, data, data.train, rows, device=device, listener=listener))
    weight, bias = torch.from_numpy(fitted.coef_), torch.from_numpy(fitted.intercept_)
    if len(weight) == 1:  # of two classes, only one has scores of its own
        weight, bias = torch.cat([-weight / 2, weight / 2]), torch.cat([-bias / 2, bias / 2])
    layer.weight.zero_()
    layer.bias.fill_(float(bias.min()))  # a class of which no image was read
    layer.weight[fitted.classes_] = weight.to(layer.weight)
    layer.bias[fitted.classes_] = bias.to(layer.bias)
    if isinstance(network, Supernet):
        network.activate(network.space.max)
    network.train()


@torch.no_grad()
def features(
    network: Supernet | Subnet,
    data: ImageData,
    split: Split,
    rows: Rows | None = None,
    *,
    device: str = "cpu",
    listener: Listener = SILENT,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """What the classifier reads of images (of those at `rows`), shape (n, features), and their labels, (n,)."""
    if isinstance(network, Supernet):
        network.activate(_moderate(network))
    read: list[Tensor] = []
    hook = network.classifier().register_forward_pre_hook(
        lambda _, inputs: read.append(inputs[0].flatten(1).float().cpu())
    )
    network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    size = evaluation_batch(network, split)
    try:
        with listener.track("features for the new classifier") as progress:
            labels: list[Tensor] = []
            for images, some in split.batches(size, rows):
                labels.append(some)
                network(prepare(images.to(device), network.resolution, data.mean, data.std))
                progress(len(read), -(-(len(split) if rows is None else len(rows)) // size))
    finally:
        hook.remove()
    return torch.cat(read).numpy(), torch.cat(labels).numpy()


def regression(read: NDArray[np.float32], labels: NDArray[np.int64], c: float | None = None) -> LogisticRegression:
    """Logistic regression of `labels` on features; `c` is the inverse of the strength of the penalty, None for
    `best_strength`."""
    return LogisticRegression(C=best_strength(read, labels) if c is None else c, max_iter=300).fit(read, labels)


def best_strength(read: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The one of `STRENGTHS` whose likelihood of images left out is highest; the middle one where classes are too
    small to leave some out."""
    read, labels = read[:JUDGED_BY], labels[:JUDGED_BY]
    if np.unique(labels, return_counts=True)[1].min() < FOLDS:
        return STRENGTHS[len(STRENGTHS) // 2]
    with catch_warnings():
        simplefilter("ignore", FutureWarning)  # the form of attributes differs between versions
        found = LogisticRegressionCV(Cs=STRENGTHS, cv=FOLDS, max_iter=500, tol=1e-3, scoring="neg_log_loss").fit(
            read, labels
        )
    return float(np.ravel(found.C_)[0])


def _moderate(supernet: Supernet) -> Population:
    """The max net at a resolution that is not dear."""
    space = supernet.space
    row, column = space.max.copy(), space.resolution_column
    if column is not None:
        row[column] = max((i for i, side in enumerate(space.genes[column].values) if side <= SIDE), default=0)
    return row
