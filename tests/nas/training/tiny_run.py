"""A run of a few seconds.

As a script, the same run at a crawl, to be killed: `python tiny_run.py FOLDER`. Or a run by each of the named
shipped recipes, each in a process of its own that kills itself half-way: `python tiny_run.py FOLDER RECIPE...`.
"""

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from nas.data import ImageData, Split
from nas.data.streaming import PictureFiles, StreamedImages
from nas.supernet import Supernet
from nas.training import Recipe, Trainer, TrainingResult, load_recipe, make_supernet, train
from nas.training.augmentation import Flip, PadCrop
from search_spaces import get_space

SIDE = 16
RECIPES = sorted((Path(__file__).parents[3] / "conf" / "recipe").glob("*.yaml"))


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


def in_files(split: Split, folder: Path, workers: int) -> Split:
    """The same images, read from PNG files in `folder`."""
    paths = [str(folder / f"{name}.png") for name in split.names]
    for path, image in zip(paths, split.images, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return replace(split, images=StreamedImages(PictureFiles(paths, SIDE), split.labels.numpy(), workers))


def tiny_supernet(seed: int = 0, resolutions: tuple[int, ...] = (SIDE,), kernel_transform: bool = False) -> Supernet:
    torch.manual_seed(seed)
    options: dict[str, Any] = {"depths": (1, 2), "kernels": (3, 5), "expansions": (2, 3), "width_mult": 0.5}
    space = get_space("mobilenet_v3_small_images", **options, resolutions=resolutions, num_classes=3)
    return Supernet(space, kernel_transform)


def tiny_recipe(**changes: Any) -> Recipe:
    """Four epochs of five steps: the max net, then the sandwich."""
    phases = [
        {"name": "max", "share": 0.5},
        {"name": "all", "share": 0.5, "sampler": "sandwich", "n_random": 1, "target": "max_net", "ramp": 0.3,
         "sort_channels": True},
    ]  # fmt: skip
    settings = {"name": "tiny", "paper": "none", "epochs": 4, "batch_size": 16, "learning_rate": 0.05, "warmup": 0.0,
                "clip_norm": None, "label_smoothing": 0.0, "zero_init_residuals": False,
                "augmentation": [{"name": "pad_crop", "padding": 1}, "flip"], "phases": phases}  # fmt: skip
    return Recipe.from_dict(settings | changes)


def shipped_recipe(name: str) -> Recipe:
    """A recipe of `conf/recipe`, shortened to four epochs of five steps."""
    return replace(load_recipe(name), epochs=4, batch_size=16, augmentation=(PadCrop(padding=1), Flip()))


def tiny_run(folder: Path, **options: Any) -> TrainingResult:
    recipe = options.pop("recipe", tiny_recipe())
    supernet = make_supernet(options.pop("space", None) or tiny_supernet().space, recipe)
    settings: dict[str, Any] = {"threads": 1, "device": "cpu", "log_every": 2, "checkpoint_s": 0.0, "evaluations": 2}
    return train(supernet, tiny_data(), recipe, folder, **settings | options)


def run_slowly(folder: Path) -> None:
    quick = Trainer.train_step

    def slow(self: Trainer, step: int) -> dict[str, float]:
        time.sleep(0.1)
        return quick(self, step)

    Trainer.train_step = slow  # type: ignore[method-assign]
    tiny_run(folder, checkpoint_s=0.25)


def run_until_killed(folder: Path, recipe: str) -> None:
    """Train in a child process that kills itself in its 14th step, after gradients and before the update."""
    if os.fork() == 0:
        quick = Trainer.accumulate

        def deadly(self: Trainer, step: int) -> Any:
            done = quick(self, step)
            if step == 13:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        Trainer.accumulate = deadly  # type: ignore[method-assign]
        tiny_run(folder / recipe, recipe=shipped_recipe(recipe))
        os._exit(0)
    _, status = os.wait()
    assert os.WTERMSIG(status) == signal.SIGKILL, f"{recipe} ended by itself: {status}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) == 2:
        run_slowly(Path(sys.argv[1]))
    for name in sys.argv[2:]:
        run_until_killed(Path(sys.argv[1]), name)
