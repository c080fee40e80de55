"""How fast 224-pixel images come from a folder of JPEG files, beside how fast a training step wants them."""

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import pandas as pd
import torch
from PIL import Image

from experiments.training_speed.work import Step, recipe
from nas.data import BatchReader, DataSettings, ImageData, load_data, prepare
from nas.supernet import Supernet
from nas.training.augmentation.geometry import flip, pad_crop
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
    """Images a second of one core, by CPU time where nothing else is said."""
    table: list[dict[str, object]] = []

    def timed(what: str, n: int, work: Callable[[], object], times: int = 1, clock: bool = False) -> None:
        now, seconds = (perf_counter if clock else process_time), []
        for _ in range(times):
            began = now()
            work()
            seconds.append(now() - began)
        table.append({"what": what, "images_per_second": round(n / float(np.median(seconds)), 1)})
        print(table[-1], flush=True)

    os.environ["NAS_CACHE"] = ""  # decoded each time
    generator = torch.Generator().manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        photographs(Path(folder))
        settings = DataSettings("folder", folder, resolution=RESOLUTION)
        read: list[ImageData] = []
        for workers in (1, 2):
            chosen = replace(settings, workers=workers)
            timed(f"decoded into memory by {workers} processes, by the clock", N_IMAGES,
                  lambda chosen=chosen: read.append(load_data(chosen)), clock=True)  # fmt: skip
        read.append(load_data(replace(settings, memory_gb=0.0, workers=2)))
        for name, data in zip(("memory", "the files, by two processes"), read[1:], strict=True):
            n = len(data.train) // BATCH
            rows = np.random.default_rng(0).permutation(len(data.train))
            steps = iter(range(10 * rounds * n))
            batches = BatchReader(data.train, lambda step, rows=rows, n=n: rows[step % n * BATCH :][:BATCH],
                                  10 * rounds * n, torch.device("cpu"))  # fmt: skip

            def batch(data: ImageData = data, batches: BatchReader = batches, steps: Iterator[int] = steps) -> None:
                chosen, _ = batches.batch(next(steps))
                moved = pad_crop(flip(chosen, 0.5, generator), 4, generator)
                prepare(moved, RESOLUTION, data.mean, data.std)

            timed(f"a batch from {name}, by the clock", BATCH, batch, 10 * rounds, clock=True)
    torch.manual_seed(0)
    space = get_space("mobilenet_v3", resolutions=(RESOLUTION,), num_classes=N_CLASSES)
    for phase, name in ((0, "a step of the max net"), (-1, "a step of four subnets")):
        step = Step(Supernet(space), read[0], recipe("delayed_sandwich", BATCH), phase)
        timed(f"{name} (mobilenet_v3)", BATCH, step(0), max(1, rounds // 5))
    return pd.DataFrame(table)
