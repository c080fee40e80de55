"""A run of a few seconds; as a script, the same run at a crawl, to be killed: `python tiny_run.py FOLDER`."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.data import ImageData, Split
from nas.supernet import Supernet
from nas.training import Recipe, Trainer, TrainingResult, train
from search_spaces import get_space

SIDE = 16


def tiny_data(n: int = 160) -> ImageData:
    """Three classes of noise, each with a bright band in another place."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    pixels = rng.integers(0, 120, size=(n, 3, SIDE, SIDE))
    for row, label in enumerate(labels):
        pixels[row, :, 5 * label : 5 * label + 4] += 120
    images, truth = torch.from_numpy(pixels.astype(np.uint8)), torch.from_numpy(labels)
    names = tuple(map(str, range(n)))
    cuts = [slice(0, n // 2), slice(n // 2, 3 * n // 4), slice(3 * n // 4, n)]
    parts = [Split(images[cut], truth[cut], names[cut]) for cut in cuts]
    return ImageData("tiny", ("a", "b", "c"), (0.3,) * 3, (0.2,) * 3, *parts)


def tiny_supernet(seed: int = 0, resolutions: tuple[int, ...] = (SIDE,)) -> Supernet:
    torch.manual_seed(seed)
    options: dict[str, Any] = {"depths": (1, 2), "kernels": (3, 5), "expansions": (2, 3), "width_mult": 0.5}
    return Supernet(get_space("mobilenet_v3_small_images", **options, resolutions=resolutions, num_classes=3))


def tiny_recipe(**changes: Any) -> Recipe:
    """Four epochs of five steps: the max net, then the sandwich."""
    phases = [
        {"name": "max", "share": 0.5},
        {"name": "all", "share": 0.5, "sampler": "sandwich", "n_random": 1, "target": "max_net", "ramp": 0.3,
         "sort_channels": True},
    ]  # fmt: skip
    settings = {"name": "tiny", "paper": "none", "epochs": 4, "batch_size": 16, "learning_rate": 0.05,
                "weight_decay": 1e-4, "crop_padding": 1, "phases": phases}  # fmt: skip
    return Recipe.from_dict(settings | changes)


def tiny_run(folder: Path, **options: Any) -> TrainingResult:
    settings: dict[str, Any] = {"threads": 1, "device": "cpu", "log_every": 2, "checkpoint_every": 3, "evaluations": 2}
    return train(tiny_supernet(), tiny_data(), options.pop("recipe", tiny_recipe()), folder, **settings | options)


if __name__ == "__main__":
    quick = Trainer.train_step

    def slow(self: Trainer, step: int) -> dict[str, float]:
        time.sleep(0.1)
        return quick(self, step)

    Trainer.train_step = slow  # type: ignore[method-assign]
    tiny_run(Path(sys.argv[1]))
