"""How fast 224-pixel images come from a folder of JPEG files, beside how fast a training step wants them."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd
import torch
from PIL import Image

from experiments.training_speed.work import Step, recipe
from nas.data import DataSettings, ImageData, load_data, prepare
from nas.supernet import Supernet
from nas.training.augmentation import Flip, PadCrop
from nas.training.augmentation.augmenter import Augmenter
from search_spaces import get_space

RESOLUTION, BATCH, N_IMAGES, N_CLASSES = 224, 32, 1000, 10


def photographs(folder: Path) -> None:
    """JPEG files of 500 x 375 pixels, about 90 KB each: smooth colours and some noise."""
    rng = np.random.default_rng(0)
    for i in range(N_IMAGES):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC)).astype(np.int16)
        pixels = np.clip(smooth + rng.integers(-20, 21, (375, 500, 1)), 0, 255).astype(np.uint8)
        path = folder / f"class{i % N_CLASSES}" / f"{i:04d}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)


def images(rounds: int) -> pd.DataFrame:
    """Images a second of one core, by CPU time."""
    rows: list[dict[str, object]] = []

    def timed(what: str, n: int, work: Callable[[], object], times: int = 1) -> None:
        seconds = []
        for _ in range(times):
            began = process_time()
            work()
            seconds.append(process_time() - began)
        rows.append({"what": what, "images_per_second": round(n / float(np.median(seconds)), 1)})
        print(rows[-1], flush=True)

    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        photographs(Path(folder))
        read: list[ImageData] = []
        # One process decodes: images a second of one core.
        for name, memory_gb in (("memory", None), ("files", 0.0)):
            settings = DataSettings(name="folder", root=folder, resolution=RESOLUTION, memory_gb=memory_gb, workers=0)
            timed(f"decoded once, kept in {name}", N_IMAGES, lambda s=settings: read.append(load_data(s)))
        for name, data in zip(("memory", "files"), read, strict=True):
            augment = Augmenter((PadCrop(padding=4), Flip()), data)

            def batch(data: ImageData = data, augment: Augmenter = augment) -> None:
                rows = rng.permutation(len(data.train))[:BATCH]
                images, _ = augment(data.train.batch(rows), data.train.labels[torch.from_numpy(rows)], generator)
                prepare(images, RESOLUTION, data.mean, data.std)

            timed(f"a batch from {name}, augmented and normalised", BATCH, batch, 10 * rounds)
    torch.manual_seed(0)
    space = get_space("mobilenet_v3", resolutions=(RESOLUTION,), num_classes=N_CLASSES)
    for phase, name in ((0, "a step of the max net"), (-1, "a step of four subnets")):
        step = Step(Supernet(space), read[0], recipe("delayed_sandwich", BATCH), phase)
        timed(f"{name} (mobilenet_v3)", BATCH, step(0), max(1, rounds // 5))
    return pd.DataFrame(rows)
