"""How fast 224-pixel images come from a folder of JPEG files, beside how fast a training step wants them."""

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
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

RESOLUTION, BATCH, N_IMAGES, N_CLASSES = 224, 32, 4000, 10


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


def decoding_seconds(settings: DataSettings, n_cores: int) -> float:
    """Of reading a folder into memory, all steps of it, by a process that may use so many cores."""
    cores = set(sorted(os.sched_getaffinity(0))[:n_cores])
    with ProcessPoolExecutor(1, get_context("fork"), os.sched_setaffinity, (0, cores)) as process:
        return process.submit(_load, settings, n_cores).result()


def _load(settings: DataSettings, n_cores: int) -> float:
    torch.set_num_threads(n_cores)
    began = perf_counter()
    load_data(settings)
    return perf_counter() - began


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
        in_turns = [(decoding_seconds(settings, 1), decoding_seconds(settings, 2)) for _ in range(3)]
        for n_cores, seconds in zip(("one core", "two cores"), zip(*in_turns, strict=True), strict=True):
            rate = N_IMAGES / float(np.median(seconds))
            table.append({"what": f"read into memory on {n_cores}, by the clock", "images_per_second": round(rate, 1)})
            print(table[-1], flush=True)
        read = [load_data(settings), load_data(replace(settings, memory_gb=0.0, workers=2))]
        for name, data in zip(("memory", "the files, by two processes"), read, strict=True):
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
