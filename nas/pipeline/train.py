"""Training a supernet from settings, into a folder."""

from pathlib import Path

import torch

from nas.data import load_data
from nas.pipeline.request import TrainRequest
from nas.supernet import Supernet
from nas.training.loop import train


def train_supernet(request: TrainRequest, folder: Path) -> Path:
    """Train a supernet into `folder`, or go on with the training that was begun there.

    Parameters
    ----------
    request : what is asked for. Its seed is that of weights, order, augmentation and sampled subnets; the splits have
        their own.

    Returns
    -------
    `folder`, with ``supernet.safetensors`` in it.

    Raises
    ------
    ValueError : the images cannot be read as asked; nothing is written then.
    """
    images = load_data(**request.data.as_dict())
    torch.manual_seed(request.seed)
    train(
        Supernet(request.space.make(len(images.classes)), request.recipe.kernel_transform),
        images,
        request.recipe,
        folder,
        seed=request.seed,
        threads=request.threads,
        device=request.accelerator,
        about={"data_settings": request.data.portable()},
    )
    return folder
