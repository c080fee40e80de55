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
from nas.elastic import ChannelScale
from nas.evaluation.accuracy import evaluation_batch
from nas.progress import SILENT, Listener
from nas.supernet import Subnet, Supernet
from nas.training.distributed import accelerator
from search_spaces import LayerSpec, Population

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
) -> bool:
    """Fit the classifier to the features of training images, where the scores are linear in them; all else stays.

    Parameters
    ----------
    network : with trained weights and the statistics that belong to them; a supernet's max net is active afterwards.
    data : up to `MOST_IMAGES` of its train split are read.
    device : that features are computed on, as in `nas.training.train`; the network is on the CPU afterwards.
    listener : is told how it goes.

    Returns
    -------
    Whether it was fitted.
    """
    layer = network.classifier()
    scale = _scale(network)
    if scale is None:
        return False
    factor, shift = scale
    rows = _rows(data.train.labels.numpy())
    read, labels = features(network, data, data.train, rows, device=accelerator(device), listener=listener)
    network.to("cpu")
    fitted = regression(read, labels, bias=layer.bias is not None)
    weight, bias = torch.from_numpy(fitted.coef_), torch.from_numpy(fitted.intercept_)
    if len(weight) == 1:  # of two classes, only one has scores of its own
        weight, bias = torch.cat([-weight / 2, weight / 2]), torch.cat([-bias / 2, bias / 2])
    every = torch.full((len(factor),), float(bias.min()))  # also of a class of which no image was read
    every[fitted.classes_] = bias.float()
    layer.weight.zero_()
    layer.weight[fitted.classes_] = (
        (weight / factor[fitted.classes_][:, None]).to(layer.weight).view(-1, *layer.weight.shape[1:])
    )
    if layer.bias is not None:
        layer.bias.copy_((every - shift) / factor)
    if isinstance(network, Supernet):
        network.activate(network.space.max)
    network.train()
    return True


def _rows(labels: NDArray[np.int64]) -> Rows:
    """Images to read, in random order but for `FOLDS` of every class, which come first: so none is missed, and their
    shares stay as they are, which the classifier's biases follow."""
    rows = np.random.default_rng(0).permutation(len(labels))
    number = np.empty(len(rows), dtype=np.int64)  # of each image within its class
    for label in np.unique(labels):
        of_class = labels[rows] == label
        number[of_class] = np.arange(of_class.sum())
    return rows[np.argsort(np.minimum(number, FOLDS), kind="stable")][:MOST_IMAGES]


def _scale(network: Supernet | Subnet) -> tuple[Tensor, Tensor] | None:
    """What is multiplied by, and then added to, the outputs of the classifier to give the scores, each (classes,).

    None where the scores are not linear in what it reads, or in the mean of its pixels.
    """
    layers = [(spec, slot[spec.name]) for _, slot in network.named_slots() for spec in slot.layers]
    of_classifier = [network.classifier() in module.children() for _, module in layers]
    (last, _), *behind = layers[of_classifier.index(True) :]
    whole_map, each_pixel = last.window == (last.size, last.size), last.window == (1, 1) and last.stride == 1
    dense = last.kind == "linear" or (last.groups == 1 and not any(last.pads) and (whole_map or each_pixel))
    if not dense or last.norm or any(spec.activation != "none" for spec in (last, *(spec for spec, _ in behind))):
        return None
    factor, shift = torch.ones(last.out_channels), torch.zeros(last.out_channels)
    for spec, module in behind:
        if spec.kind == "scale":
            (scale,) = module.children()
            assert isinstance(scale, ChannelScale)
            weight = scale.weight.cpu()
            factor, shift = factor * weight, shift * weight + (0 if scale.bias is None else scale.bias.cpu())
        elif not _is_mean(spec):
            return None
    return (factor, shift) if bool((factor != 0).all()) else None


def _is_mean(spec: LayerSpec) -> bool:
    """Whether a layer without weights gives the mean of all pixels."""
    return spec.kind in ("global_pool", "flatten") or (
        spec.kind == "avg_pool" and spec.kernel == spec.size and not any(spec.pads)
    )


def _as_rows(layer: nn.Module, inputs: Tensor) -> Tensor:
    """What the layer's weights are multiplied by, shape (n, features)."""
    if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
        inputs = inputs.mean((2, 3))
    return inputs.flatten(1).float().cpu()


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
    hook = network.classifier().register_forward_pre_hook(lambda layer, inputs: read.append(_as_rows(layer, inputs[0])))
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


def regression(
    read: NDArray[np.float32], labels: NDArray[np.int64], c: float | None = None, *, bias: bool = True
) -> LogisticRegression:
    """Logistic regression of `labels` on features; `c` is the inverse of the strength of the penalty, None for
    `best_strength`."""
    strength = best_strength(read, labels, bias) if c is None else c
    return LogisticRegression(C=strength, max_iter=300, fit_intercept=bias).fit(read, labels)


def best_strength(read: NDArray[np.float32], labels: NDArray[np.int64], bias: bool = True) -> float:
    """The one of `STRENGTHS` whose likelihood of images left out is highest; the middle one where classes are too
    small to leave some out, or there is only one."""
    read, labels = read[:JUDGED_BY], labels[:JUDGED_BY]
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2 or counts.min() < FOLDS:
        return STRENGTHS[len(STRENGTHS) // 2]
    with catch_warnings():
        simplefilter("ignore", FutureWarning)  # the form of attributes differs between versions
        found = LogisticRegressionCV(
            Cs=STRENGTHS, cv=FOLDS, max_iter=500, tol=1e-3, scoring="neg_log_loss", fit_intercept=bias
        ).fit(read, labels)
    return float(np.ravel(found.C_)[0])


def _moderate(supernet: Supernet) -> Population:
    """The max net at a resolution that is not dear."""
    space = supernet.space
    row, column = space.max.copy(), space.resolution_column
    if column is not None:
        row[column] = max((i for i, side in enumerate(space.genes[column].values) if side <= SIDE), default=0)
    return row
